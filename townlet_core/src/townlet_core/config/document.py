"""A configuration file as plain data, with the line of every key: YAML 1.2 scalars, no tags, aliases or duplicates."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from townlet_core.config.base import MAX_DEPTH
from townlet_core.errors import ConfigError, MissingInputError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1_000_000
"""Largest configuration file that is read. [bytes]"""

_NULLS = {"", "~", "null", "Null", "NULL"}
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?[0-9](_?[0-9])*")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9](_?[0-9])*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says.

    Attributes:
        values: its sections and values; not checked to be a mapping by `parse_yaml`.
        lines: line of each key by dotted path, and of each section in a list, counted from 1; empty for JSON.
    """

    values: Any
    lines: dict[str, int] = field(default_factory=dict)


def read_document(path: Path, *, max_expanded: int = 0) -> Document:
    """Read a YAML file, or a JSON file when its name ends in ``.json``.

    Args:
        path: the file.
        max_expanded: values that YAML may have once aliases are written out; 0 allows no alias.

    Raises:
        MissingInputError: there is no such file.
        StorageError: it cannot be read.
        ConfigError: it is too large, not UTF-8, malformed, or has a duplicate key; with the line where that is known.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MissingInputError(
            f"there is no configuration file {path}; `townlet config init {path}` writes one to start from"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read the configuration file {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes, the most that a configuration file may have")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
    if path.suffix.lower() == ".json":
        document = _parse_json(text, source=str(path))
    else:
        document = parse_yaml(text, source=str(path), max_expanded=max_expanded)
    if document.values is None:
        return Document({}, {})
    if not isinstance(document.values, dict):
        raise ConfigError(
            f"{path}: holds a {type(document.values).__name__}; must be a mapping of sections ('training: {{seed: 1}}')"
        )
    return document


def parse_yaml(text: str, *, source: str, max_expanded: int = 0) -> Document:
    """Return the data of one YAML document; `source` is what errors call it.

    Args:
        text: the document.
        source: what errors call it.
        max_expanded: values that there may be once aliases are written out; 0 allows no alias.

    Raises:
        ConfigError: it is malformed, or uses what a configuration does not need (tags, aliases, keys other than text).
    """
    try:
        loader = _Composer(text)
        loader.has_aliases = max_expanded > 0
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        if node is not None and loader.has_aliases and _expanded(node, {})[0] > max_expanded:
            raise _error(f"aliases make it more than {max_expanded:,} values", node.start_mark)
        lines: dict[str, int] = {}
        return Document(None if node is None else _value(node, "", lines), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{source}{line}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {error}") from error


def parse_scalar(text: str) -> Any:
    """Return the value of an unquoted scalar under the YAML 1.2 core rules: ``off`` is text, ``1e-4`` is a number."""
    if text in _NULLS:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return (
        float(text.replace(".i", "i").replace(".I", "I").replace(".n", "n").replace(".N", "N"))
        if FLOAT.fullmatch(text)
        else text
    )


class _Composer(yaml.BaseLoader):
    """PyYAML's composer, bounded in depth, without tags, by default without aliases; nothing is constructed by it."""

    has_aliases = False
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        if isinstance(event, yaml.AliasEvent) and not self.has_aliases:
            raise _error(f"the alias '*{event.anchor}' is not supported; write the value out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _error(f"the tag '{event.tag}' is not supported; write plain values", event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _error(f"nested more than {MAX_DEPTH} levels deep", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _error(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _expanded(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return how many values a node is once aliases are written out, and how deep they are nested."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise _error("an alias stands within what it stands for", node.start_mark)
        return size
    known[id(node)] = None
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    parts = [_expanded(child, known) for child in children]
    known[id(node)] = size = 1 + sum(count for count, _ in parts), 1 + max((depth for _, depth in parts), default=0)
    if size[1] > MAX_DEPTH:
        raise _error(f"nested more than {MAX_DEPTH} levels deep", node.start_mark)
    return size


def _value(node: yaml.Node, path: str, lines: dict[str, int]) -> Any:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            if isinstance(item, yaml.MappingNode):
                lines[f"{path}[{index}]"] = item.start_mark.line + 1
        return [_value(item, f"{path}[{index}]", lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key(key_node)
            below = f"{path}.{key}" if path else key
            if key in values:
                raise _error(
                    f"the key '{below}' stands here a second time (first in line {lines[below]}); keep one",
                    key_node.start_mark,
                )
            lines[below] = key_node.start_mark.line + 1
            values[key] = _value(value_node, below, lines)
        return values
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return node.value
    try:
        return parse_scalar(node.value)
    except ValueError as error:  # an integer of thousands of digits
        raise _error(f"not a number that can be read: {error}", node.start_mark) from error


def _key(node: yaml.Node) -> str:
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    key = parse_scalar(node.value) if plain else node.value
    if not isinstance(key, str):
        raise _error(
            f"the key {str(node.value)[:40]!r} is not text; put it in quotes if it is meant as text",
            node.start_mark,
        )
    return key


def _parse_json(text: str, *, source: str) -> Document:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise ConfigError(f"{source}: the key '{twice}' stands twice in one object; keep one")
        return values

    def refuse(name: str) -> Any:
        raise ConfigError(f"{source}: {name} is not a finite number")

    try:
        values = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}:{error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise ConfigError(f"{source}: not a number that can be read: {error}") from error
    _require_depth(values, source=source)
    return Document(values)


def _require_depth(value: Any, *, source: str, levels: int = MAX_DEPTH) -> None:
    if levels < 0:
        raise ConfigError(f"{source}: nested more than {MAX_DEPTH} levels deep")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        _require_depth(part, source=source, levels=levels - 1)
