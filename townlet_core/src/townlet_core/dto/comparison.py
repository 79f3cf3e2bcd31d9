"""What the comparison of two policies returns: the difference of each episode, its interval, and a verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from townlet_core.dto.base import ResultBase
from townlet_core.dto.evaluation import Estimate, EvaluationResultDTO

Verdict = Literal["PASS", "HOLD", "FAIL"]


class ComparisonDTO(ResultBase):
    """A policy beside another one that ran the same episodes; every difference is the policy's minus the other's."""

    schema_version: Literal["1.0"] = Field(default="1.0", description="Version of this record.")
    other: EvaluationResultDTO = Field(description="The evaluation of the other policy.")
    differences: tuple[float, ...] = Field(min_length=1, description="Difference of the scores of each episode.")
    difference: Estimate = Field(description="Their mean with its paired bootstrap interval, and their IQM.")
    iqm_difference: float = Field(description="Difference of the two interquartile means.")
    probability_of_improvement: float = Field(
        ge=0.0, le=1.0, description="Share of episodes in which the policy is better; half of those that are equal."
    )
    metrics: dict[str, Estimate] = Field(description="Differences of each metric that both have.")
    resamples: int = Field(ge=1, description="Resamples of each interval.")
    margin: float = Field(ge=0.0, description="How much worse still counts as not worse, in units of the score.")
    verdict: Verdict = Field(description="Whether the policy is not worse than the other one.")
    reason: str = Field(description="The rule and the numbers, in words.")


class EvaluationReportDTO(EvaluationResultDTO):
    """An evaluation, with the comparisons that were asked for."""

    against: tuple[ComparisonDTO, ...] = Field(default=(), description="One for each other policy.")
    command: str = Field(default="", description="The command that gives this report again.")
