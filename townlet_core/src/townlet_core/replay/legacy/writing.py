"""Writes a directory of the earlier format: samples first, and then what names them, so that half of one is none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from townlet_core.checkpoint.atomic import write_file
from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.errors import DatasetError, UsageError
from townlet_core.replay.files import path_problem
from townlet_core.replay.legacy.catalogue import (
    CATALOGUE_NAME,
    CatalogueEntry,
    Checksum,
    catalogue_bytes,
    checksums_bytes,
)
from townlet_core.replay.legacy.manifest import LegacyManifest, ManifestEntry, manifest_bytes
from townlet_core.replay.legacy.metrics import MetricsFile, metrics_bytes, sample_metrics
from townlet_core.replay.legacy.opening import DEFAULT_PREFIX, MANIFEST_SUFFIX, METRICS_SUFFIX
from townlet_core.replay.legacy.sample import LegacySample, check_sample, files_digest, json_bytes, sample_bytes
from townlet_core.replay.legacy.vocabulary import file_actions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from townlet_core.replay.legacy.manifest import Form

CHECKSUMS_SUFFIX = "_checksums.json"


class LegacyWriter:
    """Writes samples, their manifest and metrics, and on request a catalogue; `close` completes it.

    Args:
        out: the directory: new, or empty; made with its parents.
        form: of the manifest. A rejected sample keeps its verdict in every form.
        prefix: of the names of what is written beside the samples.
        metadata: of a wrapped manifest and its metrics.
        dataset_id: name in a catalogue with checksums; without it, none is written.
        catalogue: what the catalogue says beside the names of files.

    Raises:
        UsageError: `out` is not empty, or the prefix is no plain name.
        StorageError: the system refused.
    """

    def __init__(
        self,
        out: Path,
        *,
        form: Form = "list",
        prefix: str = DEFAULT_PREFIX,
        metadata: Mapping[str, JsonValue] | None = None,
        dataset_id: str | None = None,
        catalogue: CatalogueEntry | None = None,
    ) -> None:
        if path_problem(prefix) or "/" in prefix:
            raise UsageError(f"the prefix {prefix!r} is no plain name")
        with storage_guard("make", out):
            out.mkdir(parents=True, exist_ok=True)
            if next(out.iterdir(), None) is not None:
                raise UsageError(f"{out} is not empty: choose another directory")
        self.out, self._form, self._prefix, self._dataset_id = out, form, prefix, dataset_id
        self._metadata = dict(metadata or {}) if form == "wrapped" else None
        self._catalogue = catalogue or CatalogueEntry(manifest="")
        self._entries: list[ManifestEntry] = []
        self._metrics: dict[str, Mapping[str, Any]] = {}
        self._checksums: dict[str, Checksum] = {}
        own = (MANIFEST_SUFFIX, METRICS_SUFFIX, CHECKSUMS_SUFFIX)
        self._taken = {CATALOGUE_NAME, *(f"{prefix}{suffix}".lower() for suffix in own)}

    def add(
        self,
        sample: LegacySample,
        *,
        entry: ManifestEntry | None = None,
        metrics: Mapping[str, JsonValue] | None = None,
        dto: Any = None,
    ) -> None:
        """Write a sample, under the names that its entry gives where they are free and stay in the directory.

        Args:
            sample: what to write.
            entry: what the manifest is to say beside the names of files.
            metrics: of the sample; by default they are computed.
            dto: contents of the file that the entry calls `dto`.

        Raises:
            DatasetError: the sample is not of the format.
            StorageError: the system refused.
        """
        entry = entry or ManifestEntry(sample=sample.name)
        name = self._free(entry.sample, ".npz")
        meta = self._free(entry.meta or str(PurePosixPath(name).with_suffix(".json")), ".json")
        check_sample(sample, self.out / name)
        archive, text = sample_bytes(sample)
        self._write(meta, text)
        self._write(name, archive)
        dto_name = None
        if dto is not None and entry.dto is not None:
            dto_name = self._free(entry.dto, ".json")
            self._write(dto_name, json_bytes(dto))
        is_needless = self._form != "curated" and PurePosixPath(name).with_suffix(".json") == PurePosixPath(meta)
        if sample.is_trainable:
            measured = measure(sample)
            self._metrics[name] = measured if metrics is None else metrics
            if self._form == "curated" and entry.metrics is None:
                entry = replace(entry, metrics=_verdict_metrics(sample, measured))
        is_accepted = entry.accepted is not False
        self._entries.append(
            replace(
                entry,
                sample=name,
                meta=meta if entry.meta is not None or not is_needless else None,
                dto=dto_name,
                accepted=is_accepted if self._form == "curated" or not is_accepted else None,
            )
        )
        self._checksums[str(PurePosixPath(name).with_suffix(""))] = Checksum(
            sample=name, meta=meta, sha256=files_digest(archive, text)
        )

    def close(self) -> Path:
        """Write metrics, manifest and catalogue, and return the path of what names all: catalogue or manifest.

        Raises:
            DatasetError: no sample was added.
            StorageError: the system refused.
        """
        if not self._entries:
            raise DatasetError(f"{self.out}: there is no sample to write")
        metrics = MetricsFile(samples=self._metrics, metadata=self._metadata)
        self._write(f"{self._prefix}{METRICS_SUFFIX}", metrics_bytes(metrics))
        manifest = LegacyManifest(samples=tuple(self._entries), metadata=self._metadata)
        manifest_path = self._write(f"{self._prefix}{MANIFEST_SUFFIX}", manifest_bytes(manifest))
        if self._dataset_id is None:
            return manifest_path
        checksums = self._write(f"{self._prefix}{CHECKSUMS_SUFFIX}", checksums_bytes(self._checksums))
        entry = replace(
            self._catalogue,
            manifest=manifest_path.name,
            checksums=checksums.name,
            captures_dir=None,
            samples=self._checksums,
        )
        return self._write(CATALOGUE_NAME, catalogue_bytes({self._dataset_id: entry}))

    def _free(self, name: str, suffix: str) -> str:
        """Return the name where it stays in the directory and nothing has it, else another."""
        plain = str(PurePosixPath(name)) if not path_problem(name) else "/"
        wanted = plain if plain.endswith(suffix) and not plain.startswith("/") else ""
        number = len(self._entries)
        while not wanted or wanted.lower() in self._taken:
            wanted = f"{self._prefix}_{number:06d}{suffix}"
            number += 1
        self._taken.add(wanted.lower())
        return wanted

    def _write(self, name: str, data: bytes) -> Path:
        path = self.out / name
        with storage_guard("make", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
        return path


def measure(sample: LegacySample) -> dict[str, Any]:
    """Return the metrics of a sample that has more than observations; null where one is not finite."""
    lookup = sample.metadata.get("action_lookup")
    actions = file_actions(lookup, sample.steps["actions"], name=sample.name, path=sample.path)
    metrics = sample_metrics(sample.steps, sample.feature_names, actions.names)
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _verdict_metrics(sample: LegacySample, measured: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return what a curated manifest says about a sample."""
    return {
        "timesteps": measured["timesteps"],
        "reward_sum": measured["reward_sum"],
        "mean_reward": measured["reward_mean"],
        "done_count": int(sample.steps["dones"].sum()),
    }
