"""A configuration as text and as a digest, both the same for equal configurations."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import yaml

from townlet_core.config.document import FLOAT, INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from townlet_core.config.base import Settings


class _Dumper(yaml.SafeDumper):
    """Writes what both PyYAML's readers (YAML 1.1) and ours (YAML 1.2 core) understand alike, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (the signature is PyYAML's)
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Represent text; in double quotes where it holds the line breaks that PyYAML does not escape elsewhere."""
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_FIRST_CHARACTERS = list("-+.0123456789")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", INTEGER, _FIRST_CHARACTERS)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, _FIRST_CHARACTERS)


def to_yaml(data: Any) -> str:
    """Return JSON data as YAML in block style, keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31, default_flow_style=False)


def dump_yaml(config: Settings) -> str:
    """Return every field of `config` as YAML; reading it back gives an equal configuration."""
    return to_yaml(config.model_dump(mode="json"))


_NOT_COMPARED = {"tracking": (), "promotion": (), "training": ("runs_dir", "capture_rollouts")}
"""What changes no result: whole sections, and fields of others."""


def experiment(config: Settings) -> dict[str, Any]:
    """Return `config` as JSON without what changes no result: trackers, progress, promotion, where and what is kept."""
    return experiment_of(config.model_dump(mode="json"))


def experiment_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same of a configuration that is JSON already, such as one that was written by an earlier version."""
    kept = {name: section for name, section in values.items() if _NOT_COMPARED.get(name) != ()}
    for name in _NOT_COMPARED.keys() & kept.keys():
        kept[name] = {key: value for key, value in kept[name].items() if key not in _NOT_COMPARED[name]}
    return kept


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path of each value, its keys joined by dots behind `prefix`, and the value."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def config_digest(config: Settings) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of the `experiment`: sorted keys, no spaces, UTF-8."""
    return experiment_digest(experiment(config))


def experiment_digest(data: Mapping[str, Any]) -> str:
    """Return the `config_digest` of a configuration whose `experiment` is `data`."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
