"""`RolloutCaptureService`: starts rollouts for strategies, and captures datasets.

Legend: N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.policy.actor_only import ActorOnly
from townlet_core.services.blend import BlendedPolicy
from townlet_core.services.buffer import RolloutBuffer
from townlet_core.services.capture_run import CaptureRun
from townlet_core.services.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.base import Policy
    from townlet_core.replay.writer import DatasetWriter
    from townlet_core.services.capture_plan import CapturePlan, CaptureStatistics


class RolloutCaptureService:
    """Starts rollouts; holds nothing between them."""

    def start(
        self,
        environment: VectorEnvironment,
        policy: Policy,
        *,
        seeds: int | Sequence[int],
        purpose: str = "act",
        deterministic: bool = False,
    ) -> Rollout:
        """Reset `environment` and return a rollout of `policy` in it.

        Args:
            environment: where to act; the caller closes it.
            policy: who acts.
            seeds: one seed for all worlds, or one for each.
            purpose: the key under which action noise is drawn; two purposes share no numbers.
            deterministic: take the most likely action instead of a sample.
        """
        return Rollout(environment, policy, seeds=seeds, purpose=purpose, deterministic=deterministic)

    def allocate(self, rollout: Rollout, num_steps: int) -> RolloutBuffer:
        """Return a buffer for `num_steps` steps of `rollout`.

        Raises:
            ConfigError: it does not fit into memory.
        """
        environment = rollout.environment
        return RolloutBuffer.allocate(
            num_steps,
            environment.num_worlds,
            environment.num_agents,
            observation_spaces=environment.observation_spaces,
            action_space=environment.action_space,
            has_action_mask=rollout.current.action_mask is not None,
            is_blended=isinstance(rollout.policy, BlendedPolicy),
            num_kept=rollout.policy.num_kept if isinstance(rollout.policy, ActorOnly) else 0,
        )

    def capture(
        self,
        environment: VectorEnvironment,
        policy: Policy,
        writer: DatasetWriter,
        plan: CapturePlan,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int, int], None] = lambda _episodes, _steps: None,
    ) -> CaptureStatistics:
        """Record world-episodes, each as world 0, episode 0 of its own seed, in the order of their seeds.

        What is written does not depend on the number of worlds; with a `NumpyPolicy` that is true to the byte when it
        makes one product per world. When it is interrupted, every episode that has ended is written.

        Args:
            environment: where; it has to take one seed for each world. The caller closes it.
            policy: who acts.
            writer: takes what is recorded; the caller closes it.
            plan: how much.
            should_stop: asked after every step.
            on_progress: called after every step with (world-episodes written, agent-steps made).

        Raises:
            EnvironmentFault: an episode failed, did not end, or had no agent; those before it are written.
            DatasetError: the writer refused.
            StorageError: the system did.
        """
        run = CaptureRun(environment, policy, writer, plan, should_stop=should_stop, on_progress=on_progress)
        return run.run()

    def event_kinds(self, environment: VectorEnvironment) -> tuple[str, ...]:
        """Return what a dataset of `environment` counts as `event.kind`; resets it where only a reset tells."""
        return environment.event_kinds or tuple(environment.reset(0).events)
