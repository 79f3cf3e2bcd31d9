"""`Judge`: runs a stage's policy beside those that it is held against, on more episodes where that can tell more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from townlet_core.services.comparison import compare
from townlet_strategies_anneal.demonstrator import RECORDED
from townlet_strategies_anneal.guardrails import check_guardrails, chosen_guardrails, level_of, recorded_level
from townlet_strategies_anneal.verdict import (
    check_flags,
    check_gate,
    check_learning,
    check_return,
    decide,
    gain,
    nobody_to_beat,
    non_finite,
    not_worse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from townlet_core.dto.anneal import AnnealBaseline, AnnealCheck
    from townlet_core.dto.evaluation import Estimate, EvaluationResultDTO
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_strategies_anneal.evaluations import Evaluations
    from townlet_strategies_anneal.guardrails import Level
    from townlet_strategies_anneal.settings import AnnealSettings

    Contender = tuple[PolicyArtefact, str]
    """A policy, and its directory in the run's."""
    Demonstrator = tuple[str, Mapping[str, float]]
    """Who was cloned, and where that is only recorded, its metrics in a step of a world; see `demonstrator_of`."""

SCRIPT = "scripted"
"""The script that a suite may have, beside random actions."""

FLAGS = ("loss_flag", "queue_flag", "intensity_flag")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is said of a stage.

    Attributes:
        checks: every rule that was applied.
        evaluation: the episodes; None where there were none.
        common: the scores in the first of them, which all stages were run on.
        suite: file of their suite in the run's directory.
        is_best: the policy is better than the best one so far.
    """

    checks: tuple[AnnealCheck, ...]
    evaluation: EvaluationResultDTO | None = None
    common: Estimate | None = None
    suite: str = ""
    is_best: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of an `AnnealStageResultDTO`."""
        verdict, reason = decide(self.checks)
        found: dict[str, Any] = {"checks": self.checks, "verdict": verdict, "reason": reason}
        found["is_best"] = self.is_best and verdict == "PASS"
        if (evaluation := self.evaluation) is not None:
            assert evaluation.suite is not None
            found |= {
                "score": evaluation.score,
                "common_score": self.common,
                "metrics": evaluation.metrics,
                "suite": self.suite,
                "suite_digest": evaluation.suite.digest,
                "seeds": tuple(episode.seed for episode in evaluation.episodes),
            }
        return found


