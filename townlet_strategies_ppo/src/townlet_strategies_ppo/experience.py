"""Where experience comes from, and the first such source: rollouts of the policy that learns.

Legend: T steps, N worlds, A agents per world.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from townlet_core import randomness
from townlet_core.dto.ppo import BaselineFields
from townlet_core.errors import CheckpointError, DataError, EpisodesLostError, RunWarning
from townlet_core.policy.actor_only import ActorOnly
from townlet_core.policy.beginning import EARLIER_STAGE
from townlet_strategies_ppo.running_episodes import (
    ROLLOUT_FILE,
    STAGE_FILE,
    restore_rollout,
    rollout_files,
    stage_begun,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gymnasium import spaces

    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.numpy_policy import NumpyPolicy
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.services.capture import RolloutCaptureService
    from townlet_core.services.rollout import Rollout, RolloutStatistics
    from townlet_strategies_ppo.blend import Blend
    from townlet_strategies_ppo.learner import Learner


@dataclass(frozen=True, slots=True)
class Experience:
    """What one update learns from.

    Attributes:
        buffer: T steps of N x A agents; its arrays are filled again for the next update.
        statistics: what they amounted to.
        is_recorded: it is from a dataset, and nobody acted.
    """

    buffer: RolloutBuffer
    statistics: RolloutStatistics
    is_recorded: bool = False


class ExperienceSource(Protocol):
    """Gives every update what it learns from.

    Attributes:
        environment_name: of the environment that it is from; empty if unknown.
        shown_by: what has the spaces, in a message.
        observation_spaces: flattened name -> leaf space of one agent.
        action_space: the action space of one agent.
        feature_names: observation name -> what its entries are called, where somebody has named them.
        shape: (N, A).
        exact: whether the same seed gives the same bytes.
        dataset_digest: SHA-256 of the dataset; empty where there is none.
        baseline: aggregates of the dataset; None in all fields where there is none.
    """

    environment_name: str
    shown_by: str
    observation_spaces: Mapping[str, spaces.Space[Any]]
    action_space: spaces.Space[Any]
    feature_names: Mapping[str, tuple[str, ...]]
    shape: tuple[int, int]
    exact: bool
    dataset_digest: str
    baseline: BaselineFields

    @property
    def cycle(self) -> int:
        """Number of the training cycle that the next update belongs to, from 0, where no schedule says it."""
        ...

    def require_same(self, files: Mapping[str, bytes], *, where: str) -> None:
        """Check that a checkpoint of this run learned from the same source.

        Args:
            files: those of the checkpoint.
            where: its name.

        Raises:
            CheckpointError: it did not.
        """
        ...

    def start(self, learner: Learner, files: Mapping[str, bytes], *, where: str) -> None:
        """Begin, or go on from where a checkpoint was saved.

        Args:
            learner: who learns; its counters say where it stands.
            files: those of the checkpoint; empty for none.
            where: the checkpoint's name.

        Raises:
            CheckpointError: the checkpoint is of another run.
            ConfigError: a rollout does not fit into memory.
        """
        ...

    def collect(self, cycle: int) -> Experience:
        """Return what the next update learns from.

        Args:
            cycle: the training cycle that it belongs to.

        Raises:
            EnvironmentFault: the environment failed.
        """
        ...

    def advance(self) -> None:
        """Be told that an update has learned from what `collect` returned last."""
        ...

    def files(self) -> dict[str, bytes]:
        """Return the files of a checkpoint from which `start` goes on; none before it was called."""
        ...


class LiveExperience:
    """The policy's own rollouts.

    Attributes:
        buffer: what they are written to; None until `start`.

    Args:
        environment: where it acts; who made this closes it.
        service: starts rollouts.
        num_steps: T.
        seed: of the episodes and of action noise.
        blend: the script that acts in the policy's place now and then; None for none.
    """

    shown_by, dataset_digest = "the environment", ""

    def __init__(
        self,
        environment: VectorEnvironment,
        service: RolloutCaptureService,
        *,
        num_steps: int,
        seed: int,
        blend: Blend | None = None,
    ) -> None:
        self.environment_name, self.exact = environment.name, environment.exact
        self.observation_spaces, self.action_space = environment.observation_spaces, environment.action_space
        self.feature_names = environment.feature_names
        self.shape = (environment.num_worlds, environment.num_agents)
        self.baseline = BaselineFields()
        self.buffer: RolloutBuffer | None = None
        self._environment = environment
        self._service, self._num_steps, self._seed, self._blend = service, num_steps, seed, blend
        self._learner: Learner | None = None
        self._rollout: Rollout | None = None
        self._actor: ActorOnly | None = None
        self._stage = 0

    @property
    def cycle(self) -> int:
        """Updates made."""
        assert self._learner is not None
        return self._learner.state.update

    def require_same(self, files: Mapping[str, bytes], *, where: str) -> None:
        """Take any checkpoint: an environment is part of the run's configuration."""

    def start(self, learner: Learner, files: Mapping[str, bytes], *, where: str) -> None:
        """Begin to act, in the middle of the episodes that a checkpoint has, else in new ones; counters say which."""
        stage = stage_begun(files, where=where)
        if ROLLOUT_FILE not in files and learner.state.rollouts > 0 and stage == 0:  # else no episode is lost
            if where == EARLIER_STAGE:  # episodes that cannot be gone on with end with their stage, as it is planned
                stage = learner.state.update
            else:
                learner.state.num_resumes += 1
        self._stage = stage
        rollout = self._new_rollout(learner, stage)
        if ROLLOUT_FILE in files:
            try:
                restore_rollout(rollout, learner.rewards, files[ROLLOUT_FILE])
            except EpisodesLostError as error:
                warnings.warn(f"{error}; new episodes begin", RunWarning, stacklevel=2)
                learner.state.num_resumes += 1
                rollout = self._new_rollout(learner)
            except DataError as error:
                raise CheckpointError(f"{where}: {ROLLOUT_FILE}: {error}") from error
        self._learner, self._rollout = learner, rollout
        self.buffer = self._service.allocate(rollout, self._num_steps)

    def _new_rollout(self, learner: Learner, stage: int = 0) -> Rollout:
        seeds = self._episode_seed(learner.state.attempt, learner.state.num_resumes, stage)
        policy = learner.policy if self._blend is None else self._blend.of(learner.policy, self._environment)
        purpose = "act" if self._blend is None else "blend"  # who decides with more numbers shares none of them
        rollout = self._service.start(self._environment, policy, seeds=seeds, purpose=purpose)
        if rollout.policy is learner.policy and rollout.recorder is None:  # nobody else acts, and nobody listens
            rollout.policy = self._actor = ActorOnly(learner.policy, keep=True)
        return rollout

    def _episode_seed(self, attempt: int, resumes: int, stage: int) -> int:
        """Return the seed of episodes and noise; a run that begins anew has episodes that it has not seen.

        Args:
            attempt: of the run.
            resumes: how often it lost its episodes.
            stage: updates made before a stage that begins with new ones; 0 for none.
        """
        if stage > 0:
            return randomness.integer_seed(randomness.key(self._seed, "stage", attempt, resumes, stage))[0]
        if attempt > 0:
            return randomness.integer_seed(randomness.key(self._seed, "attempt", attempt, resumes))[0]
        if resumes == 0:
            return self._seed
        return randomness.integer_seed(randomness.key(self._seed, "resume", resumes))[0]

    def collect(self, cycle: int) -> Experience:
        """Return the next T steps; see `ExperienceSource.collect`."""
        assert self._learner is not None
        assert self._rollout is not None
        assert self.buffer is not None
        self._environment.begin_cycle(cycle)
        if self._blend is not None:
            self._blend.prepare(self._learner.state)
        statistics = self._rollout.fill(self.buffer)
        self._estimate(self.buffer, self._learner.policy)
        return Experience(self.buffer, statistics)

    def _estimate(self, buffer: RolloutBuffer, policy: NumpyPolicy) -> None:
        """Write what was left out while acting, for all steps at once; with a recorder too, which changes no byte."""
        if self._actor is not None and self._actor.kept is not None:
            buffer.log_probs[:] = policy.log_probs_of_steps(self._actor.kept, buffer.action_mask, buffer.actions)
            self._actor.kept.clear()
        if self._blend is None:
            buffer.values[:] = policy.values_of_steps(buffer.observations)

    def advance(self) -> None:
        """Count the rollout; the environment has gone on already."""
        assert self._learner is not None
        self._learner.state.rollouts += 1
        self._stage = 0

    def files(self) -> dict[str, bytes]:
        """Return the running episodes, where the environment can tell."""
        if self._rollout is None or self._learner is None:
            return {}
        files = rollout_files(self._rollout, self._learner.rewards)
        return files if files or self._stage == 0 else {STAGE_FILE: str(self._stage).encode()}
