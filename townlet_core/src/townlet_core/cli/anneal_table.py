"""What an anneal run did, as a table: a line for each baseline and each stage, and why a stage did not pass."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from townlet_core.cli.tables import short_number, table

if TYPE_CHECKING:
    from collections.abc import Mapping

_WIDTH = 80
_MOST_LETTERS = 10
_HEADER = ("STAGE", "CYCLE", "WEIGHT", "TRY", "SCORE", "95 % FROM", "TO", "SEEDS", "VERDICT")


def stage_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table.

    Args:
        summary: an `AnnealSummaryDTO` as JSON.
    """
    rows = [(one["name"], "", "", "", *_score(one["score"]), "") for one in summary["baselines"]]
    rows += [_row(stage, is_best=stage["number"] == summary["best_stage"]) for stage in summary["stages"]]
    lines = table(_HEADER, rows, right=_HEADER[1:-1], most=_MOST_LETTERS)
    if longer := [stage for stage in summary["stages"] if _seeds(stage["score"]) != _seeds(_common(stage))]:
        judged = ", ".join(f"stage {stage['number']} on {_seeds(stage['score']):,}" for stage in longer)
        text = f"scores are of the {_seeds(_common(longer[0])):,} episodes that all stages have; judged was {judged}"
        lines += textwrap.wrap(text, _WIDTH, subsequent_indent="  ")
    for stage in summary["stages"]:
        if stage["verdict"] != "PASS":
            text = f"stage {stage['number']}: {stage['reason']}"
            lines += textwrap.wrap(text, _WIDTH, subsequent_indent="  ")
    return lines


def _row(stage: Mapping[str, Any], *, is_best: bool) -> tuple[str, ...]:
    return (
        f"{stage['number']} {stage['mode'].rpartition(':')[2]}",
        str(stage["cycle"]),
        f"{stage['bc_weight']:g}",
        str(stage.get("tries", stage["attempt"] + stage["repeat"] + 1)),
        *_score(_common(stage)),
        stage["verdict"] + (" best" if is_best else ""),
    )


def _common(stage: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a stage's score in the episodes that all have; an earlier result has the one that it was judged by."""
    score: Mapping[str, Any] | None = stage.get("common_score") or stage["score"]
    return score


def _seeds(score: Mapping[str, Any] | None) -> int:
    return 0 if score is None else int(score["num_episodes"])


def _score(score: Mapping[str, Any] | None) -> tuple[str, ...]:
    if score is None:
        return "-", "-", "-", "-"
    return (*(short_number(score[name]) for name in ("mean", "low", "high")), str(score["num_episodes"]))
