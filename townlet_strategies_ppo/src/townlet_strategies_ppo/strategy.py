"""The PPO strategy: collect a rollout, learn from it, say what happened, save; until the steps are made.

Legend: T steps, N worlds, A agents per world, S shards.
"""

from __future__ import annotations

import warnings
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from townlet_core import randomness
from townlet_core.config.base import settings_from
from townlet_core.config.dump import config_digest
from townlet_core.dto.base import ArtefactReference
from townlet_core.dto.ppo import PPOTelemetry, PPOTrainingResultDTO, flatten_record
from townlet_core.errors import ArtefactError, CheckpointError, RunInterrupted, TownletWarning
from townlet_core.policy.inputs import prepare
from townlet_core.policy.spec import EncoderSpec, PolicySpec
from townlet_core.torch.device import resolve_device
from townlet_strategies_ppo.advantages import generalized_advantages
from townlet_strategies_ppo.batch import RolloutBatch
from townlet_strategies_ppo.learner import Learner
from townlet_strategies_ppo.settings import PPOSettings
from townlet_strategies_ppo.telemetry import telemetry_record
from townlet_strategies_ppo.update import UpdateMetrics, update

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.context import TrainingContext
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.services.rollout import Rollout, RolloutStatistics

RECORD_FILE = "telemetry.json"


class PPOStrategy:
    """Proximal policy optimisation with clipped ratios (Schulman et al. 2017)."""

    def run(self, context: TrainingContext, **options: Any) -> PPOTrainingResultDTO:
        """Train until `total_steps` agent-steps are made; see `TrainingStrategy.run`.

        Raises:
            ArtefactError: `context.initial_policy` sees or decides something else than the environment offers.
            EnvironmentFault: the environment failed; nothing of that rollout was learned.
        """
        name = context.strategy_name
        section = context.config.strategies.get(name, {})
        settings = settings_from(PPOSettings, section, options, path=f"strategies.{name}")
        torch.set_num_threads(context.num_threads)
        with closing(context.resolver.environment(context.config.environment)) as environment:
            return _Run(context, settings, environment).train()


