"""`lineage`: what a dataset, a policy or the policy of a run was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from townlet_core.config.load import load_config
from townlet_core.dto.lineage import LineageNode
from townlet_core.errors import MissingInputError, TownletError
from townlet_core.policy.artefact import DOCUMENT_FILE, artefact_path, load_artefact
from townlet_core.replay.dataset import is_dataset
from townlet_core.replay.lineage import dataset_lineage, find_dataset
from townlet_core.runs.layout import CONFIG_NAME, RECORD_NAME
from townlet_core.runs.status import read_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.policy.encoder import EncoderResolver


def lineage(path: Path, *, encoders: EncoderResolver | None = None) -> LineageNode:
    """Return what lies at `path`, and what it was made from.

    Args:
        path: the directory of a dataset, of an artefact, or of a run, which stands for its policy.
        encoders: finds the networks of plugins; without it only built-in ones are known.

    Raises:
        MissingInputError: there is none of these.
        DatasetError: the manifest of the dataset is damaged.
        ArtefactError: the artefact is damaged.
    """
    if is_dataset(path):
        return dataset_lineage(path)
    if not path.is_dir():
        raise MissingInputError(f"{path} is no directory: name a dataset, a run or a policy")
    policy_path = artefact_path(path)
    if not (policy_path / DOCUMENT_FILE).is_file():
        raise MissingInputError(f"{path} is neither a dataset nor a run nor a policy")
    return _policy(policy_path, encoders)


def _policy(path: Path, encoders: EncoderResolver | None) -> LineageNode:
    artefact = load_artefact(path) if encoders is None else load_artefact(path, encoders=encoders)
    provenance = artefact.document.provenance
    run = path.parent
    made_from = []
    if provenance.dataset_digest:
        made_from.append(find_dataset(provenance.dataset_digest, _datasets_of(run), how=provenance.strategy))
    initial = _initial_policy(run)
    if initial:
        made_from.append(LineageNode(kind="policy", state="recorded", digest=initial, how="continued"))
    return LineageNode(
        kind="policy",
        state="verified",
        path=str(path),
        digest=artefact.digest,
        facts={name: value for name, value in provenance.model_dump().items() if value},
        made_from=tuple(made_from),
    )


def _datasets_of(run: Path) -> Iterator[Path]:
    """Yield the datasets that the configuration of a run names, as they are named from the working directory."""
    if not (run / CONFIG_NAME).is_file():
        return
    try:
        sections = load_config(run / CONFIG_NAME).config.strategies
    except TownletError:
        return  # the digest is known all the same
    for section in sections.values():
        named = section.get("dataset")
        if isinstance(named, str):
            yield Path(named)


def _initial_policy(run: Path) -> str:
    try:
        return read_record(run / RECORD_NAME).initial_policy
    except TownletError:
        return ""
