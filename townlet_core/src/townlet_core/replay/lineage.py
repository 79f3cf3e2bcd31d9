"""`dataset_lineage`: the datasets that a dataset was made from, as far as they are still there, and its sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from townlet_core.dto.lineage import LineageNode
from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.dataset import Dataset, is_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from townlet_core.replay.schema import DatasetManifest, Parent, Source

_MAX_DEPTH = 64
_SOURCE_FACTS = (
    "kind",
    "environment",
    "scenario",
    "scenario_digest",
    "policy",
    "policy_digest",
    "config_digest",
    "deterministic",
    "format",
    "path",
    "sha256",
)


def dataset_lineage(path: Path) -> LineageNode:
    """Return what the dataset at `path` was made from.

    Parents are looked for where they lay (from the working directory) and, by the same name, beside the dataset that
    names them, and are known by their digest.

    Raises:
        MissingInputError: there is no dataset.
        DatasetError: its manifest is damaged; that of a parent makes that parent `changed`.
    """
    dataset = Dataset(path)
    return _node(path, dataset.manifest, dataset.digest)


def find_dataset(digest: str, candidates: Iterable[Path], *, how: str, depth: int = 0, **fields: Any) -> LineageNode:
    """Return the dataset that has a digest, wherever of several places it lies.

    Args:
        digest: the digest that was recorded.
        candidates: directories, the first of which is where it lay.
        how: what was made from it.
        depth: how many stand above.
        **fields: of the node.
    """
    places = list(dict.fromkeys(candidates))
    state: Literal["changed", "missing"] = "missing"
    for place in places:
        if not is_dataset(place):
            continue
        try:
            dataset = Dataset(place)
        except (DatasetError, MissingInputError):
            state = "changed"
            continue
        if dataset.digest == digest:
            return _node(place, dataset.manifest, digest, how=how, depth=depth, **fields)
        state = "changed"
    path = str(places[0]) if places else ""
    return LineageNode(kind="dataset", state=state, path=path, digest=digest, how=how, **fields)


def _node(path: Path, manifest: DatasetManifest, digest: str, *, depth: int = 0, **fields: Any) -> LineageNode:
    facts = {
        "episodes": sum(shard.num_episodes for shard in manifest.shards),
        "agent_steps": sum(shard.num_rows for shard in manifest.shards),
        "complete": manifest.complete,
    }
    made_from = [_parent(parent, path, depth + 1) for parent in manifest.parents] if depth < _MAX_DEPTH else []
    # What a curated dataset says about sources is what its parents say, unless those are gone.
    if not made_from or any(node.state != "verified" for node in made_from):
        made_from += [_source(source) for source in manifest.sources]
    return LineageNode(
        kind="dataset",
        state="verified",
        path=str(path),
        digest=digest,
        facts=facts,
        made_from=tuple(made_from),
        **fields,
    )


def _parent(parent: Parent, child: Path, depth: int) -> LineageNode:
    lay = Path(parent.path)
    beside = child.absolute().parent
    candidates = (lay, beside / lay.name, *(() if lay.is_absolute() else (beside / lay,)))
    return find_dataset(parent.digest, candidates, how=parent.operation, options=dict(parent.options), depth=depth)


def _source(source: Source) -> LineageNode:
    values = {name: getattr(source, name) for name in _SOURCE_FACTS}
    facts = {name: value for name, value in values.items() if value not in ("", None)}
    return LineageNode(kind="source", state="recorded", path=source.path, how=source.kind, facts=facts)
