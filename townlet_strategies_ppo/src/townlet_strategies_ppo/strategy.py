"""The PPO strategy: collect a rollout, learn from it, say what happened, save; until the steps are made.

Legend: T steps, N worlds, A agents per world, S shards.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from townlet_core import randomness
from townlet_core.config.base import settings_from
from townlet_core.config.dump import config_digest
from townlet_core.dto.base import ArtefactReference
from townlet_core.dto.ppo import PPOTelemetry, PPOTrainingResultDTO, flatten_record
from townlet_core.errors import ConfigError, RunInterrupted, RunWarning
from townlet_core.policy.beginning import EARLIER_STAGE, chosen_spec, spec_of_settings
from townlet_core.torch.device import limited_threads, resolve_device
from townlet_strategies_ppo.advantages import generalized_advantages
from townlet_strategies_ppo.batch import RolloutBatch
from townlet_strategies_ppo.best import Evaluations, best_policy
from townlet_strategies_ppo.blend import scripted_share
from townlet_strategies_ppo.data_modes import open_experience
from townlet_strategies_ppo.demonstrations import ScriptedRows, open_demonstrations
from townlet_strategies_ppo.handover import count_warmup, is_warming, make_reference
from townlet_strategies_ppo.kept import KeptCheckpoints, read_record
from townlet_strategies_ppo.learner import Learner
from townlet_strategies_ppo.progress import is_done, next_rates, total_steps
from townlet_strategies_ppo.settings import PPOSettings
from townlet_strategies_ppo.telemetry import telemetry_record
from townlet_strategies_ppo.threads import choose_threads, learning
from townlet_strategies_ppo.update import UpdateMetrics, update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.arrays import Array
    from townlet_core.context import PPOState, TrainingContext
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.services.buffer import RolloutBuffer
    from townlet_core.services.rollout import RolloutStatistics
    from townlet_strategies_ppo.experience import Experience, ExperienceSource
    from townlet_strategies_ppo.update import Rates


class PPOStrategy:
    """Proximal policy optimisation with clipped ratios (Schulman et al. 2017)."""

    def run(self, context: TrainingContext, **options: Any) -> PPOTrainingResultDTO:
        """Train until `total_steps` agent-steps are made; see `TrainingStrategy.run`.

        Raises:
            ConfigError: a setting asks for another network than the one that `context.initial_policy` brings.
            ArtefactError: `context.initial_policy` sees or decides something else than the environment offers.
            EnvironmentFault: the environment failed; nothing of that rollout was learned.
        """
        name = context.strategy_name
        section = context.config.strategies.get(name, {})
        settings = settings_from(PPOSettings, section, options, path=f"strategies.{name}")
        with limited_threads(1), open_experience(context, settings) as experience:
            return _Run(context, settings, experience).train()


class _Run:
    """One run of PPO; lives as long as `train`."""

    def __init__(self, context: TrainingContext, settings: PPOSettings, experience: ExperienceSource) -> None:
        self.context, self.settings, self.experience = context, settings, experience
        self.begin = context.clock.monotonic()
        self.worlds_per_shard = context.config.environment.shard_worlds
        self.num_shards = experience.shape[0] // self.worlds_per_shard
        self.device = resolve_device(context.config.training.device)
        self.record: PPOTelemetry | None = None
        self.evaluations = Evaluations(context)
        keep = context.config.training.keep_checkpoints
        self.checkpoints = None if context.run is None else KeptCheckpoints(context.run.checkpoints(keep))
        self.loaded = self.checkpoints.newest() if context.resume and self.checkpoints is not None else None
        if self.loaded is not None:
            experience.require_same(self.loaded.files, where=str(self.loaded.path))
        spec = chosen_spec(
            spec_of_settings(experience.observation_spaces, experience.action_space, settings),
            settings,
            checkpoint=self.loaded,
            continuation=context.continuation,
            initial=context.initial_policy,
            shown_by=experience.shown_by,
        )
        self.evaluations.require_fit(spec)
        self.learner = Learner(
            spec,
            context.resolver.encoder(spec.encoder.name),
            settings,
            seed=context.seed,
            shape=experience.shape,
            worlds_per_shard=self.worlds_per_shard,
            device=self.device,
            initial=context.initial_policy if self.loaded is None else None,
        )
        self.learner.state.attempt = context.attempt

    def train(self) -> PPOTrainingResultDTO:
        """Make updates until the steps are made, and return the result."""
        state, network = self._begin(), self.learner.network
        if state.num_threads == 0:
            rows = self.settings.num_steps * self.worlds_per_shard * self.experience.shape[1]
            state.num_threads = self.context.num_threads or choose_threads(
                network, self.num_shards, max(1, rows // self.settings.num_minibatches)
            )
        files, where = self._taken_up()
        self.reference = make_reference(
            network,
            self.settings,
            files=files,
            initial=self.context.initial_policy,
            where=where,
            worlds_per_shard=self.worlds_per_shard,
        )
        self.demonstrations = open_demonstrations(self.context, self.settings, self.learner)
        self.scripted_rows = ScriptedRows.of(self.context, self.settings, self.learner)
        if self.demonstrations is not None and self.loaded is not None:
            self.demonstrations.require_same(files, where=where)
        with learning(network, self.settings, state.num_threads) as self.gradient:
            return self._train(state)

    def _taken_up(self) -> tuple[Mapping[str, bytes], str]:
        """Return the files of what the run goes on from, empty for nothing, and its name."""
        if self.loaded is not None:
            return self.loaded.files, str(self.loaded.path)
        return self.context.continuation or {}, EARLIER_STAGE

    def _train(self, state: PPOState) -> PPOTrainingResultDTO:
        context, settings = self.context, self.settings
        if self.record is None or not is_done(settings, state):
            self._start()
            if self.loaded is None:
                self._save()  # whenever the run is stopped from here on, it can be resumed from what it began with
            while self.record is None or not is_done(settings, state):
                record = self._update()
                done = is_done(settings, state)
                self.record = self.evaluations.after(record, self.record, self._artefact, is_last=done)
                if context.trackers is not None:
                    context.trackers.log(flatten_record(self.record))
                is_due = state.update % context.config.training.checkpoint_every == 0
                is_stopping = context.stop.requested  # asked once: a signal may come between the two lines below
                if done or is_due or is_stopping or self.record.best_update == state.update:
                    self._save()
                if is_stopping and not done:
                    raise RunInterrupted(f"stopped after update {state.update}, {state.agent_steps:,} agent-steps")
        assert self.record is not None
        if state.update == state.warmup_updates and context.anneal_context is None:  # a stage may be meant to
            text = f"the critic learned alone in all {state.update} updates, and the policy is what the run began from"
            remedy = "choose a larger total_steps, or fewer critic_warmup_updates"
            warnings.warn(f"{text}: {remedy}", RunWarning, stacklevel=2)
        return self._result(self.record)

    def _begin(self) -> PPOState:
        """Take up the newest checkpoint, or the earlier stage, or nothing; return the counters."""
        telemetry, continuation = self.context.telemetry, self.context.continuation
        if self.loaded is not None:
            self._restore(self.loaded.files, where=str(self.loaded.path))
        elif continuation is not None:
            self._continue(continuation)
        if telemetry is not None and self.context.resume:
            telemetry.truncate(0 if self.loaded is None else self.learner.state.telemetry_offset)
        return self.learner.state

    def _restore(self, files: Mapping[str, bytes], *, where: str) -> None:
        self.learner.restore(files, where=where)
        self.record = read_record(files, where=where)

    def _continue(self, files: Mapping[str, bytes]) -> None:
        """Go on from an earlier stage: all of its state, but the weights of `initial_policy` where one is given."""
        self._restore(files, where=EARLIER_STAGE)
        self.record = None
        state = self.learner.state
        if state.attempt != self.context.attempt:  # what is tried again is tried in new episodes
            state.attempt, state.rollouts = self.context.attempt, 0
        if state.replay_place:
            state.replay_pass, state.replay_place = state.replay_pass + 1, 0  # of another dataset, it may be
        if self.context.initial_policy is not None:
            self.learner.take_policy(self.context.initial_policy)
        if is_done(self.settings, state):
            name, total, done = "total_steps", self.settings.total_steps, state.agent_steps
            if self.settings.num_updates is not None:
                name, total, done = "num_updates", self.settings.num_updates, state.update
            raise ConfigError(
                f"{name} is {total:,}, and {EARLIER_STAGE} has made {done:,} of them already: "
                "they count too, so choose a larger number"
            )

    def _start(self) -> None:
        """Begin to collect experience, from where the newest checkpoint or the earlier stage stopped."""
        files, where = self._taken_up()
        if self.loaded is None and self.learner.state.rollouts == 0:
            files = {}  # nobody has acted in this attempt: no episode is running
        self.experience.start(self.learner, files, where=where)

    def _cycle(self) -> int:
        """The training cycle: that of the schedule in an anneal, else as the source of experience counts."""
        anneal = self.context.anneal_context
        return self.experience.cycle if anneal is None else anneal.cycle

    def _update(self) -> PPOTelemetry:
        """Collect experience, learn from it, and return what happened."""
        learner, settings, clock = self.learner, self.settings, self.context.clock
        begin = clock.monotonic()
        cycle = self._cycle()
        experience = self.experience.collect(cycle)
        buffer = experience.buffer
        rates, is_warmup = next_rates(settings, learner.state), is_warming(settings, learner.state)
        advantages = self._advantages(experience)
        metrics = self._learn(buffer, advantages, rates)
        learner.publish()
        if not is_warmup:
            learner.see_observations(buffer)
        self._count(experience.statistics, metrics)
        record = self._describe(experience, advantages, metrics, begin=begin, rates=rates, cycle=cycle)
        if is_warmup and count_warmup(settings, learner.state, record.explained_variance):
            learner.reset_optimizer()
        return record

    def _advantages(self, experience: Experience) -> Array:
        buffer = experience.buffer
        rewards = buffer.rewards
        if self.learner.rewards is not None:
            self.learner.rewards.see(
                buffer,
                gamma=self.settings.gamma,
                worlds_per_shard=self.worlds_per_shard,
                is_recorded=experience.is_recorded,
            )
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

    def _learn(self, buffer: RolloutBuffer, advantages: Array, rates: Rates) -> UpdateMetrics:
        learner, reference = self.learner, None
        if self.reference is not None and rates.reference_kl_coef > 0:
            reference = self.reference.outputs(buffer)
        batch = RolloutBatch(
            buffer,
            advantages,
            learner.network.spec.observation_spaces,
            learner.normalizer,
            worlds_per_shard=self.worlds_per_shard,
            normalize_advantages=self.settings.normalize_advantages,
            reference=reference,
        )
        keys = randomness.key(
            self.context.seed,
            "minibatches",
            learner.state.attempt,
            learner.state.update + 1,
            np.arange(self.settings.num_epochs)[:, None],
            np.arange(self.num_shards),
        )
        return update(
            self.gradient,
            learner.optimizer,
            batch,
            self.settings,
            rates,
            epoch_keys=keys,
            critic=learner.network.layout.part("critic"),
            demonstrations=self._beside(buffer),
        )

    def _beside(self, buffer: RolloutBuffer) -> Callable[[int], tuple[Any, float]] | None:
        """Return what gives the demonstrations beside each minibatch of the next update, None for none."""
        if self.demonstrations is not None:
            return self.demonstrations.beside(self.learner.state)
        return None if self.scripted_rows is None else self.scripted_rows.beside(self.learner.state, buffer)

    def _count(self, statistics: RolloutStatistics, metrics: UpdateMetrics) -> None:
        state = self.learner.state
        state.update += 1
        state.agent_steps += statistics.agent_steps
        state.optimizer_steps += len(metrics.columns["count"])
        state.adam_steps += len(metrics.columns["count"])
        state.episodes += len(statistics.episode_returns)
        self.experience.advance()

    def _describe(
        self,
        experience: Experience,
        advantages: Array,
        metrics: UpdateMetrics,
        *,
        begin: float,
        rates: Rates,
        cycle: int,
    ) -> PPOTelemetry:
        state, telemetry = self.learner.state, self.context.telemetry
        duration = self.context.clock.monotonic() - begin
        statistics = experience.statistics
        return telemetry_record(
            experience.buffer,
            advantages,
            statistics,
            metrics,
            feature_names=self.experience.feature_names,
            anneal=self.context.anneal_context,
            counters={
                "lr": rates.learning_rate,
                "clip_range": rates.clip_range,
                "actor_share": rates.actor_share,
                "reference_kl": metrics.mean("reference_kl") if rates.reference_kl_coef > 0 else None,
                "demonstration_loss": metrics.demonstration_loss,
                "scripted_share": scripted_share(experience.buffer),
                **self.experience.baseline.model_dump(),
                "data_mode": self.settings.data_mode,
                "rollout_ticks": 0 if experience.is_recorded else self.settings.num_steps,
                "cycle_id": cycle,
                "epoch": state.update,
                "steps": state.optimizer_steps,
                "agent_steps": state.agent_steps,
                "total_steps": total_steps(self.settings, self.experience.shape),
                "policy_digest": self.learner.weights_digest(),
                "epoch_duration_sec": duration,
                "steps_per_sec": statistics.agent_steps / duration if duration > 0 else 0.0,
                "log_stream_offset": 0 if telemetry is None else telemetry.offset,
            },
        )

    def _save(self) -> None:
        telemetry = self.context.telemetry
        if self.checkpoints is None:
            return
        self.learner.state.telemetry_offset = 0 if telemetry is None else telemetry.sync()
        files = self.learner.checkpoint() | self.experience.files()
        for source in (self.reference, self.demonstrations):
            files |= {} if source is None else source.files()
        self.checkpoints.save(self.learner.state.update, files, self.record)

    def _artefact(self) -> PolicyArtefact:
        return self.learner.artefact(
            strategy=self.context.strategy_name,
            environment=self.experience.environment_name,
            config_digest=config_digest(self.context.config),
            dataset_digest=self.experience.dataset_digest,
        )

    def _result(self, record: PPOTelemetry) -> PPOTrainingResultDTO:
        context, state = self.context, self.learner.state
        reference = None
        if context.run is not None and self.checkpoints is not None:
            latest = self._artefact()
            best = best_policy(record, self.learner, latest, self.checkpoints.store)
            digest = (best or latest).save(context.run.policy_dir)
            kind: Literal["last", "best"] = "last" if best is None else "best"
            reference = ArtefactReference(path=context.run.policy_dir.name, digest=digest, kind=kind)
        return PPOTrainingResultDTO(
            **record.model_dump(),
            strategy=context.strategy_name,
            duration_sec=context.clock.monotonic() - self.begin,
            artefact=reference,
            episodes_total=state.episodes,
            num_resumes=state.num_resumes,
            episodes_restarted=state.num_resumes > 0,
            exact=self.experience.exact,
            num_threads=state.num_threads,
            device=str(self.device),
        )
