"""Files that come from outside: where they may lie, how large and how deep they may be, and one error for all of it."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from townlet_core.checkpoint.filesystem import storage_error
from townlet_core.checkpoint.manifest import read_file
from townlet_core.config.document import parse_yaml
from townlet_core.errors import ConfigError, DatasetError, TownletError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_JSON_BYTES = 16 << 20
MAX_YAML_BYTES = 1 << 20
"""YAML is read much more slowly than JSON."""
MAX_YAML_VALUES = 200_000
"""Aliases written out. Python's `yaml` writes one for every object that stands in two places."""
MAX_NODES = 1_000_000
MAX_DEPTH = 32
MAX_NAME = 1024


@contextmanager
def dataset_guard(path: Path | str) -> Iterator[None]:
    """Turn whatever the block raises into a `DatasetError` that names `path`; Townlet's own errors pass.

    What may not be read is a `StorageError`: a `DatasetError` is about contents.

    Libraries that parse hostile bytes raise nearly anything, so this catches `Exception`, running out of memory or of
    stack included. An interrupt passes.
    """
    try:
        yield
    except TownletError:
        raise
    except PermissionError as error:
        raise storage_error("read", path, error) from error
    except Exception as error:
        raise DatasetError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The directories that a file's contents may name files in.

    Attributes:
        bases: where a relative name is looked for, in this order.
        roots: directories one of which a named file has to lie in, links in its path resolved.
    """

    bases: tuple[Path, ...]
    roots: tuple[Path, ...]

    def below(self, *first: Path) -> Places:
        """Return places whose first bases are the given ones; what may be read does not change."""
        return Places(bases=(*first, *self.bases), roots=self.roots)

    def find(self, name: object, *, what: str, source: Path) -> Path:
        """Return where the file lies that a text in the file `source` names; its last part is not followed if a link.

        Args:
            name: the text.
            what: what the text is, for errors: `sample`, `manifest`.
            source: the file that says so.

        Raises:
            DatasetError: the text is not a path of the kind that is allowed, the file is missing, or it lies elsewhere.
        """
        text = _plain_path(name, what=what, source=source)
        tried = [base / text for base in self.bases] if not Path(text).is_absolute() else [Path(text)]
        with dataset_guard(source):
            for path in tried:
                if path.exists():
                    return self._inside(path, text, what=what, source=source)
        places = " and ".join(dict.fromkeys(str(path) for path in tried))
        raise DatasetError(f"{source}: the {what} {text!r} is missing; looked for {places}")

    def _inside(self, path: Path, text: str, *, what: str, source: Path) -> Path:
        real = path.parent.resolve() / path.name
        allowed = list(dict.fromkeys(root.resolve() for root in self.roots))
        if not any(real.is_relative_to(root) for root in allowed):
            raise DatasetError(
                f"{source}: the {what} {text!r} lies outside of {', '.join(map(str, allowed))}; if its files may be "
                f"read, add the directory: --root {real.parent} (roots=[...] in Python)"
            )
        return real


def path_problem(name: object) -> str:
    """Return why a text may not name a file, or an empty string where it may."""
    if not isinstance(name, str) or not name:
        return f"is {type(name).__name__ if not isinstance(name, str) else 'empty'}, and a path is expected"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    for sign, reason in (("\0", "a NUL"), ("\\", "a backslash: write '/'"), (":", "a colon")):
        if sign in name:
            return f"contains {reason}"
    if name.startswith("~"):
        return "begins with '~': write the directory out"
    if ".." in PurePosixPath(name).parts:
        return "contains '..': move the file that names it, or write an absolute path"
    return "" if PurePosixPath(name).name else "names no file"


def _plain_path(name: object, *, what: str, source: Path) -> str:
    problem = path_problem(name)
    if problem:
        raise DatasetError(f"{source}: the {what} {str(name)[:200]!r} {problem}")
    return str(name)


def standard_places(source: Path, *, roots: Sequence[Path] = (), working_dir: Path = Path()) -> Places:
    """Return the places for what the file `source` names: beside it, then the working directory; then `roots`.

    The given roots do not serve to find relative names: absolute ones, and links, may lead there.
    """
    bases = (source.parent, working_dir)
    return Places(bases=bases, roots=(*bases, *roots))


def read_document(path: Path) -> Any:
    """Return what a JSON file says, or a YAML file where the name ends in `.yaml` or `.yml`.

    Raises:
        DatasetError: it is missing, too large, too deep, malformed, has a key twice, or a number that is not finite.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        return read_json(path)
    data = read_file(path, MAX_YAML_BYTES, DatasetError)
    with dataset_guard(path):
        try:
            values = parse_yaml(_text(data, path), source=str(path), max_expanded=MAX_YAML_VALUES).values
        except ConfigError as error:
            raise DatasetError(str(error)) from error
        _check_values(values, path)
        return values


def read_json(path: Path) -> Any:
    """Return what a JSON file says; raises `DatasetError` as `read_document`."""
    return parse_json(read_file(path, MAX_JSON_BYTES, DatasetError), path)


def parse_json(data: bytes, path: Path) -> Any:
    """Return what JSON text says; `path` is what errors call it.

    Raises:
        DatasetError: as `read_document`.
    """
    # Every value but the first follows one of these, so this bounds the objects before they are made. Those within
    # texts are counted too.
    if sum(map(data.count, (b",", b"[", b"{", b":"))) > MAX_NODES:
        raise DatasetError(f"{path} has more than {MAX_NODES:,} values")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for index, key in enumerate(keys) if key in keys[:index])
            raise DatasetError(f"{path}: the key {twice[:200]!r} stands twice in one object; keep one")
        return values

    with dataset_guard(path):
        try:
            values = json.loads(_text(data, path), object_pairs_hook=unique)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
        except RecursionError as error:
            raise DatasetError(f"{path} is nested more than {MAX_DEPTH} levels deep") from error
        _check_values(values, path)
        return values


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error


def _check_values(value: Any, path: Path, depth: int = 0) -> None:
    """Raise `DatasetError` for what is too deep, for numbers that are not finite, and for text that is no text."""
    if depth > MAX_DEPTH:
        raise DatasetError(f"{path} is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, part in value.items():
            _check_values(key, path, depth + 1)
            _check_values(part, path, depth + 1)
    elif isinstance(value, list):
        for part in value:
            _check_values(part, path, depth + 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise DatasetError(f"{path}: {value} is not a finite number; write null where a number is unknown")
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(f"{path}: {value[:40]!a} is half of a character, and no text") from error