@dataclass(slots=True)
class Judge:
    """Judges the stages of a run.

    Attributes:
        settings: of the run.
        evaluations: of the run.
        baselines: who was run before anything was learned.
        is_legacy: whether the flags of the earlier format decide alone.
    """

    settings: AnnealSettings
    evaluations: Evaluations
    baselines: Sequence[AnnealBaseline]
    is_legacy: bool
    _scores: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._scores = {baseline.name: baseline.score.mean for baseline in self.baselines}
        if self.baselines:  # a guardrail that nothing measures is said before anything is learned
            chosen_guardrails(self.settings, {metric for baseline in self.baselines for metric in baseline.metrics})

    def margin(self, clone: Contender | None) -> float:
        """Return how much worse than the clone still counts as not worse, in units of the score."""
        if self.settings.margin is not None:
            return self.settings.margin
        random = self._scores.get("random")
        if clone is None:
            return self.settings.margin_share * abs(random or 0.0)
        score = self.evaluations.policy(*clone, 1).score.mean
        return self.settings.margin_share * abs(score if random is None else score - random)

    def diverged(self, reason: str) -> Judgement:
        """Return what is said of a stage whose learning was not finite."""
        return Judgement(checks=(non_finite(reason),))

    def clone(
        self, result: Any, policy: PolicyArtefact, path: str, *, best: Contender | None, demonstrator: str
    ) -> Judgement:
        """Judge a cloned policy by its gate; where that is passed, by what it does in the environment.

        Continuous actions have no accuracy that a gate could ask for: there, what it does decides alone.

        Args:
            result: of the stage.
            policy: it ended with.
            path: the policy's directory in the run's.
            best: the best policy so far.
            demonstrator: the name of who was cloned; see `demonstrator_of`.
        """
        checks = [check_gate(result, self.settings.accuracy_threshold)]
        by_return = not policy.spec.head.counts and self.settings.return_share is not None  # numbers have no accuracy
        if checks[0].verdict == "FAIL" or (checks[0].verdict == "HOLD" and not by_return):
            return Judgement(checks=tuple(checks))
        own = self.evaluations.policy(policy, path, 1)
        earned, name = self._earned(result, demonstrator, own)
        if self.settings.return_share is not None and earned is not None:
            returned = check_return(
                own.score.mean,
                demonstrator=earned,
                name=name,
                random=self._scores.get("random"),
                share=self.settings.return_share,
            )
            checks = [returned] if by_return else [*checks, returned]
        is_best = best is None or own.score.mean > self.evaluations.policy(*best, 1).score.mean
        suite = self.evaluations.suite_file(1)
        return Judgement(checks=tuple(checks), evaluation=own, common=own.score, suite=suite, is_best=is_best)

    def _earned(self, result: Any, demonstrator: str, own: EvaluationResultDTO) -> tuple[float | None, str]:
        """Return the demonstrator's score, and its name: on the same episodes where it is a script, else as recorded.

        Recorded episodes may be shorter or longer than those of the suite, which a return depends on.
        """
        if demonstrator in self._scores:
            return self._scores[demonstrator], demonstrator
        name = "reward_mean" if own.score_name == "reward_mean" else "return_mean"
        return getattr(result, f"demonstrator_{name}", None), "the recorded demonstrator"

    def learned(
        self,
        result: Any,
        policy: PolicyArtefact,
        path: str,
        *,
        clone: Contender | None,
        best: Contender | None,
        demonstrator: Demonstrator,
        is_last: bool,
    ) -> Judgement:
        """Judge a policy beside the clone and the best; where intervals cannot tell, once again on more episodes.

        Args:
            result: of the stage.
            policy: it ended with.
            path: the policy's directory in the run's.
            clone: the cloned policy; None for none, so that it is held against random actions.
            best: the best policy so far, where that is another one.
            demonstrator: who the clone is of; its name is empty where nobody knows.
            is_last: it is the last stage of the schedule.
        """
        divergence = None
        if self.settings.kl_cap is not None and clone is not None:
            divergence = self.evaluations.divergence(clone[0], policy)
        learning = check_learning(result, self.settings, divergence=divergence)
        if self.is_legacy:
            learning += check_flags({name: getattr(result, f"anneal_{name}", None) for name in FLAGS})
        # Asked twice at most: each time adds its chance of being wrong.
        for times in dict.fromkeys((1, self.settings.more_episodes)):
            judged = self._compared(
                policy,
                path,
                learning,
                clone=clone,
                best=best,
                demonstrator=demonstrator,
                is_last=is_last,
                times=times,
            )
            verdict, _ = decide(judged.checks)
            is_open = any(check.verdict == "HOLD" and check.difference is not None for check in judged.checks)
            if verdict != "HOLD" or not is_open:
                break
        return judged

    def _compared(
        self,
        policy: PolicyArtefact,
        path: str,
        learning: Sequence[AnnealCheck],
        *,
        clone: Contender | None,
        best: Contender | None,
        demonstrator: Demonstrator,
        is_last: bool,
        times: int,
    ) -> Judgement:
        own, checks, margin = self.evaluations.policy(policy, path, times), list(learning), self.margin(clone)
        other, name = self._other(clone, times)
        if other is not None and not self.is_legacy:
            command = self.evaluations.command(path, name, times, margin)
            comparison = compare(own, other, margin=margin)
            title = "clone" if clone is not None else name
            checks.append(not_worse(title, comparison, margin, command=command, is_strict=True))
            levels = [level_of(f"the {title}" if clone is not None else title, comparison, command=command)]
            levels += self._demonstrated(demonstrator, own, path, margin, times)
            checks += check_guardrails(chosen_guardrails(self.settings, comparison.metrics), own, levels)
            if is_last and clone is None:
                least = max(0.0, self.settings.min_gain or 0.0)
                gained = gain(title, comparison, least, command=command, beside=self._beside_script(own, times))
                checks.append(gained)
            elif is_last and self.settings.min_gain is not None:
                checks.append(gain(title, comparison, self.settings.min_gain, command=command))
        elif is_last and clone is None and not self.is_legacy:
            checks.append(nobody_to_beat())
        is_best = True
        rival = best or clone
        if rival is not None:
            comparison = compare(own, self.evaluations.policy(*rival, times), margin=margin)
            is_best = comparison.difference.mean > 0
            if best is not None and not self.is_legacy:
                command = self.evaluations.command(path, best[1], times, margin)
                checks.append(not_worse("best", comparison, margin, command=command, is_strict=False))
        return Judgement(
            checks=tuple(checks),
            evaluation=own,
            common=self.evaluations.policy(policy, path, 1).score,
            suite=self.evaluations.suite_file(times),
            is_best=is_best,
        )

    def _beside_script(self, own: EvaluationResultDTO, times: int) -> str:
        """Return how a policy stands beside the script of the suite, in words; empty where there is none."""
        if SCRIPT not in self._scores:
            return ""
        difference = compare(own, self.evaluations.named(SCRIPT, times), margin=0.0).difference
        return f"beside {SCRIPT} {difference.mean:+.4g} ({difference.low:+.4g} to {difference.high:+.4g})"

    def _demonstrated(
        self, demonstrator: Demonstrator, own: EvaluationResultDTO, path: str, margin: float, times: int
    ) -> list[Level]:
        """Return what guardrails hold a policy against besides the clone: its demonstrator, where anybody knows it."""
        name, rates = demonstrator
        if name in ("", RECORDED):
            return [recorded_level("the recorded demonstrator", rates, own)] if name else []
        command = self.evaluations.command(path, name, times, margin)
        comparison = compare(own, self.evaluations.named(name, times), margin=margin)
        return [level_of(f"{name}, who was cloned", comparison, command=command)]

    def _other(self, clone: Contender | None, times: int) -> tuple[EvaluationResultDTO | None, str]:
        """Return whom a policy is held against, and the name for `--against`: the clone, else random actions."""
        if clone is not None:
            return self.evaluations.policy(*clone, times), clone[1]
        if "random" in self._scores:
            return self.evaluations.named("random", times), "random"
        return None, ""
