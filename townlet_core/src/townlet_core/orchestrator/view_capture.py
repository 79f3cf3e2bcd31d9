"""A captured episode of the town, lived once more: the recorded actions in a world of the recorded seed.

Legend: T ticks, A agent slots.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.config.base import settings_from
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.errors import DatasetError, UsageError
from townlet_core.orchestrator.experiment import scenario_digest
from townlet_core.orchestrator.recorded_town import MOST_TICKS, recorded_environment
from townlet_core.replay.dataset import Dataset
from townlet_core.simulation.tick import Action

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from townlet_core.arrays import Array
    from townlet_core.replay.schema import EpisodeEntry, Source
    from townlet_core.replay.trajectory import Trajectory
    from townlet_core.simulation.recording import Recording

_TOLERANCE = 1e-4


def replay_capture(
    path: Path,
    *,
    episode: int | None = None,
    num_ticks: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Recording:
    """Return what happened in a world-episode of the dataset at `path`.

    Args:
        path: directory of a dataset that `townlet capture` has recorded in the town.
        episode: number of the world-episode; by default the first.
        num_ticks: how many ticks of it; by default all, or `MOST_TICKS` of a longer one.
        on_progress: called with (ticks done, ticks in all).

    Raises:
        UsageError: there is no such episode, or it was not captured in the town.
        DatasetError: the dataset is damaged, or the rewards are not the recorded ones: the simulation is another one
            now, or lives of this world were left out.
        ConfigError: the scenario is not there any more, or not right.
    """
    dataset = Dataset(path)
    lives = _lives(dataset, episode)
    group, seed, source = _origin(dataset, lives[0][0])
    config = settings_from(EnvironmentConfig, source.environment_config, path=f"{path}: environment_config")
    if scenario_digest(SimulationConfig(environment=config)) != source.scenario_digest:
        raise DatasetError(
            f"{path}: the scenario '{config.scenario}' is not what it was when the episode was captured: "
            "give the file its former contents, or capture again"
        )
    wanted = num_ticks or MOST_TICKS
    with closing(recorded_environment(config)) as environment:
        if dataset.manifest.action_space != environment.action_space:
            raise DatasetError(
                f"{path}: its actions are {dataset.manifest.action_space}, and those of the town are not"
            )
        recorded = [life for _, life in lives]
        actions, rewards = _tables(recorded, environment.num_agents, most=wanted, where=str(path))
        town: Any = environment.town
        environment.reset([seed])
        total = len(actions)
        for tick in range(total):
            earned = environment.step(actions[None, tick]).rewards[0]
            wrong = np.abs(earned - rewards[tick]) > _TOLERANCE  # NaN, where nothing is recorded, is never greater
            if wrong.any():
                agent = int(wrong.argmax())
                raise DatasetError(
                    f"{path}: world-episode {group} cannot be shown: in tick {tick + 1} agent {agent} earns "
                    f"{earned[agent]:g}, and {rewards[tick, agent]:g} was recorded; the simulation has changed since, "
                    "or lives of this day were left out of the dataset"
                )
            if on_progress is not None:
                on_progress(tick + 1, total)
        recording: Recording = town.recording(policy=_title(source))
        return recording


def _lives(dataset: Dataset, episode: int | None) -> list[tuple[EpisodeEntry, Trajectory]]:
    """Return the trajectories of a world-episode."""
    groups = dataset.episodes.group
    group = int(groups[0]) if episode is None else episode
    if not (groups == group).any():
        raise UsageError(f"{dataset.path} has no world-episode {group}: there are {_ranges(groups)}")
    wanted = {"actions", "rewards"}
    return [pair for pair in dataset.trajectories(columns=wanted) if pair[0].group == group]


def _ranges(groups: Array) -> str:
    known = np.unique(groups)
    return f"{len(known):,}, from {known[0]} to {known[-1]}"


def _origin(dataset: Dataset, entry: EpisodeEntry) -> tuple[int, int, Source]:
    """Return number, seed and source of the world-episode that `entry` is part of."""
    sources = dataset.manifest.sources
    if not entry.source < len(sources):
        raise UsageError(f"{dataset.path} does not say where world-episode {entry.group} is from")
    source = sources[entry.source]
    if source.environment != "town":
        where = f"was recorded in '{source.environment}'" if source.environment else "is not from the town"
        raise UsageError(f"{dataset.path}: world-episode {entry.group} {where}: only the town can be viewed")
    if source.kind != "capture" or entry.seed is None:
        raise UsageError(
            f"{dataset.path}: world-episode {entry.group} has no seed of its own (it was recorded while training, or "
            "imported): only what 'townlet capture' has recorded can be viewed"
        )
    return entry.group, entry.seed, source


def _tables(lives: list[Trajectory], num_agents: int, *, most: int, where: str) -> tuple[Array, Array]:
    """Return the actions (T, A) int64, and the rewards (T, A) float32, NaN where nothing is recorded; T <= `most`."""
    length = min(most, max(life.start_step + life.num_steps for life in lives))
    if max(life.agent for life in lives) >= num_agents:
        raise DatasetError(f"{where}: an agent is recorded that the scenario does not have")
    actions = np.full((length, num_agents), Action.WAIT, np.int64)
    rewards = np.full((length, num_agents), np.nan, np.float32)
    for life in lives:
        begin, shown = life.start_step, max(0, length - life.start_step)
        rows = slice(begin, begin + life.num_steps)
        actions[rows, life.agent] = life.steps["actions"][:shown]
        if "rewards" in life.steps:
            rewards[rows, life.agent] = life.steps["rewards"][:shown]
    return actions, rewards


def _title(source: Source) -> str:
    return f"{source.policy} ({source.policy_digest[:8]})" if source.policy_digest else source.policy
