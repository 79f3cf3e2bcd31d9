"""The loss of behaviour cloning by hand, row by row in float64, and its gradient by complex steps.

f(x + ih) = f(x) + ih f'(x) - ..., so Im f(x + ih) / h is the derivative to the last bit when h is tiny (Squire and
Trapp 1998). Nothing here is shared with the production code.
"""

from __future__ import annotations

import numpy as np

STEP = 1e-200


def forward(weights, inputs, *, depth, prefix, activation):
    """Return what a stack of layers makes of one row."""
    hidden = inputs
    for index in range(depth):
        hidden = hidden @ weights[f"{prefix}.{index}.weight"] + weights[f"{prefix}.{index}.bias"]
        if prefix == "shared" or index + 1 < depth:
            hidden = np.tanh(hidden) if activation == "tanh" else np.where(hidden.real > 0, hidden, 0)
    return hidden


def softmax_loss(logits, action, legal, smoothing):
    """Return the cross-entropy of one choice with its smoothed label."""
    allowed = [k for k in range(len(logits)) if legal[k]]
    top = max(logits[k].real for k in allowed)
    log_total = np.log(sum(np.exp(logits[k] - top) for k in allowed)) + top
    loss = 0.0
    for k in allowed:
        label = smoothing / len(allowed) + (1.0 - smoothing if k == action else 0.0)
        loss = loss - label * (logits[k] - log_total)
    return loss


def mean_loss(weights, batch, spec, *, smoothing=0.0, class_weights=None, value_coef=0.0):
    """Return the mean over the rows of a batch; weights may be complex."""
    rows = batch.features[0]
    total = 0.0
    for index, row in enumerate(rows):
        shared = forward(weights, row, depth=len(spec.shared_hidden), prefix="shared", activation=spec.activation)
        outputs = forward(weights, shared, depth=len(spec.actor_hidden) + 1, prefix="actor", activation=spec.activation)
        action = batch.actions[0][index]
        if spec.head.kind == "gaussian":
            for d in range(len(action)):
                z = (action[d] - outputs[d]) * np.exp(-weights["log_std"][d])
                total = total + 0.5 * z * z + weights["log_std"][d] + 0.5 * np.log(2 * np.pi)
        else:
            begin = 0
            for part, count in enumerate(spec.head.counts):
                chosen = int(action if spec.head.kind == "categorical" else action[part])
                legal = np.ones(count, bool)
                if batch.action_mask is not None:
                    legal = batch.action_mask[0][index][begin : begin + count]
                weight = 1.0 if class_weights is None else float(class_weights[begin + chosen])
                total = total + weight * softmax_loss(outputs[begin : begin + count], chosen, legal, smoothing)
                begin += count
        if batch.returns is not None:
            value = forward(
                weights, shared, depth=len(spec.critic_hidden) + 1, prefix="critic", activation=spec.activation
            )[0]
            total = total + value_coef * 0.5 * (value - batch.returns[0][index]) ** 2
    return total / len(rows)


def gradient(flat, layout, batch, spec, **terms):
    """Return d mean loss / d parameters (P,)."""
    slopes = np.zeros(len(flat))
    for index in range(len(flat)):
        moved = flat.astype(np.complex128)
        moved[index] += 1j * STEP
        slopes[index] = mean_loss(layout.views(moved), batch, spec, **terms).imag / STEP
    return slopes


def adamw(parameters, gradients, *, learning_rate, weight_decay, epsilon):
    """Return the parameters after one step for each gradient (Loshchilov and Hutter 2019, algorithm 2)."""
    first, second = np.zeros_like(parameters), np.zeros_like(parameters)
    for step, slope in enumerate(gradients, start=1):
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        change = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + epsilon)
        parameters = parameters - learning_rate * (change + weight_decay * parameters)
    return parameters
