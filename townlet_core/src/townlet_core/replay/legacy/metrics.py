"""Metrics of samples: how they are computed, joined over samples, and kept in a file beside a manifest.

Legend: T steps.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.errors import DatasetError
from townlet_core.replay.files import read_document
from townlet_core.replay.legacy.sample import json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pydantic import JsonValue

    from townlet_core.arrays import Array

LATENESS = ("lateness_counter", "lateness")
_UNKNOWN_KIND = "unlisted"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsFile:
    """A capture's metrics.

    Attributes:
        samples: name of a sample's file -> its metrics.
        metadata: of the wrapped form; None for the plain one.
    """

    samples: Mapping[str, Mapping[str, JsonValue]]
    metadata: Mapping[str, JsonValue] | None = None

    def to_json(self) -> JsonValue:
        """Return it as it is written."""
        samples: dict[str, JsonValue] = {name: dict(metrics) for name, metrics in self.samples.items()}
        return samples if self.metadata is None else {"metadata": dict(self.metadata), "samples": samples}


def read_metrics(path: Path) -> MetricsFile:
    """Read a metrics file of either form.

    Raises:
        DatasetError: it is missing, damaged, or none.
    """
    document = read_document(path)
    if not isinstance(document, dict):
        raise DatasetError(f"{path} is no metrics file: an object of file names is expected")
    is_wrapped = document.keys() == {"metadata", "samples"}
    samples, metadata = (document["samples"], document["metadata"]) if is_wrapped else (document, None)
    if not isinstance(samples, dict) or not all(isinstance(metrics, dict) for metrics in samples.values()):
        raise DatasetError(f"{path} is no metrics file: each file name must stand for an object of metrics")
    if is_wrapped and not isinstance(metadata, dict):
        raise DatasetError(f"{path}: 'metadata' must be an object")
    return MetricsFile(samples=samples, metadata=metadata)


def metrics_bytes(metrics: MetricsFile) -> bytes:
    """Return the JSON file of metrics."""
    return json_bytes(metrics.to_json())


def action_kind(name: str) -> str:
    """Return the kind of an action from its JSON, such as `move`; `unlisted` where it has none."""
    try:
        action = json.loads(name)
    except (ValueError, RecursionError):
        return _UNKNOWN_KIND
    kind = action.get("kind") if isinstance(action, dict) else None
    return kind if isinstance(kind, str) else _UNKNOWN_KIND


def sample_metrics(
    steps: Mapping[str, Array], feature_names: tuple[str, ...], actions: Mapping[int, str]
) -> dict[str, Any]:
    """Return the metrics of one sample.

    Args:
        steps: `features` (T, F), `actions`, `old_log_probs`, `rewards` (T,), and `value_preds` (T,) or (T + 1,).
        feature_names: names of the columns of `features`.
        actions: id -> JSON of the action.
    """
    rewards, ids = steps["rewards"].astype(np.float64), steps["actions"]
    metrics: dict[str, Any] = {
        "timesteps": len(ids),
        "reward_sum": float(rewards.sum()),
        "reward_mean": float(rewards.mean()),
        "log_prob_mean": float(steps["old_log_probs"].mean(dtype=np.float64)),
        "value_pred_last": float(steps["value_preds"][-1]),
    }
    column = {name: steps["features"][:, index].astype(np.float64) for index, name in enumerate(feature_names)}
    for name in ("rivalry_max", "rivalry_avoid_count"):
        if name in column:
            metrics |= {f"{name}_mean": float(column[name].mean()), f"{name}_max": float(column[name].max())}
    for name in LATENESS:
        if name in column:
            metrics["lateness_mean"] = float(column[name].mean())
            break
    used, counts = np.unique(ids, return_counts=True)
    share = counts / len(ids)
    kinds: Counter[str] = Counter()
    for number, count in zip(used.tolist(), counts.tolist(), strict=True):
        kinds[action_kind(actions.get(number, ""))] += count
    metrics |= {
        "action_nonzero": len(used),
        "action_total": len(ids),
        "action_entropy": float(max(0.0, -(share * np.log(share)).sum())),
        **{f"action_{kind}_count": kinds[kind] for kind in sorted(kinds)},
        "action_blocked_ratio": kinds["blocked"] / len(ids),
    }
    return metrics


def aggregate(samples: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Join the metrics of several samples.

    Keys that end in `_sum` or `_total` add up, and also give `<key>_mean`; the others are averages over the samples
    that have them. What is no number is left out. `sample_count` counts the samples.
    """
    values: dict[str, list[float]] = {}
    count = 0
    for metrics in samples:
        count += 1
        for key, value in metrics.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(key, []).append(float(value))
    joined: dict[str, float] = {"sample_count": float(count)}
    for key in sorted(values):
        total = float(np.sum(values[key]))
        if key.endswith(("_sum", "_total")):
            joined |= {key: total, f"{key}_mean": total / len(values[key])}
        else:
            joined[key] = total / len(values[key])
    return joined
