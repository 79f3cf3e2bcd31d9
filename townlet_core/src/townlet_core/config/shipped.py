"""Documents that are asked for by name: those that a package ships, and the user's own files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from townlet_core.config.document import parse_yaml, read_document
from townlet_core.errors import ConfigError, MissingInputError, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.config.document import Document

_ENDINGS = {".yaml", ".yml", ".json"}


def read_named(
    name: str, *, shipped: Sequence[str], package: str, folder: str, what: str, example: str, field: str = ""
) -> tuple[Document, str]:
    """Return what the document says, and what errors call it.

    Args:
        name: one of `shipped`, or a file.
        shipped: names of those that the package has.
        package: the package.
        folder: where in it they lie.
        what: what such a document is called.
        example: name of a file of the user's own, for the message.
        field: begin of the message where a setting names the document, such as ``environment.scenario: ``.

    Raises:
        ConfigError: there is none of that name, or the file is malformed.
        MissingInputError: there is no such file.
    """
    if name in shipped:
        source = f"{name}.yaml"
        text = resources.files(package).joinpath(folder, source).read_text(encoding="utf-8")
        return parse_yaml(text, source=source), source
    path = Path(name)
    if path.suffix.lower() not in _ENDINGS and path.name == name:
        raise ConfigError(
            f"{field}there is no {what} {name!r}{suggestion(name, shipped)} (there are {', '.join(shipped)}; a file of "
            f"your own is named with its ending, such as {example})"
        )
    try:
        return read_document(path), str(path)
    except MissingInputError as error:
        raise MissingInputError(f"{field}there is no {what} file {path}") from error
