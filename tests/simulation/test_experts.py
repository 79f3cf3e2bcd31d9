"""The script: its priorities on tiny towns, and that it depends on what is seen alone."""

import numpy as np
import pytest

from townlet_core.simulation.experts import Script, step_towards
from townlet_core.simulation.observations import COLUMN, FEATURES
from townlet_core.simulation.tick import Action

WAIT, NORTH, EAST, SOUTH, WEST, USE, LEAVE, CHAT = Action
QUIET = {"personality": (-1, 0, 0)}


def decide(town):
    script = Script(rows=town.layout.rows, columns=town.layout.columns, day_ticks=town.config.day_ticks)
    return script.actions(town.observe()["features"], town.action_mask())


def live(town, ticks):
    for _ in range(ticks):
        town.step(decide(town))


def test_the_content_wait(town_of):
    assert decide(town_of([("fridge", (0, 0))], [{"at": (5, 5)} | QUIET])).tolist() == [[WAIT]]


@pytest.mark.parametrize(
    ("need", "kind", "step"), [("hunger", "fridge", NORTH), ("hygiene", "shower", SOUTH), ("energy", "bed", WEST)]
)
def test_it_walks_to_what_its_lowest_need_asks_for(town_of, need, kind, step):
    objects = [("fridge", (0, 5)), ("shower", (11, 5)), ("bed", (5, 0))]
    town = town_of(objects, [{"at": (5, 5), need: (0.3, 0.3)} | QUIET], size=(12, 12))
    assert decide(town).tolist() == [[step]]


@pytest.mark.parametrize(("need", "kind"), [("hunger", "fridge"), ("hygiene", "shower"), ("energy", "bed")])
def test_it_arrives_and_uses_and_is_better_off(town_of, need, kind):
    town = town_of([(kind, (1, 7))], [{"at": (6, 1), need: (0.35, 0.35)} | QUIET])
    live(town, 80)
    assert getattr(town.state, need)[0, 0] > 0.5


def test_it_begins_its_shift_in_time_and_stays(town_of):
    worker = {"at": (7, 7), "job": "cafe", "shift": (30, 60)} | QUIET
    town = town_of([("cafe", (0, 0))], [worker])
    live(town, 60)
    assert (town.state.attended_ticks[0, 0], town.state.missed[0, 0]) == (30, 0)


def test_it_finishes_what_is_begun_and_waits_in_a_queue(town_of, act):
    people = [{"at": at, "hygiene": (0.3, 0.3)} | QUIET for at in ((3, 2), (3, 4))]
    town = town_of([("shower", (3, 3))], people)
    act(town, USE, WAIT)
    act(town, WAIT, USE)
    assert decide(town).tolist() == [[WAIT, WAIT]]
    live(town, 64)
    assert (town.state.hygiene > 0.6).all()


def test_it_takes_what_is_promised(town_of, act):
    people = [{"at": at, "hygiene": (0.3, 0.3)} | QUIET for at in ((3, 2), (3, 4))]
    town = town_of([("shower", (3, 3))], people)
    act(town, USE, WAIT)
    act(town, WAIT, USE)
    act(town, LEAVE, WAIT)
    assert decide(town)[0, 1] == USE


def test_it_cooks_when_the_stock_is_low(town_of):
    cook = {"at": (5, 4), "hunger": (0.6, 0.6)} | QUIET
    objects = [("stove", (5, 5)), ("fridge", (0, 0))]
    town = town_of(objects, [cook], town={"queues": {"fridge_stock": 2}})
    assert decide(town).tolist() == [[USE]]
    live(town, 45)
    assert town.state.stock[0, 1] >= 5


def test_the_sociable_talk_and_the_others_do_not(town_of):
    people = [{"at": (3, 3), "personality": (0.5, 0, 0)}, {"at": (3, 4)} | QUIET]
    assert decide(town_of([], people)).tolist() == [[CHAT, WAIT]]


def test_it_keeps_away_from_a_rival(town_of):
    people = [{"at": (3, 3), "personality": (0.5, 0, 0)}, {"at": (3, 4)} | QUIET]
    town = town_of([], people, ties=[{"agents": (0, 1), "rivalry": 0.8}])
    assert decide(town)[0, 0] == WEST


def test_it_walks_around_whoever_stands_in_its_way(town_of):
    people = [{"at": (3, 1), "hunger": (0.3, 0.3)} | QUIET, *[{"at": (row, 3)} | QUIET for row in (2, 3, 4)]]
    town = town_of([("fridge", (3, 6))], people)
    live(town, 40)
    assert town.state.hunger[0, 0] > 0.5


def test_every_action_is_allowed_and_equal_sights_give_equal_actions():
    generator = np.random.default_rng(0)
    features = generator.uniform(-1, 1, (4, 50, len(FEATURES))).astype(np.float32)
    mask = generator.random((4, 50, len(Action))) < 0.5
    mask[..., WAIT] = True
    script = Script(rows=24, columns=24, day_ticks=1000)
    actions = script.actions(features, mask)
    assert np.take_along_axis(mask, actions[..., None], axis=-1).all()
    order = generator.permutation(200)
    again = script.actions(features.reshape(1, 200, -1)[:, order], mask.reshape(1, 200, -1)[:, order])
    assert (again[0] == actions.reshape(-1)[order]).all()
    single = [script.actions(features[2:3, row : row + 1], mask[2:3, row : row + 1]).item() for row in range(50)]
    assert single == actions[2].tolist()


def test_it_looks_at_nothing_but_its_named_features():
    """The slot's number must not matter: the same citizen in another slot does the same."""
    generator = np.random.default_rng(1)
    features = generator.uniform(-1, 1, (1, 500, len(FEATURES))).astype(np.float32)
    mask = np.ones((1, 500, len(Action)), np.bool_)
    script = Script(rows=24, columns=24, day_ticks=1000)
    other = features.copy()
    other[..., COLUMN["embedding_slot_norm"]] = 0.5
    assert (script.actions(features, mask) == script.actions(other, mask)).all()


@pytest.mark.parametrize(
    ("way", "shut", "last", "step"),
    [
        ((3, 1), (), WAIT, EAST),
        ((1, 3), (), WAIT, SOUTH),
        ((-3, -1), (WEST,), WAIT, NORTH),
        ((0, -2), (NORTH,), EAST, EAST),
        ((0, 2), (), NORTH, EAST),
        ((0, 2), (NORTH, EAST, WEST), NORTH, SOUTH),
        ((2, 0), (NORTH, EAST, SOUTH, WEST), WAIT, WAIT),
    ],
)
def test_a_step_goes_the_longer_way_then_the_other_then_aside_and_back_last(way, shut, last, step):
    mask = np.ones((1, 1, len(Action)), np.bool_)
    mask[..., list(shut)] = False
    dx, dy = (np.full((1, 1), float(part)) for part in way)
    assert step_towards(dx, dy, mask, np.full((1, 1), last)).tolist() == [[step]]
