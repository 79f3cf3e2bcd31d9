"""The anneal strategy: run the stages of a schedule, judge each, go back where one fails; what it gives is the best."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from townlet_core.config.base import settings_from
from townlet_core.context import AnnealContext
from townlet_core.dto.anneal import AnnealBaseline, AnnealStageResultDTO, AnnealSummaryDTO, flatten_stage_record
from townlet_core.dto.base import ArtefactReference
from townlet_core.errors import (
    ArtefactError,
    ConfigError,
    DivergenceError,
    RunInterrupted,
    RunWarning,
    UnavailableError,
)
from townlet_core.policy.artefact import load_artefact
from townlet_strategies_anneal.demonstrator import demonstrator_of
from townlet_strategies_anneal.evaluations import Evaluations
from townlet_strategies_anneal.judgement import Judge, Judgement
from townlet_strategies_anneal.progress import Progress, read_progress
from townlet_strategies_anneal.promotion import recorded, require_releases
from townlet_strategies_anneal.schedule import START, Position, position, sorted_schedule
from townlet_strategies_anneal.settings import AnnealSettings
from townlet_strategies_anneal.stage_checks import entry_path, require_stages
from townlet_strategies_anneal.stage_fields import RATES, announcement, learned_fields
from townlet_strategies_anneal.stage_options import (
    Mode,
    check_entry,
    demonstrations_of,
    stage_options,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.context import TrainingContext
    from townlet_core.dto.base import TrainingResultBase
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_strategies_anneal.settings import ScheduleEntry

START_DIR = "start"
BASELINES = ("random", "scripted")


class AnnealStrategy:
    """Runs other strategies by schedule, and hands the policy on from one to the next."""

    def run(self, context: TrainingContext, **options: Any) -> AnnealSummaryDTO:
        """Run the schedule to its end, or until a stage cannot be passed; see `TrainingStrategy.run`.

        Raises:
            ConfigError: a setting, or one of a stage, is not allowed; or the suite is wrong.
            UnavailableError: a strategy of the schedule is not installed, or the run keeps nothing.
        """
        name = context.strategy_name
        section = context.config.strategies.get(name, {})
        settings = settings_from(AnnealSettings, section, options, path=f"strategies.{name}")
        return _Run(context, settings).train()


class _Run:
    """One run; lives as long as `train`."""

    def __init__(self, context: TrainingContext, settings: AnnealSettings) -> None:
        if context.run is None:
            raise UnavailableError("anneal needs a run directory: use TrainingOrchestrator(config).run(...)")
        if context.config.training.evaluate_every:  # a stage would end with its best, and the next go on from its last
            raise ConfigError("training.evaluate_every: anneal judges every stage itself; leave it 0")
        self.context, self.settings, self.run = context, settings, context.run
        self.is_legacy = context.config.promotion.guardrails == "legacy"
        self.begin, self.entries = context.clock.monotonic(), sorted_schedule(settings)
        self.modes = {entry.mode: Mode.of(context, entry.mode) for entry in self.entries}
        for entry in self.entries:
            check_entry(self.modes[entry.mode], entry, entry_path(settings, entry))
        self.checkpoints = self.run.checkpoints(context.config.training.keep_checkpoints)
        self.evaluations = Evaluations(context, self.run, settings)
        self.progress = Progress(has_start=context.initial_policy is not None)

    def train(self) -> AnnealSummaryDTO:
        """Run what is left of the schedule, and return the result."""
        self._begin()
        while (now := self._position()).status is None:
            self._keep(self._stage(now))
            if self.context.stop.requested and self._position().status is None:
                raise RunInterrupted(f"stopped after stage {len(self.progress.stages)}")
        return self._result(now)

    def _position(self) -> Position:
        stages, has_start = self.progress.stages, self.progress.has_start
        return position(stages, self.settings, has_start=has_start, is_legacy=self.is_legacy)

    def _begin(self) -> None:
        """Take up the newest checkpoint, or keep the policy to start from; and run the baselines."""
        context = self.context
        loaded = self.checkpoints.load_newest() if context.resume else None
        if loaded is not None:
            for reason in loaded.skipped:
                warnings.warn(f"a newer checkpoint was skipped: {reason}", RunWarning, stacklevel=2)
            self.progress = read_progress(loaded)
        if context.telemetry is not None and context.resume:
            context.telemetry.truncate(self.progress.telemetry_offset)
        if loaded is None:
            require_stages(context, self.settings, self.entries, self.modes, self.evaluations.environment)
            require_releases(context)
            if context.initial_policy is not None:
                context.initial_policy.save(self.run.path / START_DIR)
            self._save()
        if self.progress.baselines is None:
            self.progress = self.progress.model_copy(update={"baselines": tuple(self._baselines())})
            self._save()
        self.judge = Judge(self.settings, self.evaluations, self.progress.baselines or (), is_legacy=self.is_legacy)

    def _baselines(self) -> list[AnnealBaseline]:
        found = [(name, self.evaluations.script(name), "", "") for name in BASELINES]
        if self.progress.has_start:
            artefact = self._artefact(START)
            found.append(("start", self.evaluations.policy(artefact, START_DIR, 1), artefact.digest, START_DIR))
        baselines = [
            AnnealBaseline(name=name, digest=digest, path=path, score=result.score, metrics=result.metrics)
            for name, result, digest, path in found
            if result is not None
        ]
        for baseline in baselines:
            self.context.say(f"baseline {baseline.name:<9} score {baseline.score.mean:.4g}")
        return baselines

    def _save(self) -> None:
        telemetry = self.context.telemetry
        offset = 0 if telemetry is None else telemetry.sync()
        self.progress = self.progress.model_copy(update={"telemetry_offset": offset})
        self.checkpoints.save(len(self.progress.stages), self.progress.files())

    def _stage(self, now: Position) -> AnnealStageResultDTO:
        """Run one stage, and judge it."""
        begin, entry, number = self.context.clock.monotonic(), self.entries[now.entry], len(self.progress.stages) + 1
        mode = self.modes[entry.mode]
        initial = None if now.current is None else self._artefact(now.current)
        continuation, continues = self._continuation(now.current, entry.mode)
        before = None if continues is None else self.progress.stages[continues - 1]
        is_protected = initial is not None if before is None else before.is_protected
        demonstrations, dataset = demonstrations_of(self.entries[: now.entry + 1], self.modes)
        options = stage_options(
            mode,
            entry,
            self.settings,
            attempt=now.attempt,
            updates=0 if before is None else before.updates or 0,
            is_protected=is_protected,
            demonstrations=demonstrations,
        )
        stage_run = self.run.stage(number, entry.mode)
        known = {
            "number": number,
            "entry": now.entry,
            **entry.model_dump(exclude={"options", "blend"}),
            "attempt": now.attempt,
            "repeat": now.repeat,
            "tries": 1 + sum(stage.entry == now.entry for stage in self.progress.stages),
            **{name: options.get(name, mode.value(entry, name)) for name in RATES},
            "path": stage_run.path.relative_to(self.run.path).as_posix(),
            "begins_from": now.current,
            "continues": continues,
            "is_protected": is_protected,
            "initial_digest": "" if initial is None else initial.digest,
            "is_clone": mode.is_clone,
            "dataset": dataset,
        }
        self.context.say(announcement(known, len(self.entries)))
        learned: dict[str, Any] = {}
        try:
            result = self.context.stages.run(
                entry.mode,
                options,
                initial,
                continuation,
                self._anneal_context(now, entry, dataset),
                number=number,
            )
        except DivergenceError as error:
            judged = self.judge.diverged(str(error))
        else:
            learned = learned_fields(result, known["path"], entry.mode)
            policy = self._loaded(learned["policy"], learned["digest"])
            if mode.is_clone:
                scripts = {baseline.name for baseline in self.progress.baselines or () if not baseline.digest}
                name, rates = demonstrator_of(mode.value(entry, "dataset"), stage_run.path, scripts)
                learned |= {"demonstrator": name, "demonstrator_rates": rates}
            judged = self._judged(now, result, policy, learned)
        return AnnealStageResultDTO.model_validate(
            {**known, **learned, **judged.fields(), "duration_sec": self.context.clock.monotonic() - begin}
        )

    def _judged(
        self, now: Position, result: TrainingResultBase, policy: PolicyArtefact, learned: dict[str, Any]
    ) -> Judgement:
        path = learned["policy"]
        if "demonstrator" in learned:
            best = self._contender(now.best)
            return self.judge.clone(result, policy, path, best=best, demonstrator=learned["demonstrator"])
        return self.judge.learned(
            result,
            policy,
            path,
            clone=self._contender(now.clone),
            demonstrator=self._demonstrator(now.clone),
            best=None if now.best == now.clone else self._contender(now.best),
            is_last=now.entry + 1 == len(self.entries),
        )

    def _contender(self, number: int | None) -> tuple[PolicyArtefact, str] | None:
        """Return the policy of a stage and its directory in the run's; None for no stage."""
        if number is None:
            return None
        return self._artefact(number), START_DIR if number == START else self.progress.stages[number - 1].policy

    def _demonstrator(self, clone: int | None) -> tuple[str, Mapping[str, float]]:
        stage = self.progress.stages[clone - 1] if clone else None
        return ("", {}) if stage is None else (stage.demonstrator, stage.demonstrator_rates)

    def _artefact(self, number: int) -> PolicyArtefact:
        if number == START:
            return load_artefact(self.run.path / START_DIR, encoders=self.context.resolver.encoder)
        stage = self.progress.stages[number - 1]
        return self._loaded(stage.policy, stage.digest)

    def _loaded(self, path: str, digest: str) -> PolicyArtefact:
        artefact = load_artefact(self.run.path / path, encoders=self.context.resolver.encoder)
        if artefact.digest != digest:
            raise ArtefactError(f"{self.run.path / path} is not the policy that its stage ended with")
        return artefact

    def _continuation(self, number: int | None, mode: str) -> tuple[Mapping[str, bytes] | None, int | None]:
        """Return the last checkpoint of a stage, and its number, where that was of the same strategy."""
        if not number or self.progress.stages[number - 1].mode != mode:
            return None, None
        loaded = self.run.stage(number, mode).checkpoints().load_newest()
        return (None, None) if loaded is None else (loaded.files, number)

    def _anneal_context(self, now: Position, entry: ScheduleEntry, dataset: str) -> AnnealContext:
        stages = self.progress.stages
        clone = next((stage for stage in reversed(stages) if stage.is_clone), None)
        before = [
            stage for stage in stages if not stage.is_clone and stage.verdict != "FAIL" and stage.dataset == dataset
        ]
        return AnnealContext(
            cycle=entry.cycle,
            stage=entry.mode,
            dataset=dataset,
            bc_accuracy=None if clone is None else clone.accuracy,
            bc_threshold=None if clone is None else self.settings.accuracy_threshold,
            bc_passed=None if clone is None else clone.verdict == "PASS",
            loss_baseline=before[-1].loss_total if before else None,
            queue_baseline=before[-1].queue_conflict_events if before else None,
            intensity_baseline=before[-1].queue_conflict_intensity_sum if before else None,
            loss_tolerance=self.settings.loss_tolerance,
            queue_tolerance=self.settings.queue_tolerance,
            attempt=now.attempt,
        )

    def _keep(self, stage: AnnealStageResultDTO) -> None:
        """Report a stage, and save."""
        self.progress = self.progress.model_copy(update={"stages": (*self.progress.stages, stage)})
        record = flatten_stage_record(stage, total=len(self.entries), agent_steps=self.progress.agent_steps)
        if self.context.trackers is not None:
            self.context.trackers.log(record)
        self._save()
        score = "" if stage.score is None else f", score {stage.score.mean:.4g} in {stage.score.num_episodes} episodes"
        best = ", the best so far" if stage.is_best else ""
        why = "" if stage.verdict == "PASS" else f": {stage.reason}"
        self.context.say(f"stage {stage.number}: {stage.verdict}{score}{best}{why}")

    def _result(self, now: Position) -> AnnealSummaryDTO:
        context, reference, reason = self.context, None, now.reason
        if now.best is None:
            reason += "; no policy was good enough to be kept"
        else:
            digest = self._artefact(now.best).save(self.run.policy_dir)
            reference = ArtefactReference(path=self.run.policy_dir.name, digest=digest, kind="best")
        assert now.status is not None
        summary = AnnealSummaryDTO(
            strategy=context.strategy_name,
            duration_sec=context.clock.monotonic() - self.begin,
            artefact=reference,
            status=now.status,
            reason=reason,
            stages=self.progress.stages,
            baselines=self.progress.baselines or (),
            best_stage=now.best,
            score_name=self.evaluations.suite.score_name,
            margin=None if now.clone is None else self.judge.margin(self._contender(now.clone)),
            agent_steps=self.progress.agent_steps,
        )
        return recorded(context, self.run, summary)
