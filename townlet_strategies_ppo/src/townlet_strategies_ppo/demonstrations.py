"""Rows of a demonstrator beside each minibatch: what it did stays likely while PPO looks for better.

Batch k of a run is a pure function of the dataset, the seed and k, so a run that goes on takes the rows it would have.

Legend: B rows, F features, K outputs of the actor, P parameters.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from townlet_core import randomness
from townlet_core.arrays import is_finite
from townlet_core.errors import ArtefactError, ConfigError, DatasetError
from townlet_core.policy.backpropagation import ClosedFormNetwork
from townlet_core.policy.head_gradients import ActionTerms
from townlet_core.policy.inputs import input_shapes, prepare, prepare_into
from townlet_core.policy.spec import PolicySpec
from townlet_core.replay.batches import BatchReader
from townlet_core.services.run_dataset import (
    action_places,
    dataset_files,
    open_run_dataset,
    require_columns,
    require_legal,
    require_same_dataset,
)
from townlet_core.torch.heads import log_prob_and_entropy
from townlet_strategies_ppo.update import is_closed_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from townlet_core.arrays import Array
    from townlet_core.context import PPOState, TrainingContext
    from townlet_core.policy.inputs import Moments
    from townlet_core.replay.dataset import Dataset
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.torch.network import TorchNetwork
    from townlet_strategies_ppo.learner import Learner
    from townlet_strategies_ppo.settings import PPOSettings

ACTIONS, ACTION_MASK = "actions", "action_mask"


class Demonstrations:
    """Batches of a dataset, one for each minibatch, and the gradient of their loss.

    Args:
        dataset: what was done; its spaces are those of the network.
        network: who learns.
        normalizer: moments of its observations, always the newest.
        batch_size: B.
        seed: of the order.

    Raises:
        DatasetError: it has fewer rows than a batch, or a column is not what it has to be.
    """

    def __init__(
        self, dataset: Dataset, network: TorchNetwork, normalizer: Mapping[str, Moments], *, batch_size: int, seed: int
    ) -> None:
        names = dataset.manifest.along("step")
        require_columns(dataset, (ACTIONS, ACTION_MASK))
        if not dataset.episodes.accepted.any():
            raise DatasetError(
                f"{dataset.path} has no episode that can be trained on: a curator has rejected all of them"
            )
        masks = [ACTION_MASK] if ACTION_MASK in names and network.spec.head.counts else []
        self._dataset, self._network, self._normalizer = dataset, network, normalizer
        self._reader = BatchReader(
            dataset,
            columns=[*sorted(network.spec.observation_spaces), ACTIONS, *masks],
            batch_size=batch_size,
            episodes=dataset.episodes.accepted,
            seed=seed,
        )
        self._place = -1
        self._batches: Iterator[dict[str, Array]] = iter(())
        self._differentiate = _differentiator(network)

    def __call__(self, number: int) -> tuple[Any, float]:
        """Return the gradient (P,) of batch `number`, which holds until the next call, and its loss.

        The loss is the mean of -log probability of what was done. The gradient is of the library whose Adam steps.
        """
        rows = self._batch(number)
        head = self._network.spec.head
        actions = rows[ACTIONS]
        if head.counts:
            places = action_places(self._dataset, head, actions)
            if ACTION_MASK in rows:
                require_legal(self._dataset, places, rows[ACTION_MASK])
        for name in (ACTIONS, *self._network.spec.observation_spaces):
            if not is_finite(rows[name]):
                raise DatasetError(
                    f"{self._dataset.path}: '{name}' is not finite; 'townlet replay validate' says where"
                )
        actions = actions.astype(np.int64 if head.counts else np.float32, copy=False)
        return self._differentiate(rows, actions, rows.get(ACTION_MASK), self._normalizer)

    def beside(self, state: PPOState) -> Callable[[int], tuple[Any, float]]:
        """Return what gives the batches of the update that follows `state`, by the number of its minibatch."""
        first = state.optimizer_steps
        return lambda number: self(first + number)

    def files(self) -> dict[str, bytes]:
        """Return the file of a checkpoint that says which dataset it is."""
        return dataset_files(self._dataset)

    def require_same(self, files: Mapping[str, bytes], *, where: str) -> None:
        """Check that a checkpoint learned from the same demonstrations; raises `CheckpointError`."""
        require_same_dataset(self._dataset, files, where=where)

    def _batch(self, number: int) -> dict[str, Array]:
        epoch, place = divmod(number, self._reader.num_batches)
        if number != self._place + 1 or place == 0:
            self._batches = self._reader.epoch(epoch, first_batch=place)
        self._place = number
        return next(self._batches)


def open_demonstrations(context: TrainingContext, settings: PPOSettings, learner: Learner) -> Demonstrations | None:
    """Return the demonstrations of a run, None where `settings` want none, or those of the blend.

    Raises:
        ConfigError: no dataset is named, and no script is blended with the policy.
        MissingInputError: there is none.
        DatasetError: it is damaged, too small, or of other spaces.
    """
    if settings.demonstration_coef == 0:
        return None
    if settings.dataset is None:
        if settings.blend_share > 0:
            return None
        raise ConfigError(
            f"strategies.ppo.demonstration_coef is {settings.demonstration_coef:g}, and strategies.ppo.dataset is not "
            "set: name the demonstrations with --set strategies.ppo.dataset=DIR ('townlet capture' records some), or "
            "let a script show them with blend_share"
        )
    dataset = open_run_dataset(settings.dataset, context.run)
    shown = PolicySpec.for_spaces(dataset.manifest.observation_spaces, dataset.manifest.action_space)
    try:
        learner.network.spec.require_fit(shown, subject="the policy", environment=str(settings.dataset))
    except ArtefactError as error:
        raise DatasetError(f"demonstration_coef: {error}") from error
    return Demonstrations(
        dataset, learner.network, learner.normalizer, batch_size=settings.demonstration_rows, seed=context.seed
    )


class ScriptedRows:
    """Rows of the rollout in which a script acted in the policy's place, as demonstrations.

    Where a dataset is named, that alone is what is to stay likely: the script may be there to explore.

    Args:
        network: who learns.
        normalizer: moments of its observations, always the newest.
        batch_size: B at most; less where a rollout has less.
        seed: of the order.
    """

    def __init__(self, network: TorchNetwork, normalizer: Mapping[str, Moments], *, batch_size: int, seed: int) -> None:
        self._normalizer, self._batch_size, self._seed = normalizer, batch_size, seed
        self._names = tuple(network.spec.observation_spaces)
        self._differentiate = _differentiator(network)

    @classmethod
    def of(cls, context: TrainingContext, settings: PPOSettings, learner: Learner) -> ScriptedRows | None:
        """Return those of a run, None where its settings want none."""
        if settings.demonstration_coef == 0 or settings.blend_share == 0 or settings.dataset is not None:
            return None
        return cls(learner.network, learner.normalizer, batch_size=settings.demonstration_rows, seed=context.seed)

    def beside(self, state: PPOState, buffer: RolloutBuffer) -> Callable[[int], tuple[Any, float]] | None:
        """Return what gives the batches of the update that follows `state`, by the number of its minibatch.

        None where the script never acted in the rollout.
        """
        assert buffer.blend is not None
        found = np.flatnonzero(buffer.blend.is_scripted & buffer.agent_mask)
        if len(found) == 0:
            return None
        key = randomness.key(self._seed, "scripted rows", state.attempt, state.update + 1)
        order = found[randomness.permutation(key, len(found))[0]]
        size = min(self._batch_size, len(order))

        def rows_of(column: Array, chosen: Array) -> Array:
            return column.reshape(buffer.rewards.size, *column.shape[3:]).take(chosen, axis=0)

        def batch(number: int) -> tuple[Any, float]:
            chosen = order[np.arange(number * size, (number + 1) * size) % len(order)]
            seen = {name: rows_of(buffer.observations[name], chosen) for name in self._names}
            mask = None if buffer.action_mask is None else rows_of(buffer.action_mask, chosen)
            return self._differentiate(seen, rows_of(buffer.actions, chosen), mask, self._normalizer)

        return batch


def _differentiator(network: TorchNetwork) -> _ClosedForm | _Autograd:
    return _ClosedForm(network) if is_closed_form(network) else _Autograd(network)


class _ClosedForm:
    def __init__(self, network: TorchNetwork) -> None:
        self._head, self._spaces = network.spec.head, network.spec.observation_spaces
        self._shapes = dict(sorted(input_shapes(self._spaces).items()))
        flat = network.parameters.numpy()
        self._network = ClosedFormNetwork(network.spec, network.encoder, flat, num_shards=1, critic=False)

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is reported by name, when the update is over
    def __call__(
        self, rows: Mapping[str, Array], actions: Array, mask: Array | None, normalizer: Mapping[str, Moments]
    ) -> tuple[Array, float]:
        count, width, begin = len(actions), sum(prod(shape) for shape in self._shapes.values()), 0
        features = self._network.scratch.array("features", (1, count, width))
        for name, shape in self._shapes.items():
            out = features[0, :, begin : begin + prod(shape)]
            prepare_into(self._spaces[name], rows[name], normalizer.get(name), out)
            begin += prod(shape)
        outputs, values = self._network.forward(features)
        terms = ActionTerms(
            self._head, outputs, actions[None], None if mask is None else mask[None], self._network.layers.log_std
        )
        share = np.full(values.shape, -1.0 / count, outputs.dtype)
        slopes, log_std = terms.backward(share)
        (gradient,) = self._network.backward(slopes, values, log_std)
        return gradient, -float(terms.log_prob.mean(dtype=np.float64))


class _Autograd:
    def __init__(self, network: TorchNetwork) -> None:
        self._network = network

    def __call__(
        self, rows: Mapping[str, Array], actions: Array, mask: Array | None, normalizer: Mapping[str, Moments]
    ) -> tuple[torch.Tensor, float]:
        network, device = self._network, self._network.parameters.device
        prepared = prepare(network.spec.observation_spaces, dict(rows), normalizer)

        def sent(array: Array) -> torch.Tensor:
            return torch.from_numpy(np.array(array))[None].to(device)

        weights = network.shard_weights(1)
        outputs = network(weights, {name: sent(values) for name, values in prepared.items()})
        log_probs, _ = log_prob_and_entropy(
            network.spec.head, outputs, sent(actions), None if mask is None else sent(mask)
        )
        loss = -log_probs.mean()
        return network.shard_gradients(loss, weights)[0], float(loss.detach())
