"""A configuration file to start from: every field with its default, what it may be and what it does."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from townlet_core.config.dump import to_yaml
from townlet_core.config.sections import every_knob, section_summaries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.config.base import Settings
    from townlet_core.config.describe import Knob

_WIDTH = 100


def starter(strategies: Mapping[str, type[Settings]], *, values: Mapping[str, Any] | None = None) -> str:
    """Return the text of a commented YAML file that loads to the defaults.

    Args:
        strategies: settings models of the strategies whose sections it is to have, by name.
        values: values other than the default, by dotted path.
    """
    summaries = section_summaries(strategies)
    lines = ["# A configuration of Townlet. Every value below is its default: delete what you do not change."]
    lines += ["# `townlet config explain FILE` says where each value comes from.", ""]
    open_sections: list[str] = []
    for knob in every_knob(strategies):
        *sections, name = knob.path.split(".")
        if sections != open_sections:
            lines += _headings(sections, open_sections, summaries)
            open_sections = sections
        lines += _entry(name, knob, (values or {}).get(knob.path, knob.default), indent="  " * len(sections))
    return "\n".join(lines).rstrip() + "\n"


def _headings(sections: list[str], before: list[str], summaries: Mapping[str, str]) -> list[str]:
    """Return the lines that open the sections which are not open yet."""
    shared = 0
    while shared < min(len(sections), len(before)) and sections[shared] == before[shared]:
        shared += 1
    lines = []
    for depth in range(shared, len(sections)):
        indent = "  " * depth
        if depth == 0 and before:
            lines.append("")
        lines += _comment(summaries.get(".".join(sections[: depth + 1]), ""), indent)
        lines.append(f"{indent}{sections[depth]}:")
    return lines


def _entry(name: str, knob: Knob, value: Any, *, indent: str) -> list[str]:
    text = to_yaml({name: value}).rstrip("\n")
    return [
        *_comment(f"{knob.description} Allowed: {knob.allowed}.", indent),
        *textwrap.indent(text, indent).split("\n"),
        "",
    ]


def _comment(text: str, indent: str) -> list[str]:
    mark = f"{indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=mark, subsequent_indent=mark, break_long_words=False, break_on_hyphens=False
    )