class _Run:
    """One run of PPO; lives as long as `train`."""

    def __init__(self, context: TrainingContext, settings: PPOSettings, environment: VectorEnvironment) -> None:
        self.context, self.settings, self.environment = context, settings, environment
        self.begin = context.clock.monotonic()
        self.worlds_per_shard = context.config.environment.shard_worlds
        self.num_shards = environment.num_worlds // self.worlds_per_shard
        self.device = resolve_device(context.config.training.device)
        self.record: PPOTelemetry | None = None
        keep = context.config.training.keep_checkpoints
        self.checkpoints = None if context.run is None else context.run.checkpoints(keep)
        spec = _spec(environment, settings)
        initial = context.initial_policy
        if initial is not None:
            if not spec.same_spaces(initial.spec):
                raise ArtefactError(
                    "the policy to start from does not fit the environment:\n"
                    f"  the policy sees {initial.spec.observations} and decides {initial.spec.action}\n"
                    f"  the environment shows {spec.observations} and takes {spec.action}"
                )
            spec = initial.spec
        self.learner = Learner(
            spec,
            context.resolver.encoder(spec.encoder.name),
            settings,
            seed=context.seed,
            shape=(environment.num_worlds, environment.num_agents),
            worlds_per_shard=self.worlds_per_shard,
            device=self.device,
            initial=initial,
        )

    def train(self) -> PPOTrainingResultDTO:
        """Make updates until the steps are made, and return the result."""
        context, state = self.context, self.learner.state
        if context.resume:
            self._resume()
            state = self.learner.state
        if self.record is None or state.agent_steps < self.settings.total_steps:
            rollout = context.services.rollout.start(self.environment, self.learner.policy, seeds=self._episode_seed())
            buffer = context.services.rollout.allocate(rollout, self.settings.num_steps)
            while self.record is None or state.agent_steps < self.settings.total_steps:
                self.record = self._update(rollout, buffer)
                if context.trackers is not None:
                    context.trackers.log(flatten_record(self.record))
                done = state.agent_steps >= self.settings.total_steps
                if done or context.stop.requested or state.update % context.config.training.checkpoint_every == 0:
                    self._save()
                if context.stop.requested and not done:
                    raise RunInterrupted(f"stopped after update {state.update}, {state.agent_steps:,} agent-steps")
        assert self.record is not None
        return self._result(self.record)

    def _episode_seed(self) -> int:
        """The seed of the environment and of action noise; a resumed run begins episodes that it has not seen."""
        resumes = self.learner.state.num_resumes
        if resumes == 0:
            return self.context.seed
        return randomness.integer_seed(randomness.key(self.context.seed, "resume", resumes))[0]

    def _update(self, rollout: Rollout, buffer: RolloutBuffer) -> PPOTelemetry:
        """Collect one rollout, learn from it, and return what happened."""
        learner, settings, clock = self.learner, self.settings, self.context.clock
        begin = clock.monotonic()
        statistics = rollout.fill(buffer)
        progress = min(1.0, learner.state.agent_steps / settings.total_steps)
        rates = {
            "lr": settings.learning_rate * (1.0 - progress if settings.learning_rate_schedule == "linear" else 1.0),
            "clip_range": settings.clip_range * (1.0 - progress if settings.clip_range_schedule == "linear" else 1.0),
        }
        advantages = self._advantages(buffer)
        metrics = self._learn(buffer, advantages, rates)
        learner.publish()
        learner.see_observations(buffer)
        self._count(statistics, metrics)
        return self._describe(buffer, advantages, statistics, metrics, begin=begin, rates=rates)

    def _advantages(self, buffer: RolloutBuffer) -> Array:
        rewards = buffer.rewards
        if self.learner.rewards is not None:
            self.learner.rewards.see(buffer, gamma=self.settings.gamma, worlds_per_shard=self.worlds_per_shard)
            rewards = self.learner.rewards.scaled(rewards)
        if self.settings.reward_clip is not None:
            rewards = np.clip(rewards, -self.settings.reward_clip, self.settings.reward_clip)
        return generalized_advantages(
            rewards,
            buffer.values,
            terminations=buffer.terminations,
            truncations=buffer.truncations,
            bootstrap_values=buffer.bootstrap_values,
            last_values=buffer.last_values,
            agent_mask=buffer.agent_mask,
            gamma=self.settings.gamma,
            gae_lambda=self.settings.gae_lambda,
        )

    def _learn(self, buffer: RolloutBuffer, advantages: Array, rates: dict[str, float]) -> UpdateMetrics:
        learner = self.learner
        inputs = prepare(learner.network.spec.observation_spaces, buffer.observations, learner.normalizer)
        batch = RolloutBatch(buffer, inputs, advantages, worlds_per_shard=self.worlds_per_shard, device=self.device)
        keys = randomness.key(
            self.context.seed,
            "minibatches",
            0,
            learner.state.update + 1,
            np.arange(self.settings.num_epochs)[:, None],
            np.arange(self.num_shards),
        )
        return update(
            learner.network,
            learner.optimizer,
            batch,
            self.settings,
            learning_rate=rates["lr"],
            clip_range=rates["clip_range"],
            epoch_keys=keys,
        )

    def _count(self, statistics: RolloutStatistics, metrics: UpdateMetrics) -> None:
        state = self.learner.state
        state.update += 1
        state.agent_steps += statistics.agent_steps
        state.optimizer_steps += len(metrics.columns["count"])
        state.episodes += len(statistics.episode_returns)

    def _describe(
        self,
        buffer: RolloutBuffer,
        advantages: Array,
        statistics: RolloutStatistics,
        metrics: UpdateMetrics,
        *,
        begin: float,
        rates: dict[str, float],
    ) -> PPOTelemetry:
        state, telemetry = self.learner.state, self.context.telemetry
        duration = self.context.clock.monotonic() - begin
        return telemetry_record(
            buffer,
            advantages,
            statistics,
            metrics,
            anneal=self.context.anneal_context,
            counters={
                **rates,
                "epoch": state.update,
                "steps": state.optimizer_steps,
                "agent_steps": state.agent_steps,
                "total_steps": self.settings.total_steps,
                "policy_digest": self.learner.weights_digest(),
                "epoch_duration_sec": duration,
                "steps_per_sec": statistics.agent_steps / duration if duration > 0 else 0.0,
                "log_stream_offset": 0 if telemetry is None else telemetry.offset,
            },
        )

    def _save(self) -> None:
        telemetry = self.context.telemetry
        if self.checkpoints is None or self.record is None:
            return
        if telemetry is not None:
            self.learner.state.telemetry_offset = telemetry.sync()
        files = self.learner.checkpoint() | {RECORD_FILE: self.record.model_dump_json(indent=1).encode()}
        self.checkpoints.save(self.learner.state.update, files)

    def _resume(self) -> None:
        loaded = None if self.checkpoints is None else self.checkpoints.load_newest()
        if loaded is None:
            return
        for reason in loaded.skipped:
            warnings.warn(f"a newer checkpoint was skipped: {reason}", TownletWarning, stacklevel=2)
        self.learner.restore(loaded.files, where=str(loaded.path))
        try:
            self.record = PPOTelemetry.model_validate_json(loaded.files[RECORD_FILE])
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{loaded.path} has no readable {RECORD_FILE}: {error}") from error
        self.learner.state.num_resumes += 1
        if self.context.telemetry is not None:
            self.context.telemetry.truncate(self.learner.state.telemetry_offset)

    def _result(self, record: PPOTelemetry) -> PPOTrainingResultDTO:
        context, state = self.context, self.learner.state
        reference = None
        if context.run is not None:
            artefact = self.learner.artefact(
                strategy=context.strategy_name,
                environment=self.environment.name,
                config_digest=config_digest(context.config),
            )
            digest = artefact.save(context.run.policy_dir)
            reference = ArtefactReference(path=context.run.policy_dir.name, digest=digest, kind="last")
        return PPOTrainingResultDTO(
            **record.model_dump(),
            strategy=context.strategy_name,
            duration_sec=context.clock.monotonic() - self.begin,
            artefact=reference,
            episodes_total=state.episodes,
            num_resumes=state.num_resumes,
            episodes_restarted=state.num_resumes > 0,
            exact=self.environment.exact,
        )


def _spec(environment: VectorEnvironment, settings: PPOSettings) -> PolicySpec:
    return PolicySpec.for_spaces(
        environment.observation_spaces,
        environment.action_space,
        encoder=EncoderSpec(name=settings.encoder, options=settings.encoder_options),
        shared_hidden=settings.shared_hidden,
        actor_hidden=settings.hidden,
        critic_hidden=settings.hidden,
        activation=settings.activation,
        normalize_observations=settings.normalize_observations,
    )
