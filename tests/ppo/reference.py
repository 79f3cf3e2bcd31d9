"""PPO a second time, in NumPy and float64 with derivatives by hand; shares no code with what it is compared to."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np


def lives(rollout: dict[str, np.ndarray], world: int, agent: int) -> list[tuple[list[int], float]]:
    """Cut one slot's steps into lives: the steps of each, and the value of what follows its last step."""
    found: list[tuple[list[int], float]] = []
    current: list[int] = []
    for step in range(len(rollout["rewards"])):
        place = (step, world, agent)
        if not rollout["agent_mask"][place]:
            if current:  # it left without an end being told: what its slot shows next stands in for what follows
                found.append((current, rollout["values"][place]))
            current = []
            continue
        current.append(step)
        if rollout["terminations"][place]:
            found.append((current, 0.0))
            current = []
        elif rollout["truncations"][place]:
            found.append((current, rollout["bootstrap_values"][place]))
            current = []
    if current:
        found.append((current, rollout["last_values"][world, agent]))
    return found


def forward_sums(rollout: dict[str, np.ndarray], gamma: float, gae_lambda: float) -> np.ndarray:
    """The definition of GAE: A[t] is the sum of (gamma lambda)^l delta[t + l] over the rest of the life."""
    result = np.zeros_like(rollout["values"])
    for world in range(result.shape[1]):
        for agent in range(result.shape[2]):
            for steps, after in lives(rollout, world, agent):
                values = [*(rollout["values"][step, world, agent] for step in steps), after]
                deltas = [
                    rollout["rewards"][step, world, agent] + gamma * following - value
                    for step, (value, following) in zip(steps, pairwise(values), strict=True)
                ]
                for index, step in enumerate(steps):
                    result[step, world, agent] = sum(
                        (gamma * gae_lambda) ** ahead * delta for ahead, delta in enumerate(deltas[index:])
                    )
    return result


@dataclass
class Rows:
    """One minibatch, flat."""

    inputs: np.ndarray
    actions: np.ndarray
    mask: np.ndarray | None
    old_log_probs: np.ndarray
    old_values: np.ndarray
    advantages: np.ndarray
    returns: np.ndarray
    present: np.ndarray

    def of(self, rows: np.ndarray) -> Rows:
        """Return the present ones of `rows`: absent rows are in no sum."""
        rows = rows[self.present[rows]]
        return Rows(**{name: None if array is None else array[rows] for name, array in vars(self).items()})


