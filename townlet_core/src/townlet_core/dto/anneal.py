"""What an anneal run returns: every stage with its verdict and what that rests on, and the best policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from townlet_core.dto.base import ResultBase, TrainingResultBase
from townlet_core.dto.comparison import Verdict
from townlet_core.dto.evaluation import Estimate, ScoreName

if TYPE_CHECKING:
    from collections.abc import Iterable

SEVERITY: dict[Verdict, int] = {"PASS": 0, "HOLD": 1, "FAIL": 2}
"""How bad a verdict is; the worst of several decides."""


class AnnealCheck(ResultBase):
    """One rule, applied to a stage: its numbers, and what follows from them."""

    name: str = Field(description="What is checked, such as `score beside the clone` or `faint_events`.")
    rule: str = Field(description="The rule, in words.")
    verdict: Verdict = Field(description="PASS, HOLD (cannot tell) or FAIL.")
    reason: str = Field(description="The numbers that decided, in words.")
    value: float | None = Field(default=None, description="The stage's own number; None where it has none.")
    baseline: float | None = Field(default=None, description="The number that it is held against.")
    against: str = Field(default="", description="Whose number that is; empty where it is nobody's.")
    allowed: float | None = Field(default=None, description="How much worse still passes, or the limit.")
    difference: Estimate | None = Field(
        default=None, description="Difference paired by episode, with its interval; None where no episodes decide."
    )
    command: str = Field(
        default="", description="Command that shows it again, in the run's directory; empty where a record shows it."
    )


class AnnealBaseline(ResultBase):
    """A policy that stages are compared with."""

    name: str = Field(description="random, scripted, start (the policy of --from), clone or best.")
    digest: str = Field(default="", description="Digest of the artefact; empty for a script.")
    path: str = Field(default="", description="Directory of the artefact in the run's directory; empty for a script.")
    score: Estimate = Field(description="Its scores.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Mean of each metric.")


class AnnealStageResultDTO(ResultBase):
    """One stage that was run, once; what is repeated or tried again is a stage of its own."""

    number: int = Field(ge=1, description="Number of the stage run, from 1; its directory begins with it.")
    entry: int = Field(ge=0, description="Entry of the sorted schedule that it ran, from 0.")
    cycle: int = Field(ge=0, description="Cycle of that entry.")
    mode: str = Field(description="Strategy that ran.")
    epochs: int = Field(ge=1, description="Passes or updates that were asked for.")
    bc_weight: float = Field(ge=0.0, le=1.0, description="Weight of the demonstrations.")
    attempt: int = Field(ge=0, description="How often the run had gone back to its best policy before.")
    repeat: int = Field(ge=0, description="How often this entry had been held before, in this attempt.")
    tries: int = Field(default=1, ge=1, description="How often its entry was run by then, this time included.")
    learning_rate: float | None = Field(default=None, description="Learning rate, where the strategy has one.")
    reference_kl_coef: float | None = Field(
        default=None, description="Weight of what holds it near the policy that it took over, where it has one."
    )
    blend_share: float | None = Field(
        default=None, description="Share of its agent-steps in which a script acted, where its strategy blends."
    )
    path: str = Field(description="Directory of the stage in the run's directory.")
    begins_from: int | None = Field(
        default=None, description="Stage run whose policy it began from; 0 is the policy of --from, None is nothing."
    )
    continues: int | None = Field(
        default=None, description="Stage run whose whole state it went on from, optimiser and episodes included."
    )
    is_protected: bool = Field(
        default=False, description="Whether it, or a stage that it goes on from, took over a policy."
    )
    initial_digest: str = Field(default="", description="Digest of the policy that it began from; empty for none.")
    policy: str = Field(default="", description="Directory of the policy that it ended with; empty for none.")
    digest: str = Field(default="", description="Digest of that policy; empty for none.")
    updates: int | None = Field(
        default=None, description="Updates made, those that it went on from included; None where nobody counts them."
    )
    agent_steps: int = Field(
        default=0, ge=0, description="Agent-steps learned from, those of the stages that it went on from included."
    )
    is_clone: bool = Field(default=False, description="Whether it cloned, so that a gate decides.")
    is_best: bool = Field(default=False, description="Whether its policy became the best of the run.")
    accuracy: float | None = Field(default=None, description="Held-out accuracy of a clone.")
    demonstrator: str = Field(
        default="", description="Who a clone is of: a script that runs the suite, or `recorded`; empty if unknown."
    )
    demonstrator_rates: dict[str, float] = Field(
        default_factory=dict, description="What a recorded demonstrator has of each metric in a step of a world."
    )
    loss_total: float | None = Field(default=None, description="Loss of the last update, where the strategy says.")
    queue_conflict_events: float | None = Field(default=None, description="Queue conflicts in the last update.")
    queue_conflict_intensity_sum: float | None = Field(default=None, description="Sum of their intensities.")
    loss_flag: bool | None = Field(default=None, description="Alarm: the loss left its tolerance.")
    queue_flag: bool | None = Field(default=None, description="Alarm: conflict events left their tolerance.")
    intensity_flag: bool | None = Field(default=None, description="Alarm: conflict intensity left its tolerance.")
    dataset: str = Field(default="", description="Label of the dataset.")
    score: Estimate | None = Field(default=None, description="Scores of the policy; None where it was not run.")
    common_score: Estimate | None = Field(
        default=None, description="The same in the first of these episodes, which all stages and baselines were run on."
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="Mean of each metric in these episodes.")
    suite: str = Field(default="", description="File of the suite in the run's directory.")
    suite_digest: str = Field(default="", description="Digest of the suite.")
    seeds: tuple[int, ...] = Field(default=(), description="Seeds of the episodes.")
    checks: tuple[AnnealCheck, ...] = Field(default=(), description="Every rule that was applied.")
    verdict: Verdict = Field(description="The worst of the checks.")
    reason: str = Field(description="Name and reason of the check that decided.")
    duration_sec: float = Field(ge=0.0, description="Wall-clock seconds, evaluation included.")


class AnnealSummaryDTO(TrainingResultBase):
    """What an anneal run returns."""

    status: Verdict = Field(description="PASS: all of the schedule passed; else how it ended.")
    reason: str = Field(description="Why.")
    stages: tuple[AnnealStageResultDTO, ...] = Field(description="Every stage run, in order.")
    baselines: tuple[AnnealBaseline, ...] = Field(description="Who was run on the suite before anything was learned.")
    best_stage: int | None = Field(
        default=None, description="Number of the stage run that made the policy; 0 is that of --from, None is none."
    )
    score_name: ScoreName = Field(description="Which number of an episode is its score.")
    margin: float | None = Field(default=None, description="How much worse still counts as not worse; None: not used.")
    agent_steps: int = Field(ge=0, description="Agent-steps that all stages learned from.")
    promotion_streak: int | None = Field(default=None, description="Policies that passed in a row; None: not recorded.")
    promotion_ready: bool | None = Field(default=None, description="Whether one of them may be promoted.")
    promotion_note: str = Field(default="", description="Why the verdict was not recorded; empty if it was.")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts; PASS for none."""
    return max(verdicts, key=SEVERITY.__getitem__, default="PASS")


def flatten_stage_record(stage: AnnealStageResultDTO, *, total: int, agent_steps: int) -> dict[str, Any]:
    """Return the telemetry line of a stage: its scalar fields, with those of its score.

    Args:
        stage: the stage.
        total: entries in the schedule.
        agent_steps: of the whole run so far.
    """
    record = stage.model_dump(
        mode="json",
        exclude={"checks", "seeds", "score", "common_score", "metrics", "agent_steps", "demonstrator_rates"},
    )
    for title, score in (("score", stage.score), ("common_score", stage.common_score)):
        if score is not None:
            record |= {f"{title}_{name}": getattr(score, name) for name in ("mean", "low", "high", "num_episodes")}
    record |= {f"metrics.{name}": value for name, value in stage.metrics.items()}
    return {"telemetry_version": "2.0", "num_entries": total, "agent_steps": agent_steps, **record}
