"""The BC strategy: pass over the demonstrations, measure on held-out ones, say what happened, save; keep the best.

Legend: K outputs of the actor.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.config.base import settings_from
from townlet_core.config.dump import config_digest
from townlet_core.dto.base import ArtefactReference
from townlet_core.dto.bc import BCTelemetry, BCTrainingResultDTO, flatten_bc_record
from townlet_core.errors import CheckpointError, ConfigError, RunInterrupted, RunWarning, TownletWarning
from townlet_core.policy.artefact import Provenance
from townlet_core.policy.beginning import EARLIER_STAGE, chosen_spec, spec_of_settings
from townlet_core.services.run_dataset import dataset_files, environment_name, require_same_dataset
from townlet_core.torch.device import limited_threads, resolve_device
from townlet_strategies_bc.batch import BatchMaker
from townlet_strategies_bc.ceiling import accuracy_ceiling
from townlet_strategies_bc.demonstrations import Demonstrations, open_demonstrations
from townlet_strategies_bc.gate import Measured, decide, describe_degenerate
from townlet_strategies_bc.labels import balanced_weights, read_labels
from townlet_strategies_bc.learner import Learner
from townlet_strategies_bc.loss import LossTerms
from townlet_strategies_bc.metrics import HeldOutMetrics, output_names
from townlet_strategies_bc.rollout import score
from townlet_strategies_bc.schedule import learning_rate
from townlet_strategies_bc.settings import BCSettings
from townlet_strategies_bc.telemetry import label_fields, pass_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.checkpoint.store import LoadedCheckpoint
    from townlet_core.context import TrainingContext
    from townlet_core.dto.bc import HeldOutFields
    from townlet_core.policy.spec import PolicySpec

RECORD_FILE, BEST_FILE = "telemetry.json", "best.json"


class BCStrategy:
    """Behaviour cloning: supervised learning of what a demonstrator did."""

    def run(self, context: TrainingContext, **options: Any) -> BCTrainingResultDTO:
        """Train for `num_epochs` passes, or until the held-out loss falls no more; see `TrainingStrategy.run`.

        Raises:
            ConfigError: no dataset is named, or a setting does not fit the actions or `context.initial_policy`.
            MissingInputError: there is no dataset.
            DatasetError: it is damaged, too small, or its labels are not of its own action space.
            CheckpointError: what is resumed learned from another dataset.
            ArtefactError: `context.initial_policy` sees or decides something else than the dataset has.
        """
        name = context.strategy_name
        section = context.config.strategies.get(name, {})
        settings = settings_from(BCSettings, section, options, path=f"strategies.{name}")
        with limited_threads(context.num_threads or 1):
            return _Run(context, settings).train()


class _Run:
    """One run; lives as long as `train`."""

    def __init__(self, context: TrainingContext, settings: BCSettings) -> None:
        self.context, self.settings = context, settings
        self.begin = context.clock.monotonic()
        self.device = resolve_device(context.config.training.device)
        self.record: BCTelemetry | None = None
        self.best: BCTelemetry | None = None
        keep = context.config.training.keep_checkpoints
        self.checkpoints = None if context.run is None else context.run.checkpoints(keep)
        self.loaded = self._newest_checkpoint() if context.resume else None
        dataset = open_demonstrations(settings.dataset, context.run)
        if self.loaded is not None:
            require_same_dataset(dataset, self.loaded.files, where=str(self.loaded.path))
        spec = chosen_spec(
            spec_of_settings(dataset.manifest.observation_spaces, dataset.manifest.action_space, settings),
            settings,
            checkpoint=self.loaded,
            continuation=context.continuation,
            initial=context.initial_policy,
            shown_by="the dataset",
        )
        _require_choices(spec, settings)
        directory = None if context.run is None else context.run.path
        self.data = Demonstrations(dataset, spec.head, settings, seed=context.seed, directory=directory)
        self.labels = read_labels(dataset, spec.head, self.data.split.train)
        self.held_out_labels = None
        if self.is_measured:
            self.held_out_labels = read_labels(dataset, spec.head, self.data.split.held_out)
        self.learner = self._learner(spec)
        self.batches = BatchMaker(spec, self.learner.normalizer, joined=spec.encoder.name == "flatten")
        self.names = output_names(spec.head, dataset.manifest.action_names)

    @property
    def is_measured(self) -> bool:
        """Whether anything is held out."""
        return self.data.num_held_out_rows > 0

    def _learner(self, spec: PolicySpec) -> Learner:
        context, settings = self.context, self.settings
        weights = balanced_weights(spec.head, self.labels.counts) if settings.class_weights == "balanced" else None
        begins_anew = self.loaded is None and context.continuation is None
        return Learner(
            spec,
            context.resolver.encoder(spec.encoder.name),
            settings,
            LossTerms(settings.label_smoothing, weights, settings.value_coef),
            seed=context.seed,
            device=self.device,
            initial=context.initial_policy if self.loaded is None else None,
            moments=self.data.moments if begins_anew else None,
        )

    def train(self) -> BCTrainingResultDTO:
        """Make passes until they are made, and return the result."""
        self._begin()
        if self.labels.are_degenerate(self.settings.degenerate_share):
            warnings.warn(
                f"{self.settings.dataset}: the labels are degenerate: {describe_degenerate(self.labels)}",
                TownletWarning,
                stacklevel=2,
            )
        if self.loaded is None:
            self._save()  # whenever the run is stopped from here on, it can be resumed from what it began with
        while not self._is_done():
            self._pass()
        return self._result()

    def _begin(self) -> None:
        """Take up the newest checkpoint, or the earlier stage, or nothing."""
        telemetry, continuation = self.context.telemetry, self.context.continuation
        if self.loaded is not None:
            where = str(self.loaded.path)
            self.learner.restore(self.loaded.files, where=where)
            self.record = _read_record(self.loaded.files, RECORD_FILE, where)
            self.best = _read_record(self.loaded.files, BEST_FILE, where)
        elif continuation is not None:
            self.learner.restore(continuation, where=EARLIER_STAGE)
            self.learner.begin_anew(self.context.initial_policy)
        if telemetry is not None and self.context.resume:
            telemetry.truncate(0 if self.loaded is None else self.learner.state.telemetry_offset)

    def _is_done(self) -> bool:
        state, patience = self.learner.state, self.settings.patience
        if state.epoch >= self.settings.num_epochs:
            return True
        is_stuck = patience is not None and self.is_measured and state.epoch - state.best_epoch >= patience
        return is_stuck and state.epoch > 0

    def _pass(self) -> None:
        """Make one pass, or the rest of one; measure, report and save."""
        context, state = self.context, self.learner.state
        begin, rows_before = context.clock.monotonic(), state.samples
        rate = self._steps()
        seconds = context.clock.monotonic() - begin
        totals = self.learner.updater.totals()
        self.learner.publish()
        state.epoch, state.batch = state.epoch + 1, 0
        held_out = self._measure()
        is_best = held_out is None or self.best is None or _loss(held_out) < _loss(self.best)
        if is_best:
            self.learner.keep_as_best()
        telemetry, settings, learner = context.telemetry, self.settings, self.learner
        self.record = pass_record(
            totals,
            held_out,
            state,
            has_choices=bool(learner.network.spec.head.counts),
            learns_values=settings.value_coef > 0,
            num_epochs=settings.num_epochs,
            total_steps=settings.num_epochs * self.data.train.num_batches * settings.batch_size,
            policy_digest=learner.weights_digest(),
            log_stream_offset=0 if telemetry is None else telemetry.offset,
            lr=rate,
            is_best=is_best,
            epoch_duration_sec=context.clock.monotonic() - begin,
            samples_per_sec=(state.samples - rows_before) / seconds if seconds > 0 else 0.0,
            **({} if context.anneal_context is None else context.anneal_context.telemetry_fields()),
        )
        if is_best:
            self.best = self.record
        if context.trackers is not None:
            context.trackers.log(flatten_bc_record(self.record))
        done = self._is_done()
        if done or context.stop.requested or state.epoch % context.config.training.checkpoint_every == 0:
            self._save()
        if context.stop.requested and not done:
            raise RunInterrupted(f"stopped after pass {state.epoch}, {state.samples:,} rows")

    def _steps(self) -> float:
        """Take the optimiser steps of the pass from where it stands; return the last learning rate."""
        learner, settings, stop = self.learner, self.settings, self.context.stop
        state, reader = learner.state, self.data.train
        num_batches, rate = reader.num_batches, 0.0
        if state.batch == 0:
            learner.updater.begin_pass()
        for rows in reader.epoch(state.epoch, first_batch=state.batch):
            done = (state.epoch * num_batches + state.batch) / (settings.num_epochs * num_batches)
            rate = settings.learning_rate * learning_rate(settings.learning_rate_schedule, done)
            learner.updater.step(self.batches(rows), learning_rate=rate)
            state.batch += 1
            state.optimizer_steps += 1
            state.samples += reader.batch_size
            if state.batch < num_batches:
                if stop.requested:
                    self._save()
                    raise RunInterrupted(
                        f"stopped after {state.batch:,} of {num_batches:,} steps of pass {state.epoch + 1}"
                    )
                if state.optimizer_steps % settings.checkpoint_steps == 0:
                    self._save()
        return rate

    def _measure(self) -> HeldOutFields | None:
        """Return what the held-out rows say about the policy as it is now; None where nothing is held out."""
        learner, reader = self.learner, self.data.held_out
        if reader is None:
            return None
        metrics = HeldOutMetrics(learner.network.spec.head, self.names)
        for rows in reader.epoch(0):
            batch = self.batches(rows)
            metrics.add(batch, *learner.updater.gradient.outputs(batch), learner.log_std)
        return metrics.fields()

    def _save(self) -> None:
        telemetry = self.context.telemetry
        if self.checkpoints is None:
            return
        self.learner.updater.totals()  # raises where a sum of the pass is not finite
        self.learner.publish()
        self.learner.state.telemetry_offset = 0 if telemetry is None else telemetry.sync()
        files = self.learner.checkpoint() | dataset_files(self.data.dataset)
        for name, record in ((RECORD_FILE, self.record), (BEST_FILE, self.best)):
            if record is not None:
                files[name] = record.model_dump_json(indent=1).encode()
        self.checkpoints.save(self.learner.state.optimizer_steps, files)

    def _newest_checkpoint(self) -> LoadedCheckpoint | None:
        loaded = None if self.checkpoints is None else self.checkpoints.load_newest()
        for reason in () if loaded is None else loaded.skipped:
            warnings.warn(f"a newer checkpoint was skipped: {reason}", RunWarning, stacklevel=2)
        return loaded

    def _result(self) -> BCTrainingResultDTO:
        context, settings, data, state = self.context, self.settings, self.data, self.learner.state
        record = self.best if self.is_measured else self.record
        assert record is not None
        artefact = self.learner.artefact(
            Provenance(
                strategy=context.strategy_name,
                environment=environment_name(data.dataset),
                agent_steps=record.agent_steps,
                config_digest=config_digest(context.config),
                dataset_digest=data.dataset.digest,
            ),
            best=self.is_measured,
        )
        reference = None
        if context.run is not None:
            digest = artefact.save(context.run.policy_dir)
            kind = "best" if self.is_measured else "last"
            reference = ArtefactReference.model_validate(
                {"path": context.run.policy_dir.name, "digest": digest, "kind": kind}
            )
        has_ceiling = self.is_measured and bool(artefact.spec.head.counts)
        ceiling = accuracy_ceiling(data.dataset, data.split.held_out) if has_ceiling else None
        labels, held_out = self.labels, self.held_out_labels
        majority_share = None if held_out is None else held_out.majority_share
        measured = Measured(record.accuracy, data.num_held_out_rows, data.split.num_held_out_groups, majority_share)
        gate = decide(measured, labels, ceiling, settings)
        rollout = score(
            context,
            artefact,
            data.dataset,
            episodes=settings.evaluate_episodes,
            deterministic=settings.evaluate_deterministic,
        )
        return BCTrainingResultDTO(
            **record.model_dump(),
            **rollout.model_dump(),
            **label_fields(labels, held_out, ceiling, degenerate_share=settings.degenerate_share).model_dump(),
            strategy=context.strategy_name,
            duration_sec=context.clock.monotonic() - self.begin,
            artefact=reference,
            manifest=str(settings.dataset),
            dataset_digest=data.dataset.digest,
            num_epochs_done=state.epoch,
            agent_steps_done=state.samples,
            stop_reason="epochs" if state.epoch >= settings.num_epochs else "patience",
            num_train_rows=data.train.num_rows,
            num_held_out_rows=data.num_held_out_rows,
            num_train_groups=data.split.num_train_groups,
            num_held_out_groups=data.split.num_held_out_groups,
            held_out_by=data.split.by,
            gate_threshold=settings.accuracy_threshold,
            gate_passed=gate.passed,
            gate_reason=gate.reason,
            num_threads=context.num_threads or 1,
            device=str(self.device),
        )


def _require_choices(spec: PolicySpec, settings: BCSettings) -> None:
    """Check that nothing is asked of continuous actions that only choices have; raises `ConfigError`."""
    if spec.head.counts:
        return
    asked = [
        name for name, off in (("label_smoothing", 0.0), ("class_weights", "none")) if getattr(settings, name) != off
    ]
    if asked:
        raise ConfigError(f"strategies.bc.{asked[0]} is for choices, and the dataset's actions are {spec.action_space}")


def _loss(fields: HeldOutFields) -> float:
    """Return the held-out loss; not a number counts as the worst."""
    return float(np.inf) if fields.nll is None else fields.nll


def _read_record(files: Mapping[str, bytes], name: str, where: str) -> BCTelemetry | None:
    """Return a record of a checkpoint; None where it was saved before the first pass ended."""
    if name not in files:
        return None
    try:
        return BCTelemetry.model_validate_json(files[name])
    except ValueError as error:
        raise CheckpointError(f"{where} has no readable {name}: {error}") from error