@dataclass
class Update:
    """An actor and a critic on shared layers, and Adam."""

    weights: dict[str, np.ndarray]
    parts: tuple[int, ...]  # actions of each categorical part; empty for a Gaussian
    activation: str
    learning_rate: float
    clip_range: float
    value_clip_range: float | None
    entropy_coef: float
    value_coef: float
    max_grad_norm: float | None
    epsilon: float
    normalize: bool
    moments: dict[str, Any] = field(default_factory=dict)
    num_steps: int = 0

    def step(self, rows: Rows) -> dict[str, float]:
        """Learn from one minibatch; return what is reported of it."""
        count = len(rows.advantages)
        advantages, deviation = rows.advantages, 0.0
        if count > 1:
            deviation = float(advantages.std(ddof=1))
            if self.normalize:
                advantages = (advantages - advantages.mean()) / (deviation + 1e-8)
        shared, tape_shared = self._forward("shared", rows.inputs, last=False)
        logits, tape_actor = self._forward("actor", shared, last=True)
        critic, tape_critic = self._forward("critic", shared, last=True)
        values = critic[:, 0]

        log_probs, entropies, d_log_probs, d_entropies, d_log_std = self._head(logits, rows)
        ratio = np.exp(log_probs - rows.old_log_probs)
        stopped = ((advantages > 0) & (ratio > 1 + self.clip_range)) | (
            (advantages < 0) & (ratio < 1 - self.clip_range)
        )
        bounded = np.clip(ratio, 1 - self.clip_range, 1 + self.clip_range)
        policy = -np.where(stopped, bounded, ratio) @ advantages / count
        by_log_prob = np.where(stopped, 0.0, -ratio * advantages / count)

        error, by_value = (values - rows.returns) ** 2, values - rows.returns
        if self.value_clip_range is not None:
            change = values - rows.old_values
            held = rows.old_values + np.clip(change, -self.value_clip_range, self.value_clip_range)
            is_held = (held - rows.returns) ** 2 > error
            error = np.maximum(error, (held - rows.returns) ** 2)
            by_value = np.where(is_held & (np.abs(change) > self.value_clip_range), 0.0, by_value)
        value, entropy = 0.5 * error.mean(), entropies.mean()
        total = policy + self.value_coef * value - self.entropy_coef * entropy

        d_logits = by_log_prob[:, None] * d_log_probs - self.entropy_coef / count * d_entropies
        gradient: dict[str, np.ndarray] = {}
        d_shared = self._backward("actor", d_logits, tape_actor, gradient, last=True)
        d_values = (self.value_coef / count * by_value)[:, None]
        d_shared = d_shared + self._backward("critic", d_values, tape_critic, gradient, last=True)
        self._backward("shared", d_shared, tape_shared, gradient, last=False)
        if d_log_std is not None:
            gradient["log_std"] = by_log_prob @ d_log_std - self.entropy_coef
        norm = float(np.sqrt(sum((part**2).sum() for part in gradient.values())))
        if self.max_grad_norm is not None and norm > self.max_grad_norm:
            gradient = {name: part * self.max_grad_norm / (norm + 1e-6) for name, part in gradient.items()}
        self._adam(gradient)
        log_ratio = log_probs - rows.old_log_probs
        return {
            "total": total,
            "policy": policy,
            "value": value,
            "entropy": entropy,
            "clip_fraction": (np.abs(ratio - 1) > self.clip_range).mean(),
            "kl": -log_ratio.mean(),
            "kl_k3": (ratio - 1 - log_ratio).mean(),
            "reference_kl": 0.0,
            "grad_norm": norm,
            "advantage_std": deviation,
            "count": count,
        }

    def _forward(self, name: str, hidden: np.ndarray, *, last: bool) -> tuple[np.ndarray, list[np.ndarray]]:
        tape = [hidden]
        depth = sum(key.startswith(f"{name}.") and key.endswith("weight") for key in self.weights)
        for index in range(depth):
            hidden = hidden @ self.weights[f"{name}.{index}.weight"] + self.weights[f"{name}.{index}.bias"]
            if not (last and index == depth - 1):
                hidden = np.tanh(hidden) if self.activation == "tanh" else hidden * (hidden > 0)
            tape.append(hidden)
        return hidden, tape

    def _backward(
        self, name: str, upstream: np.ndarray, tape: list[np.ndarray], gradient: dict[str, np.ndarray], *, last: bool
    ) -> np.ndarray:
        depth = len(tape) - 1
        for index in reversed(range(depth)):
            output = tape[index + 1]
            if not (last and index == depth - 1):
                upstream = upstream * ((1 - output**2) if self.activation == "tanh" else (output > 0))
            gradient[f"{name}.{index}.weight"] = tape[index].T @ upstream
            gradient[f"{name}.{index}.bias"] = upstream.sum(axis=0)
            upstream = upstream @ self.weights[f"{name}.{index}.weight"].T
        return upstream

    def _head(self, logits: np.ndarray, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Any]:
        """Return log-probabilities, entropies, and their derivatives by the logits (or means), and by log_std."""
        if not self.parts:
            deviation = np.exp(self.weights["log_std"])
            standard = (rows.actions - logits) / deviation
            density = np.exp(-0.5 * standard**2) / (deviation * np.sqrt(2 * np.pi))
            entropy = np.log(deviation * np.sqrt(2 * np.pi * np.e)).sum()
            flat = np.full(len(logits), entropy)
            return np.log(density).sum(axis=1), flat, standard / deviation, np.zeros_like(logits), standard**2 - 1
        log_probs, entropies = np.zeros(len(logits)), np.zeros(len(logits))
        d_log_probs, d_entropies = np.zeros_like(logits), np.zeros_like(logits)
        actions = rows.actions.reshape(len(logits), -1)
        first = 0
        for part, size in enumerate(self.parts):
            here = slice(first, first + size)
            first += size
            for row in range(len(logits)):
                legal = np.ones(size, bool) if rows.mask is None else rows.mask[row, here]
                exponentials = np.where(legal, np.exp(logits[row, here] - logits[row, here][legal].max()), 0.0)
                chances = exponentials / exponentials.sum()
                chosen = np.eye(size)[actions[row, part]]
                log_chances = np.log(chances[legal])
                entropy = -(chances[legal] @ log_chances)
                log_probs[row] += np.log(chances @ chosen)
                entropies[row] += entropy
                d_log_probs[row, here] = chosen - chances
                d_entropies[row, here][legal] = -chances[legal] * (log_chances + entropy)
        return log_probs, entropies, d_log_probs, d_entropies, None

    def _adam(self, gradient: dict[str, np.ndarray]) -> None:
        self.num_steps += 1
        for name, part in gradient.items():
            first, second = self.moments.get(name, (0.0, 0.0))
            first, second = 0.9 * first + 0.1 * part, 0.999 * second + 0.001 * part**2
            self.moments[name] = first, second
            mean, square = first / (1 - 0.9**self.num_steps), second / (1 - 0.999**self.num_steps)
            self.weights[name] = self.weights[name] - self.learning_rate * mean / (np.sqrt(square) + self.epsilon)
