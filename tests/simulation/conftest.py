"""Tiny towns for tests of the rules: built from a few words, and moved on by a few actions."""

import numpy as np
import pytest

from townlet_core.config.scenario import ScenarioConfig
from townlet_core.config.town import TownConfig
from townlet_core.simulation.town import Town

CONTENT = {"hunger": (1, 1), "hygiene": (1, 1), "energy": (1, 1), "personality": (0, 0, 0), "wallet": 4.0}


def make_scenario(objects=(), agents=(), *, size=(8, 8), ticks=1000, **more):
    """A scenario: objects as (kind, at) or dicts, agents as dicts that say how they differ from being content."""
    things = [thing if isinstance(thing, dict) else {"kind": thing[0], "at": thing[1]} for thing in objects]
    people = [CONTENT | agent for agent in agents]
    values = {"name": "tiny", "ticks": ticks, "size": size, "objects": things, "agents": people, **more}
    return ScenarioConfig.model_validate(values)


def make_town(objects=(), agents=(), *, worlds=1, seed=0, town=None, num_ticks=None, record=True, **scenario):
    """A town of `make_scenario`, reset, with records of its events; `town` holds constants that differ."""
    made = Town(
        TownConfig.model_validate(town or {}), make_scenario(objects, agents, **scenario), worlds, num_ticks=num_ticks
    )
    made.events.is_recording = record
    made.reset([seed] * worlds, range(worlds))
    return made


def do(town, *actions, times=1):
    """Let every world take the same actions, one for each agent (or for all), so often; return what the last gave."""
    rows = np.broadcast_to(np.array(actions), town.state.present.shape)
    for _ in range(times):
        given = town.step(rows)
    return given


def happened(town, kind):
    """The (actor, target) pairs of the last tick's events of a kind."""
    return [(record.actor, record.target) for record in town.events.records if record.kind == kind]


@pytest.fixture(scope="session")
def scenario_of():
    return make_scenario


@pytest.fixture(scope="session")
def town_of():
    return make_town


@pytest.fixture(scope="session")
def act():
    return do


@pytest.fixture(scope="session")
def events_of():
    return happened
