"""From any format of recorded data to any other: native, that of the earlier town, Minari."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.errors import DatasetError, MissingInputError, UsageError
from townlet_core.replay.dataset import Dataset, is_dataset
from townlet_core.replay.legacy import export_legacy, import_legacy, is_legacy, open_legacy, rewrite_legacy
from townlet_core.replay.legacy.opening import DEFAULT_PREFIX
from townlet_core.replay.mistaken import MINARI_FILES, mistaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.replay.legacy.manifest import Form

Format = Literal["native", "legacy", "minari"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """How to read and write; each concerns some formats only, and None leaves it to them.

    Attributes:
        features: legacy to another format: the features to keep; None keeps those that all samples share.
        roots: read legacy: further directories that named files may lie in.
        dataset: read legacy: name of the data set in a catalogue.
        form: write legacy: form of the manifest.
        prefix: write legacy: of the names of files.
        catalogue: write legacy: name of the data set in a catalogue, with checksums.
        minari_id: write minari: id of the dataset, `(namespace/)name-vN`.
        action_names: read minari: what the numbers of an action mean.
    """

    features: tuple[str, ...] | None = None
    roots: tuple[Path, ...] | None = None
    dataset: str | None = None
    form: Form | None = None
    prefix: str | None = None
    catalogue: str | None = None
    minari_id: str | None = None
    action_names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was converted.

    Attributes:
        source: where from.
        path: what to open: the directory, or a manifest or catalogue in it.
        source_format: of what was read.
        format: of what was written.
        num_episodes: episodes, or samples where the earlier format was written.
    """

    source: str
    path: Path
    source_format: Format
    format: Format
    num_episodes: int


def detect_format(path: Path) -> Format:
    """Return the format of what lies at `path`.

    Raises:
        MissingInputError: nothing does, or something else of Townlet's.
        DatasetError: it is of none of the formats.
    """
    if not path.exists():
        raise MissingInputError(f"there is no file or directory {path}")
    if is_dataset(path):
        return "native"
    if any((path / name).is_file() for name in MINARI_FILES):
        return "minari"
    if is_legacy(path):
        return "legacy"
    if said := mistaken(path):
        raise MissingInputError(said)
    raise DatasetError(
        f"{path} is no dataset that is known: neither native (dataset.json), nor Minari (data/main_data.hdf5), nor of "
        "the earlier format (a manifest, a capture directory, a catalogue or a sample)"
    )


def convert(
    source: Path | str,
    out: Path,
    *,
    to: Format,
    source_format: Format | None = None,
    options: ConvertOptions | None = None,
    working_dir: Path = Path(),
    on_progress: Callable[[int, int], None] | None = None,
    on_verify: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Read a dataset in one format and write it in another, or in the other form of the earlier one.

    Args:
        source: file or directory; the id of a dataset in Minari's storage if `source_format` is `minari`.
        out: directory to write: new, or empty.
        to: format to write.
        source_format: format to read; None to find out.
        options: how.
        working_dir: where the earlier format looks for relative names last.
        on_progress: called with (what is done, what is to be done) of each step.
        on_verify: called with (bytes verified, bytes in all) of a native dataset, every byte of which is compared with
            its digests before any is written.

    Raises:
        MissingInputError: there is nothing at `source`.
        DatasetError: it is damaged, or has not what the other format needs.
        UsageError: an option does not concern the formats, or `out` is not empty, or there is nothing to convert.
        UnavailableError: the extra that Minari needs is not installed.
        StorageError: the system refused.
    """
    options = options or ConvertOptions()
    kind = source_format or detect_format(Path(source))
    _check_options(options, kind, to)
    if kind == to == "legacy":
        return _rewritten(Path(source), out, options, working_dir, on_progress)
    if kind == to:
        raise UsageError(f"{source} is in the format '{to}' already; `townlet replay curate` copies a native dataset")
    if to == "native":
        written = _to_native(source, out, kind, options, working_dir, on_progress)
        return _conversion(source, out, kind, to, written.num_episodes)
    if kind == "native":
        dataset = Dataset(Path(source))
        path, count = _from_native(dataset, out, to, options, on_progress, on_verify)
        return _conversion(source, path, kind, to, count)
    with storage_guard("make", out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        between = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-")
    with between as directory:
        dataset = _to_native(source, Path(directory) / "native", kind, options, working_dir, on_progress)
        path, count = _from_native(dataset, out, to, options, on_progress)
    return _conversion(source, path, kind, to, count)


def _conversion(source: Path | str, path: Path, kind: Format, to: Format, count: int) -> Conversion:
    return Conversion(source=str(source), path=path, source_format=kind, format=to, num_episodes=count)


def _check_options(options: ConvertOptions, kind: Format, to: Format) -> None:
    """Refuse an option that would change nothing; raises `UsageError`."""
    concerns = {
        "features": kind == "legacy" != to,
        "roots": kind == "legacy",
        "dataset": kind == "legacy",
        "form": to == "legacy",
        "prefix": to == "legacy",
        "catalogue": to == "legacy",
        "minari_id": to == "minari",
        "action_names": kind == "minari",
    }
    for field in fields(options):
        if getattr(options, field.name) and not concerns[field.name]:
            raise UsageError(f"the option {field.name!r} has no meaning from '{kind}' to '{to}'")


def _to_native(
    source: Path | str,
    out: Path,
    kind: Format,
    options: ConvertOptions,
    working_dir: Path,
    on_progress: Callable[[int, int], None] | None,
) -> Dataset:
    if kind == "legacy":
        return import_legacy(
            Path(source),
            out,
            features=options.features or "shared",
            roots=options.roots or (),
            dataset=options.dataset,
            working_dir=working_dir,
            on_progress=on_progress,
        )
    from townlet_core.replay.minari import import_minari  # h5py, of an extra

    return import_minari(source, out, action_names=options.action_names or (), on_progress=on_progress)


def _from_native(
    dataset: Dataset,
    out: Path,
    to: Format,
    options: ConvertOptions,
    on_progress: Callable[[int, int], None] | None,
    on_verify: Callable[[int, int], None] | None = None,
) -> tuple[Path, int]:
    """Return what to open, and the number of episodes or samples."""
    if to == "legacy":
        path = export_legacy(
            dataset,
            out,
            form=options.form or "list",
            prefix=options.prefix or DEFAULT_PREFIX,
            dataset_id=options.catalogue,
            on_progress=on_progress,
            on_verify=on_verify,
        )
        return path, len(open_legacy(path))
    from townlet_core.replay.minari import export_minari  # h5py and minari, of an extra

    export_minari(dataset, out, dataset_id=options.minari_id, on_progress=on_progress, on_verify=on_verify)
    return out, dataset.num_episodes


def _rewritten(
    source: Path,
    out: Path,
    options: ConvertOptions,
    working_dir: Path,
    on_progress: Callable[[int, int], None] | None,
) -> Conversion:
    path = rewrite_legacy(
        source,
        out,
        form=options.form,
        prefix=options.prefix or DEFAULT_PREFIX,
        roots=options.roots or (),
        dataset=options.dataset,
        dataset_id=options.catalogue,
        working_dir=working_dir,
        on_progress=on_progress,
    )
    return _conversion(source, path, "legacy", "legacy", len(open_legacy(path)))
