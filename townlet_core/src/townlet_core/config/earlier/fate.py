"""What becomes of one key of an earlier configuration, and the usual ways to say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from townlet_core.config.document import parse_scalar

_TRUTHS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of a key.

    Attributes:
        targets: today's values by dotted path; empty where the key is left out.
        reason: why it is left out, or what is different now; "" where it means what it meant.
        unknown: keys within the value that nobody knows, such as ``[0].cycel``, with what is said of them.
    """

    targets: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    unknown: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Any, Mapping[str, Any]], Fate]
"""Takes a key's value, which is not null, and the whole earlier configuration."""


def number(value: Any) -> Any:
    """Return a number that is written as text as the number it is, as the earlier simulator read it."""
    if not isinstance(value, str):
        return value
    read = parse_scalar(value.strip())
    return read if isinstance(read, int | float) and not isinstance(read, bool) else value


def truth(value: Any) -> Any:
    """Return a truth value that is written as text, such as ``yes`` of YAML 1.1, as the truth value it is."""
    return _TRUTHS.get(value.lower(), value) if isinstance(value, str) else value


def same(value: Any) -> Any:
    """Return the value."""
    return value


def to(target: str, reason: str = "", *, read: Callable[[Any], Any] = number) -> Rule:
    """Return the rule of a key that has another name now; `reason` says what is different, if anything is."""
    return lambda value, _: Fate(targets={target: read(value)}, reason=reason)


def or_off(target: str) -> Rule:
    """Return the rule of a key whose 0, which meant that it is off, is null now."""

    def rule(value: Any, _: Mapping[str, Any]) -> Fate:
        if number(value) == 0:
            return Fate(targets={target: None}, reason="0 was off, and off is null now")
        return Fate(targets={target: number(value)})

    return rule


def left(reason: str) -> Rule:
    """Return the rule of a key, or of a whole section, that has no counterpart."""
    return lambda _, __: Fate(reason=reason)


def at(values: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or None."""
    found: Any = values
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
