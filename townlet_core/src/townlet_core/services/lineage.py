"""`lineage`: what a dataset, a policy, the policy of a run or a release was made from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from townlet_core.config.load import load_config
from townlet_core.dto.anneal import AnnealSummaryDTO
from townlet_core.dto.lineage import LineageNode
from townlet_core.errors import MissingInputError, TownletError
from townlet_core.policy.artefact import DOCUMENT_FILE, artefact_path, load_artefact
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.releases.bundle import ORIGIN_FILES
from townlet_core.replay.dataset import is_dataset
from townlet_core.replay.lineage import dataset_lineage, find_dataset
from townlet_core.runs.layout import CONFIG_NAME, RECORD_NAME, RESULT_NAME, STAGES_NAME
from townlet_core.runs.status import read_record
from townlet_core.services.policy_search import PolicySearch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from townlet_core.policy.artefact import Provenance
    from townlet_core.policy.encoder import EncoderResolver
    from townlet_core.runs.status import RunRecord

_MAX_RESULT_BYTES = 64 << 20
_RUN_FACTS = ("strategy", "environment", "seed", "agent_steps", "created")


def lineage(path: Path, *, encoders: EncoderResolver = built_in_encoder) -> LineageNode:
    """Return what lies at `path`, and what it was made from.

    Policies that are known by their digest alone are looked for in the runs beside what names them, and in `runs/` of
    the working directory.

    Args:
        path: the directory of a dataset, of an artefact, or of a run, which stands for its policy.
        encoders: finds the networks of plugins; without it only built-in ones are known.

    Raises:
        MissingInputError: there is none of these.
        DatasetError: the manifest of the dataset is damaged.
        ArtefactError: the artefact is damaged.
    """
    family = _Family(encoders)
    if is_dataset(path):
        return family.grown(dataset_lineage(path), (path.parent, path.parent / "runs"))
    if not path.is_dir():
        raise MissingInputError(f"{path} is no directory: name a dataset, a run or a policy")
    policy_path = artefact_path(path)
    if not (policy_path / DOCUMENT_FILE).is_file():
        raise MissingInputError(f"{path} is neither a dataset nor a run nor a policy")
    return family.policy(policy_path)


def release_lineage(bundle: Path, *, runs_dir: Path, encoders: EncoderResolver = built_in_encoder) -> LineageNode:
    """Return the run that a release came from, and what that was made from.

    What the run's record and configuration said is in the bundle; datasets and policies are known by their digests and
    looked for as `lineage` does.

    Args:
        bundle: directory of the release.
        runs_dir: where its run is likely to be.
        encoders: finds the networks of plugins.

    Raises:
        ArtefactError: the policy is damaged.
    """
    return _Family(encoders).release(bundle, runs_dir)


class _Family:
    """Makes the tree. What a policy was made from is told once: run.json can say anything, itself included.

    Args:
        encoders: finds the networks of artefacts.
    """

    def __init__(self, encoders: EncoderResolver) -> None:
        self._encoders, self._search, self._told = encoders, PolicySearch(), set[str]()

    def policy(self, path: Path, **fields: Any) -> LineageNode:
        """Return the node of the policy at `path`; raises `ArtefactError`."""
        artefact = load_artefact(path, encoders=self._encoders)
        provenance = artefact.document.provenance
        node = LineageNode(
            kind="policy",
            state="verified",
            path=str(path),
            digest=artefact.digest,
            facts={name: value for name, value in provenance.model_dump().items() if value},
            **fields,
        )
        if artefact.digest in self._told:
            return node
        run = path.parent
        owner = run.parent.parent if run.parent.name == STAGES_NAME else run  # a stage is told of in its run's files
        self._told.add(artefact.digest)
        datasets = _datasets_of(owner / CONFIG_NAME, owner.absolute().parent)
        initial = _initial_of_stage(owner / RESULT_NAME, artefact.digest) or _initial_policy(run / RECORD_NAME)
        made_from = self._made_from(provenance, datasets, initial, (run.parent, run, owner / STAGES_NAME))
        return node.model_copy(update={"made_from": made_from})

    def release(self, bundle: Path, runs_dir: Path) -> LineageNode:
        """Return the node of a release; raises `ArtefactError`."""
        artefact, origin = load_artefact(bundle, encoders=self._encoders), bundle / ORIGIN_FILES[RECORD_NAME]
        provenance = artefact.document.provenance
        initial = _initial_of_stage(bundle / ORIGIN_FILES[RESULT_NAME], bundle.name) or _initial_policy(origin)
        near: tuple[Path, ...] = (runs_dir, runs_dir.parent)
        if origin.is_file():
            near = (*near, runs_dir / read_record(origin).id / STAGES_NAME)
        datasets = _datasets_of(bundle / ORIGIN_FILES[CONFIG_NAME], runs_dir.absolute())
        self._told.add(bundle.name)
        made_from = self._made_from(provenance, datasets, initial, near)
        if origin.is_file():
            made_from = (self._run(bundle.name, read_record(origin), runs_dir, made_from),)
        return LineageNode(
            kind="release",
            state="verified",
            path=str(bundle),
            digest=bundle.name,
            facts={name: value for name, value in provenance.model_dump().items() if value},
            made_from=made_from,
        )

    def _run(self, digest: str, record: RunRecord, runs_dir: Path, made_from: tuple[LineageNode, ...]) -> LineageNode:
        """Return the node of a run that gave a policy, whether it is still there or not."""
        policy = self._search.find(digest, (runs_dir, runs_dir.parent, Path("runs")), name=record.id)
        facts = {name: getattr(record, name) for name in _RUN_FACTS}
        return LineageNode(
            kind="run",
            state="missing" if policy is None else "verified",
            path=str(runs_dir / record.id if policy is None else policy.parent),
            how=record.strategy,
            facts=facts,
            made_from=made_from,
        )

    def _made_from(
        self, provenance: Provenance, datasets: Iterable[Path], initial: str, near: tuple[Path, ...]
    ) -> tuple[LineageNode, ...]:
        """Return what a policy was made from: the dataset that it learned from, and the policy that it began as."""
        made_from = []
        if provenance.dataset_digest:
            dataset = find_dataset(provenance.dataset_digest, datasets, how=provenance.strategy)
            made_from.append(self.grown(dataset, near))
        if initial:
            missing = LineageNode(kind="policy", state="recorded", digest=initial, how="continued")
            made_from.append(self._found(initial, near, how="continued") or missing)
        return tuple(made_from)

    def grown(self, node: LineageNode, near: tuple[Path, ...]) -> LineageNode:
        """Return a tree of datasets in which the policies that acted are told as well, as far as they are found.

        Args:
            node: its root.
            near: directories in which runs may lie.
        """
        if node.kind == "dataset" and node.state == "verified":
            beside = Path(node.path).parent
            near = tuple(dict.fromkeys((*near, beside, beside / "runs")))
        made_from = [self.grown(child, near) for child in node.made_from]
        digest = node.facts.get("policy_digest") if node.kind == "source" else None
        if digest:
            found = self._found(digest, near, name=node.facts.get("policy", ""), how="acted")
            made_from += [found] if found else []
        return node.model_copy(update={"made_from": tuple(made_from)})

    def _found(self, digest: str, near: tuple[Path, ...], *, how: str, name: str = "") -> LineageNode | None:
        path = self._search.find(digest, (*near, Path("runs")), name=name)
        try:
            return None if path is None else self.policy(path, how=how)
        except TownletError:
            return None  # it needs a plugin that is not here


def _datasets_of(config: Path, above: Path) -> Iterator[Path]:
    """Yield the datasets that the configuration of a run names, seen from the working directory and from above the run.

    A run is made in `runs/` of the directory that its configuration is seen from, unless somebody says otherwise.

    Args:
        config: the configuration; there may be none.
        above: the directory that the run is or was in.
    """
    if not config.is_file():
        return
    try:
        sections = load_config(config).config.strategies
    except TownletError:
        return  # the digest is known all the same
    for section in sections.values():
        named = section.get("dataset")
        if isinstance(named, str):
            yield from (Path(named), above.parent / named, above / named)


def _initial_policy(record: Path) -> str:
    try:
        return read_record(record).initial_policy
    except TownletError:
        return ""


def _initial_of_stage(result: Path, digest: str) -> str:
    """Return the digest of the policy that a stage of a run began from; "" where no stage gave this policy.

    Args:
        result: the run's result; there may be none.
        digest: of the policy that the stage ended with.
    """
    try:
        with result.open("rb") as file:
            stages = AnnealSummaryDTO.model_validate_json(file.read(_MAX_RESULT_BYTES)).stages
    except (OSError, ValidationError):
        return ""  # it is no result of stages
    found = (stage.initial_digest for stage in stages if stage.digest == digest != stage.initial_digest)
    return next(found, "")
