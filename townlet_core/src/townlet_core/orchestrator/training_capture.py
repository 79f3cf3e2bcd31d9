"""Capture while training: the strategy's own rollouts, recorded as they are made."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from townlet_core.config.dump import config_digest
from townlet_core.errors import RunInterrupted, TownletWarning
from townlet_core.orchestrator.capture_target import environment_of, open_writer
from townlet_core.orchestrator.experiment import scenario_digest
from townlet_core.replay.dataset import is_dataset
from townlet_core.replay.schema import Source
from townlet_core.services.capture import RolloutCaptureService
from townlet_core.services.capture_run import ROWS_AT_RISK
from townlet_core.services.recording import TrajectoryRecorder
from townlet_core.services.step_block import FRAGMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from townlet_core.context import TrainingContext
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.base import Policy
    from townlet_core.replay.writer import DatasetWriter
    from townlet_core.services.recording import RecordedEpisode
    from townlet_core.services.rollout import Rollout
    from townlet_core.services.services import TrainingServices

CAPTURE_NAME = "capture"
WAITING_BYTES = 1 << 30
"""What of all worlds waits in memory, at most about twice: with many worlds, long episodes are cut. [bytes]"""


class TrainingCapture(RolloutCaptureService):
    """A rollout service that records every rollout which it starts into one dataset.

    Args:
        path: directory of the dataset; made when the first episode has ended.
        source: what the dataset says of where its episodes are from.
    """

    def __init__(self, path: Path, source: Source) -> None:
        self.path, self._source = path, source
        self._writer: DatasetWriter | None = None
        self._recorder: TrajectoryRecorder | None = None
        self._next_group = self._first_group = self._rows_at_risk = 0

    def start(
        self,
        environment: VectorEnvironment,
        policy: Policy,
        *,
        seeds: int | Sequence[int],
        purpose: str = "act",
        deterministic: bool = False,
    ) -> Rollout:
        """Start a recorded rollout; see `RolloutCaptureService.start`. The one before it is over then."""
        self._cut()
        rollout = super().start(environment, policy, seeds=seeds, purpose=purpose, deterministic=deterministic)
        self._first_group = self._next_group
        seed_of = (lambda _: seeds) if isinstance(seeds, int) else seeds.__getitem__
        sink = partial(self._take, environment, seed_of)
        self._recorder = rollout.recorder = TrajectoryRecorder(
            rollout, sink=sink, fragment_bytes=min(FRAGMENT_BYTES, WAITING_BYTES // environment.num_worlds)
        )
        return rollout

    def _take(self, environment: VectorEnvironment, seed_of: Any, episode: RecordedEpisode) -> None:
        """Write an episode; its number follows from the world and from how many that world has had."""
        group = self._first_group + episode.number * environment.num_worlds + episode.world
        self._next_group = max(self._next_group, group + 1)
        if not episode.trajectories:
            return
        if self._writer is None:
            assert self._recorder is not None
            self._writer = open_writer(self.path, environment, event_kinds=self._recorder.event_kinds)
            self._writer.add_source(self._source)
        if len(episode.events["event.step"]):
            self._writer.add_events({**episode.events, "event.group": episode.events["event.group"] + group})
        metadata = {"seed": int(seed_of(episode.world)), "world": episode.world, "episode": episode.number}
        self._writer.extend(replace(one, group=group, metadata=metadata) for one in episode.trajectories)
        self._rows_at_risk += episode.agent_steps
        if self._rows_at_risk >= ROWS_AT_RISK:
            self._rows_at_risk = 0
            self._writer.flush()

    def _cut(self) -> None:
        if self._recorder is not None:
            self._recorder.cut_all()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was recorded."""
        return self._writer is None

    def finish(self) -> None:
        """Write what is running as "cut", and complete the dataset; nothing is written where nothing was recorded."""
        self._cut()
        if self._writer is not None:
            self._writer.close()

    def keep(self) -> None:
        """Write the episodes that have ended, and no others."""
        if self._writer is not None:
            self._writer.flush()


@contextmanager
def captured_services(context: TrainingContext, run_path: Path) -> Iterator[TrainingServices]:
    """Give the services of a run, whose rollouts are recorded if `training.capture_rollouts` says so.

    An orderly stop completes the dataset as the end of the run does; an error leaves the episodes that have ended.

    Args:
        context: of the run.
        run_path: its directory; the dataset is `capture` there, or `capture-<n>` where that has been taken.
    """
    if not context.config.training.capture_rollouts:
        yield context.services
        return
    capture = TrainingCapture(_free_path(run_path), _source(context))
    try:
        yield replace(context.services, rollout=capture)
    except RunInterrupted:
        capture.finish()
        raise
    except BaseException:
        capture.keep()
        raise
    capture.finish()
    if capture.is_empty:
        warnings.warn(
            f"training.capture_rollouts is on, and nothing was recorded: '{context.strategy_name}' made no rollouts",
            TownletWarning,
            stacklevel=2,
        )


def captures(run_path: Path) -> list[Path]:
    """Return the datasets that were recorded while the run in `run_path` was training, oldest first."""
    found = [path for path in run_path.glob(f"{CAPTURE_NAME}*") if is_dataset(path)]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def _free_path(run_path: Path) -> Path:
    path, number = run_path / CAPTURE_NAME, 1
    while path.exists():
        number += 1
        path = run_path / f"{CAPTURE_NAME}-{number}"
    return path


def _source(context: TrainingContext) -> Source:
    return Source(
        kind="training",
        **environment_of(context.config.environment),
        scenario_digest=scenario_digest(context.config),
        policy=context.strategy_name,
        config_digest=config_digest(context.config),
        deterministic=False,
    )
