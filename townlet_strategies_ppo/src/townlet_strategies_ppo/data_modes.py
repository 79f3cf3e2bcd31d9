"""What the setting `data_mode` means: `rollout` acts, `replay` learns from a dataset, `mixed` takes turns.

A cycle of `mixed` is one pass over the dataset, which may take many updates, and then one rollout. Where in that a run
stands is in its counters: `replay_pass` counts the passes, which are the cycles, and `replay_place` what was learned
from of the present one, the rollout at its end included.

Legend: T steps, N worlds, A agents per world.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from townlet_core.errors import ConfigError, DatasetError
from townlet_core.services.buffer import RolloutBuffer
from townlet_core.services.rollout import RolloutStatistics
from townlet_core.services.run_dataset import dataset_files, environment_name, open_run_dataset, require_same_dataset
from townlet_strategies_ppo.blend import make_blend
from townlet_strategies_ppo.experience import Experience, ExperienceSource, LiveExperience
from townlet_strategies_ppo.recorded import RecordedRows
from townlet_strategies_ppo.recorded_survey import require_equal_spaces, survey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gymnasium import spaces

    from townlet_core.context import PPOState, TrainingContext
    from townlet_core.replay.dataset import Dataset
    from townlet_strategies_ppo.learner import Learner
    from townlet_strategies_ppo.settings import PPOSettings


@contextmanager
def open_experience(context: TrainingContext, settings: PPOSettings) -> Iterator[ExperienceSource]:
    """Give the source that `settings` ask for, and close what it holds.

    Raises:
        ConfigError: a dataset is needed and not named, or named and not needed; the environment means nothing.
        MissingInputError: there is no dataset.
        DatasetError: it is damaged, not what PPO needs, or not of the environment.
    """
    dataset, blend = _dataset(context, settings), make_blend(settings)
    if dataset is not None and settings.data_mode == "replay":
        shape = (settings.num_steps, context.config.environment.num_worlds, 1)
        yield ReplayExperience(dataset, settings, shape=shape, seed=context.seed)
        return
    with closing(context.resolver.environment(context.config.environment)) as environment:
        live = LiveExperience(
            environment, context.services.rollout, num_steps=settings.num_steps, seed=context.seed, blend=blend
        )
        if dataset is None:
            yield live
        else:
            require_equal_spaces(dataset, environment)
            shape = (settings.num_steps, *live.shape)
            yield MixedExperience(live, ReplayExperience(dataset, settings, shape=shape, seed=context.seed))


def _dataset(context: TrainingContext, settings: PPOSettings) -> Dataset | None:
    if settings.data_mode == "rollout":
        if settings.dataset is not None and settings.demonstration_coef == 0:
            raise ConfigError(
                f"strategies.ppo.dataset is {settings.dataset}, and strategies.ppo.data_mode 'rollout' learns from no "
                "dataset: choose --set strategies.ppo.data_mode=replay or mixed, set "
                "strategies.ppo.demonstration_coef, or leave the dataset out"
            )
        return None
    if settings.dataset is None:
        raise ConfigError(
            f"strategies.ppo.data_mode is '{settings.data_mode}', and strategies.ppo.dataset is not set: name the "
            "recordings with --set strategies.ppo.dataset=DIR ('townlet capture' records some)"
        )
    return open_run_dataset(settings.dataset, context.run)


class ReplayExperience:
    """The recorded episodes of a dataset, pass after pass.

    Attributes:
        rows: what packs them into buffers.

    Args:
        dataset: the recorded data.
        settings: which scripts may be learned from.
        shape: (T, N, A) of the buffers.
        seed: of the order of episodes.

    Raises:
        DatasetError: it is not what PPO needs.
    """

    exact = True
    shown_by = "the dataset"

    def __init__(self, dataset: Dataset, settings: PPOSettings, *, shape: tuple[int, int, int], seed: int) -> None:
        self.environment_name = environment_name(dataset)
        self.observation_spaces: Mapping[str, spaces.Space[Any]] = dataset.manifest.observation_spaces
        self.action_space = dataset.manifest.action_space
        self.feature_names: Mapping[str, tuple[str, ...]] = dataset.manifest.feature_names
        self.shape = (shape[1], shape[2])
        self.dataset_digest = dataset.digest
        self.baseline = survey(dataset, allow_scripts=settings.allow_scripts)
        self.rows = RecordedRows(dataset, shape=shape, seed=seed)
        self._dataset, self._num_steps = dataset, shape[0]
        self._state: PPOState | None = None
        self._buffer: RolloutBuffer | None = None

    def require_same(self, files: Mapping[str, bytes], *, where: str) -> None:
        """Check that the checkpoint is of this dataset; see `ExperienceSource.require_same`."""
        require_same_dataset(self._dataset, files, where=where)

    def start(self, learner: Learner, files: Mapping[str, bytes], *, where: str) -> None:
        """Go on where the learner's counters say; see `ExperienceSource.start`."""
        del files, where
        self.start_into(
            RolloutBuffer.allocate(
                self._num_steps,
                *self.shape,
                observation_spaces=self.observation_spaces,
                action_space=self.action_space,
                has_action_mask=self.rows.has_action_mask,
            ),
            learner.state,
        )

    def start_into(self, buffer: RolloutBuffer, state: PPOState) -> None:
        """Go on where `state` says, and fill `buffer`."""
        self._buffer, self._state = buffer, state

    @property
    def cycle(self) -> int:
        """Passes made."""
        assert self._state is not None
        return self._state.replay_pass

    def collect(self, cycle: int) -> Experience:
        """Return the next part of the pass; see `ExperienceSource.collect`."""
        del cycle
        assert self._state is not None
        assert self._buffer is not None
        count = self.rows.fill(self._buffer, number=self._state.replay_pass, place=self._state.replay_place)
        return Experience(self._buffer, RolloutStatistics(agent_steps=count), is_recorded=True)

    def advance(self) -> None:
        """Count what was learned from; see `ExperienceSource.advance`."""
        _advance(self._state, of=self.rows.num_buffers)

    def files(self) -> dict[str, bytes]:
        """Return the digest of the dataset."""
        return dataset_files(self._dataset)


