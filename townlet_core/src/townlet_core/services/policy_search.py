"""`PolicySearch`: which run has the policy of a digest, among the runs that lie near what names it."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING

from townlet_core.checkpoint.manifest import files_digest, read_directory
from townlet_core.errors import ArtefactError, TownletError
from townlet_core.policy.artefact import DOCUMENT_FILE, POLICY_DIR, WEIGHTS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MOST_PLACES = 1000
"""Entries of one directory that are looked at: runs that lie there, and whatever else does."""
MOST_BYTES = 256 << 20
"""Of one policy; a larger one is not looked into. [bytes]"""


class PolicySearch:
    """Finds policies by digest; each is read once, whatever is asked for later."""

    def __init__(self) -> None:
        self._digests: dict[Path, str] = {}

    def find(self, digest: str, directories: Iterable[Path], *, name: str = "") -> Path | None:
        """Return the directory of the policy, or None.

        Args:
            digest: of the policy.
            directories: where runs and policies may lie, side by side.
            name: what the run was called; what is called so is looked at first.
        """
        places = [place for directory in dict.fromkeys(directories) for place in _policies(directory)]
        places.sort(key=lambda place: name not in (place.name, place.parent.name))
        return next((place for place in places if self._digest(place) == digest), None)

    def _digest(self, place: Path) -> str:
        if place not in self._digests:
            try:
                files = read_directory(place, max_bytes=MOST_BYTES, error=ArtefactError)
            except TownletError:  # damaged: then it is not the one
                files = {}
            known = {file: data for file, data in files.items() if file in (DOCUMENT_FILE, WEIGHTS_FILE)}
            self._digests[place] = files_digest(known) if known else ""
        return self._digests[place]


def _policies(directory: Path) -> Iterator[Path]:
    """Yield the policies in a directory: those of runs, and those that lie there as they are."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in islice(entries, MOST_PLACES))
    except OSError:
        return
    for name in names:
        for place in (directory / name / POLICY_DIR, directory / name):
            if (place / DOCUMENT_FILE).is_file():
                yield place
