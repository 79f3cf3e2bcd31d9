"""`open_legacy`: any of the shapes that the earlier format has, as a list of samples that are read one at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.dataset import is_dataset
from townlet_core.replay.files import Places, read_document, standard_places
from townlet_core.replay.legacy.catalogue import (
    CATALOGUE_NAME,
    CatalogueEntry,
    Checksum,
    choose,
    is_catalogue,
    read_catalogue,
    read_checksums,
)
from townlet_core.replay.legacy.manifest import LegacyManifest, ManifestEntry, parse_legacy_manifest
from townlet_core.replay.legacy.metrics import MetricsFile, read_metrics
from townlet_core.replay.legacy.sample import LegacySample, SampleFiles, load_sample
from townlet_core.replay.mistaken import mistaken

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

MANIFEST_SUFFIX, METRICS_SUFFIX = "_manifest.json", "_metrics.json"
DEFAULT_PREFIX = "rollout_sample"
_SUFFIXES = (".json", ".yaml", ".yml", ".npz")


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyDataset:
    """Samples of the earlier format; their files were found, and none of them was read.

    Attributes:
        path: what was opened.
        manifest: the manifest, or one made of the single sample that was opened.
        files: where each of the manifest's samples lies.
        metrics: the metrics file beside a capture's manifest, if there is one.
        catalogue: the entry of the catalogue that was opened, if it was one.
        notes: what the user should know and is no error, one line each.
        dto_paths: where the file lies that a sample was made from; None for those that name none.
    """

    path: Path
    manifest: LegacyManifest
    files: tuple[SampleFiles, ...]
    metrics: MetricsFile | None = None
    catalogue: CatalogueEntry | None = None
    notes: tuple[str, ...] = ()
    dto_paths: tuple[Path | None, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.files)

    def load(self, index: int, *, names: Collection[str] | None = None) -> LegacySample:
        """Read and check one sample; raises `DatasetError` as `load_sample`."""
        return load_sample(self.files[index], names=names)

    def __iter__(self) -> Iterator[LegacySample]:
        """Read the samples one at a time."""
        return (self.load(index) for index in range(len(self)))

    def shapes(self) -> dict[Shape, list[int]]:
        """Return the samples by shape: those that can stand in one batch are in one list. Reads every file."""
        groups: dict[Shape, list[int]] = {}
        for index in range(len(self)):
            groups.setdefault(Shape.of(self.load(index, names=())), []).append(index)
        return groups


@dataclass(frozen=True, slots=True)
class Shape:
    """What samples have in common that can be batched together.

    Attributes:
        feature_names: names of the features, sorted: columns are matched by name, never by position.
        map_shape: (C, H, W), or () without a map.
    """

    feature_names: tuple[str, ...]
    map_shape: tuple[int, ...]

    @classmethod
    def of(cls, sample: LegacySample) -> Shape:
        """Return the shape of a sample."""
        return cls(tuple(sorted(sample.feature_names)), sample.map_shape)


def is_legacy(path: Path) -> bool:
    """Return whether `path` looks like files of the earlier format: a manifest, a sample, a catalogue or a capture."""
    if path.is_dir():
        return not is_dataset(path) and ((path / CATALOGUE_NAME).is_file() or bool(_manifests(path)))
    return path.is_file() and path.suffix.lower() in _SUFFIXES and path.name != "dataset.json"


def open_legacy(
    path: Path, *, roots: Sequence[Path] = (), dataset: str | None = None, working_dir: Path = Path()
) -> LegacyDataset:
    """Find the samples that a path stands for; each is read when it is asked for.

    Args:
        path: a manifest (JSON or YAML), a capture directory, a catalogue, or a single sample.
        roots: further directories that the named files may lie in, beside that of `path` and the working directory.
        dataset: name of the data set in a catalogue.
        working_dir: where relative names are looked for after the directory of the file that names them.

    Raises:
        MissingInputError: there is nothing at `path`, or something else, such as a run.
        DatasetError: a file is damaged, missing, or lies where it may not.
        UsageError: the catalogue has several data sets, or none of that name.
    """
    if not path.exists():
        raise MissingInputError(f"there is no file or directory {path}")
    if not is_legacy(path) and (said := mistaken(path)):
        raise MissingInputError(said)
    path = path.resolve() if path.is_symlink() else path  # what the user names may be a link; what a file names may not
    places = standard_places(path / CATALOGUE_NAME if path.is_dir() else path, roots=roots, working_dir=working_dir)
    if path.is_dir():
        if (path / CATALOGUE_NAME).is_file():
            return _open_catalogue(path / CATALOGUE_NAME, read_catalogue(path / CATALOGUE_NAME), dataset, places)
        return _open_capture(path, places)
    if path.suffix.lower() == ".npz":
        return _open_sample(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise DatasetError(f"{path} is none of {', '.join(_SUFFIXES)}, nor a directory of recorded samples")
    document = read_document(path)
    if is_catalogue(document):
        return _open_catalogue(path, read_catalogue(path), dataset, places)
    return _with_metrics(_open_manifest(path, parse_legacy_manifest(document, path), places), path)


def _open_sample(path: Path) -> LegacyDataset:
    manifest = LegacyManifest(samples=(ManifestEntry(sample=path.name),))
    files = SampleFiles(name=path.name, path=path, meta_path=path.with_suffix(".json"))
    return LegacyDataset(path=path, manifest=manifest, files=(files,), dto_paths=(None,))


def _manifests(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"*{MANIFEST_SUFFIX}") if path.is_file())


def _open_capture(directory: Path, places: Places) -> LegacyDataset:
    found = _manifests(directory)
    if not found:
        raise DatasetError(
            f"{directory} is no capture: it has no '{DEFAULT_PREFIX}{MANIFEST_SUFFIX}', nor another '<prefix>"
            f"{MANIFEST_SUFFIX}', nor a {CATALOGUE_NAME}"
        )
    usual = directory / f"{DEFAULT_PREFIX}{MANIFEST_SUFFIX}"
    if len(found) > 1 and usual not in found:
        raise DatasetError(f"{directory} has several captures, name one: {', '.join(path.name for path in found)}")
    path = usual if usual in found else found[0]
    metrics = _metrics_path(path)
    if not metrics.is_file():
        raise DatasetError(
            f"{directory}: the metrics of the capture, {metrics.name}, are missing; to do without, name {path}"
        )
    opened = _with_metrics(_open_manifest(path, parse_legacy_manifest(read_document(path), path), places), path)
    others = [other.name for other in found if other != path]
    notes = [f"{directory} has other captures too: {', '.join(others)}"] if others else []
    return replace(opened, path=directory, notes=(*opened.notes, *notes))


def _metrics_path(manifest: Path) -> Path:
    return manifest.with_name(manifest.name.removesuffix(MANIFEST_SUFFIX) + METRICS_SUFFIX)


def _with_metrics(opened: LegacyDataset, path: Path) -> LegacyDataset:
    """Return the data set with the metrics beside the manifest of a capture, if there are any."""
    metrics = _metrics_path(path)
    if not path.name.endswith(MANIFEST_SUFFIX) or not metrics.is_file():
        return opened
    return replace(opened, metrics=read_metrics(metrics))


def _open_manifest(path: Path, manifest: LegacyManifest, places: Places) -> LegacyDataset:
    files, dtos = [], []
    for entry in manifest.samples:
        files.append(_sample_files(entry.sample, entry.meta, source=path, places=places))
        dtos.append(None if entry.dto is None else places.find(entry.dto, what="dto", source=path))
    counts = Counter(found.path for found in files)
    notes = [f"{path} names {sample} {count} times" for sample, count in counts.items() if count > 1]
    return LegacyDataset(
        path=path, manifest=manifest, files=tuple(files), dto_paths=tuple(dtos), notes=tuple(notes[:10])
    )


def _sample_files(sample: str, meta: str | None, *, source: Path, places: Places) -> SampleFiles:
    found = places.find(sample, what="sample", source=source)
    if meta is None:
        beside = replace(places, bases=(found.parent,))
        meta_path = beside.find(found.with_suffix(".json").name, what=f"metadata of {sample!r},", source=source)
    else:
        meta_path = places.find(meta, what="meta", source=source)
    return SampleFiles(name=sample, path=found, meta_path=meta_path)


def _open_catalogue(
    path: Path, catalogue: dict[str, CatalogueEntry], dataset: str | None, places: Places
) -> LegacyDataset:
    name = choose(catalogue, dataset, path)
    entry = catalogue[name]
    if entry.captures_dir is not None:
        places = places.below(_directory(entry.captures_dir, path, places))
    manifest_path = places.find(entry.manifest, what="manifest", source=path)
    opened = _open_manifest(
        manifest_path,
        parse_legacy_manifest(read_document(manifest_path), manifest_path),
        places.below(manifest_path.parent),
    )
    checksums = dict(entry.samples)
    if entry.checksums is not None:
        checksums_path = places.find(entry.checksums, what="file of checksums", source=path)
        checksums = _agreed(checksums, read_checksums(checksums_path), checksums_path, path)
        places = places.below(checksums_path.parent)
    opened, notes = _with_checksums(opened, checksums, path, places.below(manifest_path.parent))
    if entry.status == "deprecated":
        notes.append(f"the data set '{name}' is marked as deprecated{_why(entry.notes)}")
    return replace(opened, path=path, catalogue=entry, notes=(*opened.notes, *notes))


def _why(notes: Any) -> str:
    return f": {notes[:200]}" if isinstance(notes, str) and notes else ""


def _directory(name: str, source: Path, places: Places) -> Path:
    found = places.find(name.rstrip("/"), what="captures_dir", source=source)
    if not found.is_dir():
        raise DatasetError(f"{source}: the captures_dir {name!r} is not a directory")
    return found


def _agreed(ours: dict[str, Checksum], theirs: dict[str, Checksum], path: Path, source: Path) -> dict[str, Checksum]:
    for name, checksum in theirs.items():
        if name in ours and ours[name].sha256 != checksum.sha256:
            raise DatasetError(f"{path} and {source} give different checksums for '{name}'")
    return {**ours, **theirs}


def _with_checksums(
    opened: LegacyDataset, checksums: dict[str, Checksum], source: Path, places: Places
) -> tuple[LegacyDataset, list[str]]:
    """Return the data set with the digest that each sample has to have; every sample needs one if there are any."""
    if not checksums:
        return opened, [f"{source} gives no checksums: the samples are taken as they are"]
    promised: dict[Path, str] = {}
    for checksum in checksums.values():
        found = _sample_files(checksum.sample, checksum.meta, source=source, places=places)
        if promised.setdefault(found.path, checksum.sha256) != checksum.sha256:
            raise DatasetError(f"{source} gives two checksums for {found.path}")
    files = []
    for sample in opened.files:
        if sample.path not in promised:
            raise DatasetError(f"{source} gives no checksum for the sample {sample.name!r} of its manifest")
        files.append(replace(sample, sha256=promised[sample.path]))
    surplus = len(promised) - len({sample.path for sample in files})
    notes = [f"{source} gives checksums for {surplus} samples that its manifest does not name"] if surplus else []
    return replace(opened, files=tuple(files)), notes
