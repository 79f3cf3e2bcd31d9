"""How a cloned policy does in an environment, beside those who demonstrated."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.dto.bc import RolloutFields
from townlet_core.errors import TownletError
from townlet_core.policy.spec import PolicySpec
from townlet_core.replay.dataset import ENDINGS
from townlet_core.services.dataset_fit import fitting_options
from townlet_core.services.evaluation import episode_seeds

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.context import TrainingContext
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.replay.dataset import Dataset

MOST_WORLDS = 64


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
    sources = dataset.manifest.sources
    options = fitting_options(config, sources)
    if {source.environment for source in sources} - {""} == {config.name}:
        text = f"environment '{config.name}' is configured differently from when it was recorded, and has other spaces"
    else:
        text = f"{'' if options else 'environment '}'{config.name}' has other spaces than the dataset"
    return f"{text}; try {options}" if options else text


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
