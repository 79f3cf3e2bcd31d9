"""How a cloned policy does in an environment, beside those who demonstrated."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from townlet_core.dto.bc import RolloutFields
from townlet_core.errors import TownletError
from townlet_core.policy.spec import PolicySpec
from townlet_core.replay.dataset import ENDINGS
from townlet_core.services.evaluation import episode_seeds

if TYPE_CHECKING:
    from townlet_core.context import TrainingContext
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.replay.dataset import Dataset

MOST_WORLDS = 64


def score(context: TrainingContext, artefact: PolicyArtefact, dataset: Dataset, *, episodes: int) -> RolloutFields:
    """Run `episodes` in the configured environment, most likely actions taken, and compare.

    An environment that cannot be built, shows something else or fails ends no run: what came of it says why.

    Args:
        context: the run's context.
        artefact: the policy.
        dataset: the demonstrations.
        episodes: how many; 0 for none.
    """
    recorded = demonstrator_return(dataset)
    if episodes == 0:
        return RolloutFields(demonstrator_return_mean=recorded, rollout_skipped="strategies.bc.evaluate_episodes is 0")
    config = context.config.environment
    if config.name is None:
        return RolloutFields(demonstrator_return_mean=recorded, rollout_skipped="no environment is configured")
    if config.vectorization == "entry_point":  # its worlds share one generator, and episodes must not
        config = config.model_copy(update={"vectorization": "sync"})
    try:
        with closing(context.resolver.environment(config, num_worlds=min(episodes, MOST_WORLDS))) as environment:
            shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
            if (shown.observations, shown.action) != (artefact.spec.observations, artefact.spec.action):
                return RolloutFields(
                    demonstrator_return_mean=recorded,
                    rollout_skipped=f"environment '{environment.name}' has other spaces than the dataset",
                )
            result = context.services.evaluation.evaluate(
                artefact.policy(encoders=context.resolver.encoder), environment, episode_seeds(context.seed, episodes)
            )
    except TownletError as error:
        return RolloutFields(demonstrator_return_mean=recorded, rollout_skipped=f"{type(error).__name__}: {error}")
    return RolloutFields(
        rollout_episodes=episodes,
        rollout_return_mean=result.return_mean,
        demonstrator_return_mean=recorded,
        rollout_return_share=None if recorded is None or recorded <= 0 else result.return_mean / recorded,
    )


def demonstrator_return(dataset: Dataset) -> float | None:
    """Return the mean return of the recorded world-episodes, each the mean over its agent slots.

    As in an evaluation, only the first episode of each slot counts; world-episodes with one that was cut by the end of
    the recording are left out. None where none is left, or no rewards are recorded.
    """
    table = dataset.episodes
    if "rewards" not in dataset.manifest.along("step"):
        return None
    counted = table.accepted & (table.life == 0)
    cut = np.unique(table.group[counted & (table.ending == ENDINGS.index("cut"))])
    counted &= ~np.isin(table.group, cut)
    if not counted.any():
        return None
    groups, place = np.unique(table.group[counted], return_inverse=True)
    sums = np.bincount(place, weights=table.episode_return[counted], minlength=len(groups))
    return float((sums / np.bincount(place, minlength=len(groups))).mean())
