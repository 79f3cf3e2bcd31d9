"""What is said of a stage before it is run, and what its record takes from what its strategy returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from townlet_core.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.dto.base import TrainingResultBase

RATES = ("learning_rate", "reference_kl_coef", "blend_share")
"""Settings of a stage that its record has."""
NAMES = ("accuracy", "loss_total", "queue_conflict_events", "queue_conflict_intensity_sum")
FLAGS = ("loss", "queue", "intensity")


def announcement(known: Mapping[str, Any], num_entries: int) -> str:
    """Return a line about a stage that begins.

    Args:
        known: fields of its `AnnealStageResultDTO`.
        num_entries: of the schedule.
    """
    text = f"stage {known['number']} (entry {known['entry'] + 1} of {num_entries}): {known['mode']}"
    text += f", cycle {known['cycle']}, weight {known['bc_weight']:g}, {known['epochs']} epochs"
    if known["blend_share"]:
        text += f", script in {known['blend_share']:.0%} of steps"
    if known["attempt"]:
        text += f", attempt {known['attempt'] + 1}"
    return text + (f", repeated {known['repeat']} x" if known["repeat"] else "")


def learned_fields(result: TrainingResultBase, path: str, mode: str) -> dict[str, Any]:
    """Return the fields of an `AnnealStageResultDTO` that a strategy's result says.

    Args:
        result: of the stage; what its strategy does not report is None.
        path: directory of the stage in the run's directory.
        mode: its strategy.

    Raises:
        ArtefactError: there is no policy.
    """
    if result.artefact is None:
        raise ArtefactError(f"strategy '{mode}' gave no policy, so it cannot be a stage")
    fields = {name: getattr(result, name, None) for name in NAMES}
    fields |= {f"{name}_flag": getattr(result, f"anneal_{name}_flag", None) for name in FLAGS}
    return fields | {
        "policy": f"{path}/{result.artefact.path}",
        "digest": result.artefact.digest,
        "updates": getattr(result, "epoch", None),
        "agent_steps": getattr(result, "agent_steps_done", getattr(result, "agent_steps", 0)),
    }
