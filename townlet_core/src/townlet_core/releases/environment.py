"""The environment of a store: one directory of releases is for the policies of one environment.

Scores of two environments cannot be compared, so a streak or a champion of both would say nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from townlet_core.checkpoint.manifest import read_file
from townlet_core.errors import DataError, TownletError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from townlet_core.releases.log import History
    from townlet_core.releases.store import ReleaseStore

_DOCUMENT_NAME = "policy.json"
_MAX_DOCUMENT_BYTES = 4 << 20


def require_environment(store: ReleaseStore, history: History, *, policy: str, environment: str) -> None:
    """Check that a policy belongs to the environment of the releases that are there.

    The champion says which that is, else the candidate, else the newest release. A release or a policy of which nobody
    knows its environment is let pass.

    Args:
        store: where the bundles are.
        history: its events.
        policy: digest of the policy.
        environment: name of the environment that the policy was trained in.

    Raises:
        UsageError: it is another one; the text names both.
    """
    for what, release in _by_weight(history):
        known = _environment_of(store.bundle_path(release))
        if known and environment and known != environment:
            raise UsageError(
                f"policy {policy[:12]} is of environment {environment}, and {what} {release[:12]} in {store.root} is "
                f"of {known}: one directory of releases is for one environment. Name another one with --releases DIR, "
                "or --set promotion.releases_dir=DIR"
            )
        if known:
            return


def _by_weight(history: History) -> Iterator[tuple[str, str]]:
    """Yield what a release is called, and its digest."""
    for name in ("champion", "candidate"):
        if (release := getattr(history.state, name)) is not None:
            yield f"the {name}", release
    for event in reversed(history.events):
        if event.release is not None:
            yield "release", event.release


def _environment_of(bundle: Path) -> str:
    """Return the environment of a bundle's policy; empty where it cannot be read, which `verify` tells."""
    try:
        document = json.loads(read_file(bundle / _DOCUMENT_NAME, _MAX_DOCUMENT_BYTES, DataError))
        return str(document["provenance"]["environment"])
    except (TownletError, ValueError, KeyError, TypeError, RecursionError):
        return ""
