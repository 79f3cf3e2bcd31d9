"""A recording of the town as one page of HTML that plays it, with nothing to fetch from anywhere.

Legend: T frames, A agent slots, O objects.
"""

from __future__ import annotations

import base64
import html
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.report.town_look import ICONS, KIND_COLOURS, NEED_COLOURS, agent_colours, object_labels

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.simulation.recording import Recording

SCRIPTS = ("recording.js", "words.js", "map.js", "timeline.js", "panels.js", "follow.js", "player.js")
"""In the order in which the page runs them."""

_UNIT_NAMES = ("hunger", "hygiene", "energy")
_INTEGERS = (("i1", np.int8), ("i2", np.int16), ("i4", np.int32))
_MARKS = ("TITLE", "STYLE", "RECORDING", "SCRIPT")


def town_player(recording: Recording) -> str:
    """Return the page."""
    scenario = recording.scenario
    contents = {
        "TITLE": html.escape(f"{scenario.name} · Townlet"),
        "STYLE": _asset("style.css"),
        "RECORDING": _embedded(_document(recording)),
        "SCRIPT": "\n".join(_asset(name) for name in SCRIPTS),
    }
    page, rest = "", _asset("town_player.html")
    for mark in _MARKS:  # each looked for behind the one before, so that no content can pass for a mark
        before, found, rest = rest.partition(f"@@{mark}@@")
        assert found, mark
        page += before + contents[mark]
    return page + rest


def _asset(name: str) -> str:
    package = resources.files("townlet_core.report")
    folder = package if name.endswith(".html") else package / "player"
    return (folder / name).read_text(encoding="utf-8")


def _embedded(document: dict[str, Any]) -> str:
    """Return JSON that can stand within a script element: nothing in it can end that, or begin another."""
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _document(recording: Recording) -> dict[str, Any]:
    scenario = recording.scenario
    kinds = [thing.kind for thing in scenario.objects]
    slots = [agent for agent in scenario.agents for _ in range(agent.count)]
    event_kinds = sorted({event.kind for event in recording.events})
    return {
        "name": scenario.name,
        "description": scenario.description,
        "seed": recording.seed,
        "policy": recording.policy,
        "rows": scenario.size[0],
        "columns": scenario.size[1],
        "startTick": scenario.start_tick,
        "dayTicks": recording.day_ticks,
        "frames": recording.num_frames,
        "things": [
            {"kind": thing.kind, "y": thing.at[0], "x": thing.at[1], "label": label}
            for thing, label in zip(scenario.objects, object_labels([*kinds]), strict=True)
        ],
        "people": [
            {"colour": colour, "job": slot.job, "shift": slot.shift}
            for slot, colour in zip(slots, agent_colours(len(slots)), strict=True)
        ],
        "icons": {kind: ICONS[kind] for kind in dict.fromkeys(kinds)},
        "colours": {**KIND_COLOURS, **NEED_COLOURS},
        "agents": {name: _packed(name, table) for name, table in recording.agents.items()},
        "terms": {name: _packed(name, table) for name, table in recording.reward_terms.items() if table.any()},
        "objects": {name: _packed(name, table) for name, table in recording.objects.items()},
        "perturbations": {name: _packed(name, table) for name, table in recording.perturbations.items() if table.any()},
        "eventKinds": event_kinds,
        "events": [
            [event.tick, event_kinds.index(event.kind), event.actor, event.target, round(event.value, 3)]
            for event in recording.events
        ],
    }


def _packed(name: str, table: Array) -> dict[str, Any]:
    """Return a table as base64 of little-endian integers, with what one of them is worth.

    Integers are exact; needs are kept to 1/255, other numbers to 1/32767 of the largest.
    """
    if name in _UNIT_NAMES:
        scale = 1 / 255
        whole, kind = np.rint(table * 255).astype(np.uint8), "u1"
    elif table.dtype.kind == "f":
        scale = float(np.abs(table).max(initial=0)) / 32767 or 1.0
        whole, kind = np.rint(table / scale).astype("<i2"), "i2"
    else:
        scale = 1
        low, high = int(table.min(initial=0)), int(table.max(initial=0))
        kind, dtype = next(one for one in _INTEGERS if np.iinfo(one[1]).min <= low and high <= np.iinfo(one[1]).max)
        whole = table.astype(np.dtype(dtype).newbyteorder("<"))
    return {"kind": kind, "scale": scale, "data": base64.b64encode(np.ascontiguousarray(whole).tobytes()).decode()}
