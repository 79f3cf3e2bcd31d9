"""Files of the earlier format written anew: in another form, or verified and gathered in one directory."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from townlet_core.errors import TownletWarning
from townlet_core.replay.files import read_json
from townlet_core.replay.legacy.opening import DEFAULT_PREFIX, open_legacy
from townlet_core.replay.legacy.writing import LegacyWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import JsonValue

    from townlet_core.replay.legacy.manifest import Form
    from townlet_core.replay.legacy.opening import LegacyDataset


def rewrite_legacy(
    path: Path,
    out: Path,
    *,
    form: Form | None = None,
    prefix: str = DEFAULT_PREFIX,
    roots: Sequence[Path] = (),
    dataset: str | None = None,
    dataset_id: str | None = None,
    working_dir: Path = Path(),
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Read files of the earlier format, check them and write them again; return the path of manifest or catalogue.

    Samples are equal in arrays and metadata to what was read; the observations that they were made from are copied.

    Args:
        path: as for `open_legacy`, like `roots`, `dataset` and `working_dir`.
        out: the directory: new, or empty.
        form: of the manifest; None for that which was read.
        prefix: of the names of what is written beside the samples.
        roots: further directories that files may lie in.
        dataset: name of the data set in a catalogue that is read.
        dataset_id: name of the data set in a catalogue that is written; without it, none is.
        working_dir: where relative names are looked for last.
        on_progress: called with (samples written, samples to write).

    Raises:
        MissingInputError: there is nothing at `path`.
        DatasetError: a file is damaged or missing.
        UsageError: `out` is not empty, or the data set has to be named.
        StorageError: the system refused a write.
    """
    legacy = open_legacy(path, roots=roots, dataset=dataset, working_dir=working_dir)
    for note in legacy.notes:
        warnings.warn(note, TownletWarning, stacklevel=2)
    writer = LegacyWriter(
        out,
        form=form or legacy.manifest.form,
        prefix=prefix,
        metadata=legacy.manifest.metadata,
        dataset_id=dataset_id,
        catalogue=legacy.catalogue,
    )
    for index, entry in enumerate(legacy.manifest.samples):
        dto_path = legacy.dto_paths[index]
        writer.add(
            legacy.load(index),
            entry=entry,
            metrics=_metrics_of(legacy, entry.sample),
            dto=None if dto_path is None else read_json(dto_path),
        )
        if on_progress is not None:
            on_progress(index + 1, len(legacy))
    return writer.close()


def _metrics_of(legacy: LegacyDataset, sample: str) -> Mapping[str, JsonValue] | None:
    """Return what the metrics file says about a sample, by its path or by the name of its file."""
    samples = legacy.metrics.samples if legacy.metrics is not None else {}
    return samples.get(sample, samples.get(PurePosixPath(sample).name))
