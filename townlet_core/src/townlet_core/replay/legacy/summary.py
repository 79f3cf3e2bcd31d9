"""`summarise_legacy`: what is in files of the earlier format, read one at a time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.replay import LegacyShape, LegacySummary
from townlet_core.replay.legacy.metrics import aggregate, sample_metrics
from townlet_core.replay.legacy.opening import LegacyDataset, Shape
from townlet_core.replay.legacy.vocabulary import FileActions, Vocabulary, file_actions

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.replay.legacy.sample import LegacySample


def form_of(legacy: LegacyDataset) -> str:
    """Return which shape of the earlier format was opened."""
    if legacy.catalogue is not None:
        return "catalogue"
    if legacy.path.is_dir():
        return "capture"
    return "sample" if legacy.path.suffix.lower() == ".npz" else legacy.manifest.form


def summarise_legacy(legacy: LegacyDataset, *, on_progress: Callable[[int, int], None] | None = None) -> LegacySummary:
    """Return what is in the samples; a rejected or observation-only one counts, and is in no metric.

    Args:
        legacy: the samples.
        on_progress: called with (files read, files in all).

    Raises:
        DatasetError: a file is damaged or missing.
    """
    vocabulary, actions, shapes = Vocabulary(), Counter[str](), Counter[Shape]()
    metrics: list[dict[str, Any]] = []
    rejected = only_seen = steps = 0
    for index, entry in enumerate(legacy.manifest.samples):
        sample = legacy.load(index)
        shapes[Shape.of(sample)] += 1
        steps += sample.num_steps
        rejected += entry.accepted is False
        if not sample.is_trainable:
            only_seen += 1
        else:
            ids = actions_of(sample)
            vocabulary.add(ids, sample.name)
            if entry.accepted is not False:
                used, counts = np.unique(sample.steps["actions"], return_counts=True)
                for number, count in zip(used.tolist(), counts.tolist(), strict=True):
                    actions[ids.names[number]] += count
                metrics.append(sample_metrics(sample.steps, sample.feature_names, ids.names))
        if on_progress is not None:
            on_progress(index + 1, len(legacy))
    return LegacySummary(
        path=str(legacy.path),
        form=form_of(legacy),
        samples=len(legacy),
        rejected=rejected,
        observation_only=only_seen,
        agent_steps=steps,
        shapes=tuple(
            LegacyShape(samples=count, features=len(shape.feature_names), map_shape=shape.map_shape)
            for shape, count in shapes.items()
        ),
        actions=dict(actions.most_common()),
        unlisted=dict(vocabulary.unlisted),
        metrics=aggregate(metrics),
        recorded_metrics={} if legacy.metrics is None else aggregate(legacy.metrics.samples.values()),
        notes=legacy.notes,
    )


def actions_of(sample: LegacySample) -> FileActions:
    """Return what the action ids of a sample mean; raises `DatasetError`."""
    lookup = sample.metadata.get("action_lookup")
    return file_actions(lookup, sample.steps["actions"], name=sample.name, path=Path(sample.path))
