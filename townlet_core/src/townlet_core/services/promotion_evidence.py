"""Evidence for a promotion: the comparison with the champion, read from a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pydantic import ValidationError

from townlet_core.checkpoint.manifest import first_problem, read_file
from townlet_core.dto.promotion import PromotionEvidence
from townlet_core.errors import DataError, MissingInputError
from townlet_core.releases.writer import MAX_EVIDENCE_BYTES

if TYPE_CHECKING:
    from pathlib import Path


def read_evidence(path: Path) -> tuple[PromotionEvidence, bytes]:
    """Return the comparison in a file, and the file.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is no comparison; the text names the field.
    """
    if not os.path.lexists(path):
        raise MissingInputError(f"{path} does not exist")
    data = read_file(path, MAX_EVIDENCE_BYTES, DataError)
    try:
        return PromotionEvidence.model_validate_json(data), data
    except ValidationError as error:
        raise DataError(f"{path} is no comparison of two policies: {first_problem(error)}") from error