class MixedExperience:
    """A pass over a dataset, then a rollout, and so on.

    Args:
        live: the rollouts.
        recorded: the dataset, in buffers of their shape.
    """

    shown_by = "the environment"

    def __init__(self, live: LiveExperience, recorded: ReplayExperience) -> None:
        self._live, self._recorded = live, recorded
        self.environment_name, self.exact = live.environment_name, live.exact
        self.observation_spaces, self.action_space = live.observation_spaces, live.action_space
        self.feature_names, self.shape = live.feature_names, live.shape
        self.dataset_digest, self.baseline = recorded.dataset_digest, recorded.baseline
        self._state: PPOState | None = None

    def require_same(self, files: Mapping[str, bytes], *, where: str) -> None:
        """Check that the checkpoint is of this dataset; see `ExperienceSource.require_same`."""
        self._recorded.require_same(files, where=where)

    def start(self, learner: Learner, files: Mapping[str, bytes], *, where: str) -> None:
        """Begin to act, and go on in the pass where the learner's counters say; see `ExperienceSource.start`.

        Raises:
            DatasetError: actions were masked when it was recorded, and are not in the environment.
        """
        self._live.start(learner, files, where=where)
        assert self._live.buffer is not None
        if self._recorded.rows.has_action_mask and self._live.buffer.action_mask is None:
            raise DatasetError(
                f"the dataset has action masks, and environment '{self.environment_name}' has none: what was recorded "
                "is another task"
            )
        self._recorded.start_into(replace(self._live.buffer, blend=None), learner.state)  # in the same memory
        self._state = learner.state

    @property
    def cycle(self) -> int:
        """Passes made, with the rollout behind each."""
        return self._recorded.cycle

    def collect(self, cycle: int) -> Experience:
        """Return the next part of the pass, or the rollout behind it; see `ExperienceSource.collect`."""
        return (self._recorded if self._is_within_pass else self._live).collect(cycle)

    @property
    def _is_within_pass(self) -> bool:
        assert self._state is not None
        return self._state.replay_place < self._recorded.rows.num_buffers

    def advance(self) -> None:
        """Count what was learned from; see `ExperienceSource.advance`."""
        if not self._is_within_pass:
            self._live.advance()
        _advance(self._state, of=self._recorded.rows.num_buffers + 1)

    def files(self) -> dict[str, bytes]:
        """Return the digest of the dataset, and the running episodes, where the environment can tell."""
        return self._recorded.files() | self._live.files()


def _advance(state: PPOState | None, *, of: int) -> None:
    assert state is not None
    state.replay_place += 1
    if state.replay_place >= of:
        state.replay_pass, state.replay_place = state.replay_pass + 1, 0
