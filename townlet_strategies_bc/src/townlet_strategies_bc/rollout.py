"""How a cloned policy does in an environment, beside those who demonstrated."""

from __future__ import annotations

import json
import shlex
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.bc import RolloutFields
from townlet_core.errors import TownletError
from townlet_core.policy.spec import PolicySpec
from townlet_core.replay.dataset import ENDINGS
from townlet_core.services.evaluation import episode_seeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from townlet_core.arrays import Array
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.context import TrainingContext
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.replay.dataset import Dataset

MOST_WORLDS = 64
_NOT_SHOWN = ("num_worlds", "worlds_per_shard", "vectorization", "num_workers", "step_timeout_sec")
"""Fields of an environment's configuration that change nothing of what is seen and done."""


def score(
    context: TrainingContext, artefact: PolicyArtefact, dataset: Dataset, *, episodes: int, deterministic: bool
) -> RolloutFields:
    """Run `episodes` in the configured environment, and compare.

    An environment that cannot be built, shows something else or fails ends no run: what came of it says why.

    Args:
        context: the run's context.
        artefact: the policy.
        dataset: the demonstrations.
        episodes: how many; 0 for none.
        deterministic: take the most likely actions instead of samples.
    """
    recorded = demonstrator_score(dataset)
    if episodes == 0:
        return recorded.model_copy(update={"rollout_skipped": "strategies.bc.evaluate_episodes is 0"})
    config = context.config.environment
    if config.name is None:
        return recorded.model_copy(update={"rollout_skipped": "no environment is configured"})
    if config.vectorization == "entry_point":  # its worlds share one generator, and episodes must not
        config = config.model_copy(update={"vectorization": "sync"})
    try:
        with closing(context.resolver.environment(config, num_worlds=min(episodes, MOST_WORLDS))) as environment:
            shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
            if (shown.observations, shown.action) != (artefact.spec.observations, artefact.spec.action):
                return recorded.model_copy(update={"rollout_skipped": _other_spaces(config, dataset)})
            result = context.services.evaluation.evaluate(
                artefact.policy(encoders=context.resolver.encoder),
                environment,
                episode_seeds(context.seed, episodes),
                deterministic=deterministic,
            )
    except TownletError as error:
        return recorded.model_copy(update={"rollout_skipped": f"{type(error).__name__}: {error}"})
    earned = recorded.demonstrator_return_mean
    return recorded.model_copy(
        update={
            "rollout_episodes": episodes,
            "rollout_return_mean": result.return_mean,
            "rollout_reward_mean": result.reward_mean,
            "rollout_return_share": None if earned is None or earned <= 0 else result.return_mean / earned,
        }
    )


def _other_spaces(config: EnvironmentConfig, dataset: Dataset) -> str:
    """Return why the environment is not the recorded one, with what to set where that is known."""
    name, sources = config.name, dataset.manifest.sources
    recorded = {source.environment for source in sources} - {""}
    if len(recorded) != 1:
        return f"environment '{name}' has other spaces than the dataset"
    (environment,) = recorded
    if environment != name:
        return f"'{name}' has other spaces than the dataset; try --env {shlex.quote(environment)}"
    text = f"environment '{name}' is configured differently from when it was recorded, and has other spaces"
    settings = _recorded_settings(config, [source.environment_config for source in sources if source.environment])
    return f"{text}; try {' '.join(f'--set {setting}' for setting in settings)}" if settings else text


def _recorded_settings(config: EnvironmentConfig, recorded: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return `key=value`, ready for a shell, for what all of `recorded` have and `config` has not."""
    own = dict(_leaves(config.model_dump(mode="json", exclude=set(_NOT_SHOWN)), "environment"))
    there = [dict(_leaves(section, "environment")) for section in recorded]
    settings = []
    for key, value in own.items():
        values = [section.get(key, value) for section in there]
        if values and values[0] != value and all(other == values[0] for other in values):
            is_plain = isinstance(values[0], str) and values[0].isprintable()
            settings.append(shlex.quote(f"{key}={values[0] if is_plain else json.dumps(values[0])}"))
    return settings


def _leaves(section: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


def demonstrator_score(dataset: Dataset) -> RolloutFields:
    """Return what the demonstrators earned: means over the recorded world-episodes, as an evaluation counts.

    The return is that of the first life in each slot, and the mean reward that of every life. A world-episode with a
    life that was cut by the end of the recording is left out. None where no world-episode is left, or no rewards are
    recorded.
    """
    table = dataset.episodes
    if "rewards" not in dataset.manifest.along("step"):
        return RolloutFields()
    cut = np.unique(table.group[table.accepted & (table.ending == ENDINGS.index("cut"))])
    counted = table.accepted & ~np.isin(table.group, cut)
    if not counted.any():
        return RolloutFields()
    group, is_first = table.group[counted], table.life[counted] == 0
    earned, steps = table.episode_return[counted], table.num_steps[counted]
    return RolloutFields(
        demonstrator_return_mean=_mean_of_ratios(group, earned * is_first, is_first),
        demonstrator_reward_mean=_mean_of_ratios(group, earned, steps),
    )


def _mean_of_ratios(group: Array, above: Array, below: Array) -> float | None:
    """Return the mean over groups of the sum of `above` by the sum of `below`, both (B,); a group needs the latter."""
    groups, place = np.unique(group, return_inverse=True)
    sums = [np.bincount(place, weights=weights, minlength=len(groups)) for weights in (above, below)]
    has = sums[1] > 0
    return float((sums[0][has] / sums[1][has]).mean()) if has.any() else None
