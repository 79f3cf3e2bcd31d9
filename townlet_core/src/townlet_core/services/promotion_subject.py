"""`PromotionSubject`: a policy that is judged, with the files that become its bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from townlet_core.checkpoint.manifest import read_directory, read_file
from townlet_core.errors import ArtefactError, DataError, MissingInputError
from townlet_core.policy.artefact import MAX_BYTES, POLICY_DIR, load_artefact
from townlet_core.policy.unfinished import policy_path, resume_command
from townlet_core.releases.bundle import ORIGIN_FILES, policy_digest
from townlet_core.runs.layout import RECORD_NAME
from townlet_core.runs.status import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from townlet_core.policy.encoder import EncoderResolver

_MAX_ORIGIN_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionSubject:
    """A policy whose files verified.

    Attributes:
        files: the files of its bundle, plain name -> contents.
        digest: of the policy.
        run: name of the run that it came from; empty if it is none's.
        environment: the environment that it was trained in; empty if unknown.
        written_anew: its digest if this version wrote it; an earlier version may have written it otherwise.
    """

    files: Mapping[str, bytes]
    digest: str
    run: str
    environment: str
    written_anew: str

    def is_called(self, digest: str) -> bool:
        """Return whether a result that names `digest` is about this policy."""
        return digest in (self.digest, self.written_anew)

    @classmethod
    def read(cls, source: Path, *, encoders: EncoderResolver) -> Self:
        """Return the policy of a run, or the one that lies at `source`.

        Raises:
            MissingInputError: there is none, or none yet: a release is what a run has come to, with its result.
            ArtefactError: it is damaged, or no policy.
            DataError: a file of the run is too large, or no file.
        """
        path = policy_path(source)
        if not path.exists():
            raise MissingInputError(
                f"{source} has not finished: a release is kept with the result of its run, and a checkpoint has none. "
                f"Let it finish first: {resume_command(source)}"
            )
        artefact = load_artefact(path, encoders=encoders)  # is a policy, and has finite weights
        files = read_directory(path, max_bytes=MAX_BYTES, error=ArtefactError)
        digest = policy_digest(files, where=path)
        run, name = path.parent, ""
        if path.name == POLICY_DIR and os.path.lexists(run / RECORD_NAME):
            name = read_record(run / RECORD_NAME).id
            for file, kept in ORIGIN_FILES.items():
                if os.path.lexists(run / file):
                    files[kept] = read_file(run / file, _MAX_ORIGIN_BYTES, DataError)
        environment = artefact.document.provenance.environment
        return cls(files=files, digest=digest, run=name, environment=environment, written_anew=artefact.digest)
