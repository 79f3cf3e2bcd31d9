"""Bundles: a policy's files, exactly as they were, with the record of the run they came from, under their digest.

The digest is that of the policy, the same that `townlet evaluate` and a run's result show. The manifest of a bundle
covers all of its files, and the log holds the SHA-256 of the manifest.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import write_directory
from townlet_core.checkpoint.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    build_manifest,
    files_digest,
    read_directory,
    read_file,
)
from townlet_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from townlet_core.checkpoint.filesystem import FileSystem

POLICY_FILES = ("policy.json", "policy.safetensors")
ORIGIN_FILES = {"run.json": "origin-run.json", "config.yaml": "origin-config.yaml", "result.json": "origin-result.json"}
"""Files of a run that are kept, and what they are called in a bundle, which must not look like a run."""
MAX_BUNDLE_BYTES = 4 << 30
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(name: str) -> bool:
    """Return whether `name` can be a SHA-256."""
    return _DIGEST.fullmatch(name) is not None


def policy_digest(files: Mapping[str, bytes], *, where: Path) -> str:
    """Return the digest of the policy among the files of a bundle.

    Raises:
        DataError: it is not complete.
    """
    missing = [name for name in POLICY_FILES if name not in files]
    if missing:
        raise DataError(f"{where} has no {missing[0]}: it holds no policy")
    return files_digest({name: files[name] for name in POLICY_FILES})


def write_bundle(bundles: Path, files: Mapping[str, bytes], filesystem: FileSystem) -> str:
    """Write a bundle that the log does not know, and return the SHA-256 of its manifest.

    What a killed writer left under the same name, or somebody put there, is replaced.

    Raises:
        DataError: it holds no policy.
        StorageError: the system refused.
    """
    path = bundles / policy_digest(files, where=bundles)
    write_directory(path, files, replace=os.path.lexists(path), filesystem=filesystem)
    return hashlib.sha256(build_manifest(files)).hexdigest()


def read_bundle(path: Path, *, manifest: str = "") -> dict[str, bytes]:
    """Return the files of the bundle at `path`, every byte of them verified.

    Args:
        path: the bundle, whose name is its digest.
        manifest: the SHA-256 that its manifest has to have; empty where nobody knows it.

    Raises:
        MissingInputError: it is not there.
        DataError: it is damaged, or another one; the text names the file.
    """
    files = read_directory(path, error=DataError, max_bytes=MAX_BUNDLE_BYTES)
    if manifest and _manifest_digest(path) != manifest:
        raise DataError(f"{path / MANIFEST_NAME} is damaged: it is not the one that the log knows")
    if policy_digest(files, where=path) != path.name:
        raise DataError(f"{path} holds another policy than its name says")
    return files


def _manifest_digest(path: Path) -> str:
    return hashlib.sha256(read_file(path / MANIFEST_NAME, MAX_MANIFEST_BYTES, DataError)).hexdigest()
