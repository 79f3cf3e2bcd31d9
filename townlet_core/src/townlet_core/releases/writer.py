"""`ReleaseWriter`: what the holder of the lock may do: keep a bundle, keep evidence, append an event."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from townlet_core.checkpoint.atomic import write_file
from townlet_core.checkpoint.filesystem import FileSystem, storage_guard
from townlet_core.checkpoint.manifest import first_problem, read_file
from townlet_core.dto.promotion import ReleaseEvent
from townlet_core.errors import DataError, UsageError
from townlet_core.releases.bundle import policy_digest, read_bundle, write_bundle
from townlet_core.releases.log import LOG_NAME, History, append
from townlet_core.releases.status import STATUS_NAME, write_status
from townlet_core.runs.status import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from townlet_core.runs.status import Clock

BUNDLES, EVIDENCE = "bundles", "evidence"
MAX_EVIDENCE_BYTES = 64 << 20


@dataclass(slots=True)
class ReleaseWriter:
    """Writes to a store whose lock is held.

    Attributes:
        root: the store.
        history: every event so far.
        clock: seconds since 1970.
        filesystem: the calls to make.
    """

    root: Path
    history: History
    clock: Clock
    filesystem: FileSystem

    def keep_bundle(self, files: Mapping[str, bytes]) -> dict[str, str]:
        """Write the bundle of a policy, unless the log knows it, and return the fields of an event about it.

        Raises:
            DataError: the log knows it, and it is damaged; or it holds no policy.
            StorageError: the system refused.
        """
        digest = policy_digest(files, where=self.root)
        if self.history.manifest_of(digest):
            return self.known_bundle(digest)
        return {"release": digest, "manifest": write_bundle(self._directory(BUNDLES), files, self.filesystem)}

    def known_bundle(self, release: str) -> dict[str, str]:
        """Return the fields of an event about a release, every byte of which was read and is right.

        Raises:
            MissingInputError: its bundle is gone.
            DataError: its bundle is damaged.
        """
        manifest = self.history.manifest_of(release)
        read_bundle(self.root / BUNDLES / release, manifest=manifest)
        return {"release": release, "manifest": manifest}

    def keep_evidence(self, data: bytes) -> str:
        """Write a file of evidence, unless it is there, and return its SHA-256.

        Raises:
            UsageError: it is too large.
            DataError: it is there, and damaged.
            StorageError: the system refused.
        """
        if len(data) > MAX_EVIDENCE_BYTES:
            raise UsageError(f"evidence of {len(data):,} bytes is more than the {MAX_EVIDENCE_BYTES:,} that are kept")
        digest = hashlib.sha256(data).hexdigest()
        path = self._directory(EVIDENCE) / f"{digest}.json"
        if not os.path.lexists(path):
            write_file(path, data, filesystem=self.filesystem)
        elif read_file(path, MAX_EVIDENCE_BYTES, DataError) != data:
            raise DataError(f"{path} is damaged: its contents do not match its name")
        return digest

    def append(self, **fields: Any) -> ReleaseEvent:
        """Write an event, and how things stand with it, and return it when both are on the device.

        Args:
            **fields: of the event; its number, place in the chain, time, and what follows from it are added.

        Raises:
            UsageError: such an event cannot follow.
            StorageError: the system refused. Where that was while `status.json` was written, the event stands.
        """
        head = {"sequence": len(self.history.events) + 1, "previous": self.history.head}
        draft = {"state": "monitoring", "streak": 0, **head, "time": timestamp(self.clock()), **fields}
        try:
            state = self.history.state.following(ReleaseEvent.model_validate(draft))
            event = ReleaseEvent.model_validate({**draft, "state": state.phase, "streak": state.streak})
        except ValidationError as error:
            raise UsageError(first_problem(error)) from error
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.history = append(self.root / LOG_NAME, self.history, event, filesystem=self.filesystem)
        write_status(self.root / STATUS_NAME, self.history, filesystem=self.filesystem)
        return event

    def _directory(self, name: str) -> Path:
        path = self.root / name
        with storage_guard("make", path):
            if not path.is_dir():
                self.filesystem.make_directory(path)
                self.filesystem.sync_directory(self.root)
        return path
