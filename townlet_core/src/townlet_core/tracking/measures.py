"""Quantities that versions and algorithms write under different names, and one that follows from two fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.tracking.telemetry_record import TelemetryRecord


def _entropy(record: TelemetryRecord) -> float | None:
    """Version 1.0 has no entropy but minus the loss that it makes."""
    entropy, loss = record.number("entropy", "batch_entropy_mean"), record.number("loss_entropy")
    return -loss if entropy is None and loss is not None else entropy


def _queue_conflicts_per_tick(record: TelemetryRecord) -> float | None:
    """Conflicts of all worlds together, for each tick of the rollout."""
    events, ticks = record.number("queue_conflict_events"), record.number("rollout_ticks")
    return None if events is None or not ticks else events / ticks


MEASURES: Final[Mapping[str, Callable[[TelemetryRecord], float | None]]] = {
    "loss_total": lambda record: record.number("loss_total", "loss"),
    "entropy": _entropy,
    "kl_divergence_max": lambda record: record.number("kl_divergence_max", "kl_divergence"),
    "grad_norm_max": lambda record: record.number("grad_norm_max", "grad_norm"),
    "explained_variance": lambda record: record.number("explained_variance", "value_explained_variance"),
    "queue_conflicts_per_tick": _queue_conflicts_per_tick,
}


def measure(record: TelemetryRecord, name: str) -> float | None:
    """Return a field or measure of a record by name; None if it has no such value, NaN if that is not finite."""
    known = MEASURES.get(name)
    return known(record) if known is not None else record.number(name)
