"""What holds in every town: exactness, bounds, and what the scripts make of the shipped scenarios.

The numbers are those of the town's rules; `tests/fixtures/town_scores.py` says how the golden scores are made.
"""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from town_scores import GOLDEN, NUM_WORLDS, POLICIES, live

from townlet_core import randomness
from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.scenario import JOB_KINDS, OBJECT_KINDS, ScenarioConfig
from townlet_core.config.town import TownConfig
from townlet_core.environments.town import TownEnvironment, town_spaces
from townlet_core.simulation.events import FAINT, KINDS
from townlet_core.simulation.experts import Script
from townlet_core.simulation.layout import GROCER
from townlet_core.simulation.scenarios import SHIPPED, load_scenario
from townlet_core.simulation.tick import Action
from townlet_core.simulation.town import Town

WILD = TownConfig.model_validate(
    {
        "variant": "full",
        "day_ticks": 200,
        "social_stage": "C3",
        "needs": {"hunger_decay": 0.012},
        "employment": {"rent": 2.0},
        "lives": {"eviction_spacing_ticks": 20},
        "perturbations": {"enabled": True, "recovery_ticks": 5, "duration_ticks": 15}
        | dict.fromkeys(("price_spike", "blackout", "outage", "arranged_meet"), 4.0),
    }
)
"""Everything happens soon: faints, evictions, newcomers and perturbations."""


# 1. Same seed, same bytes


def keyed_actions(indices, tick, num_agents):
    """(N, A) actions, forbidden ones and nonsense too, that depend on the world's index and the tick alone."""
    keys = randomness.key(5, "act", np.asarray(indices)[:, None], tick, np.arange(num_agents))
    return (randomness.uniform(keys) * (len(Action) + 2)).astype(np.int64) - 1


def trajectory(seeds, indices, *, ticks=120, scenario="storm"):
    """Everything that comes out of some worlds, as name -> (T, N, ...)."""
    town = Town(WILD, load_scenario(scenario), len(indices))
    town.reset(seeds, indices)
    rows = {}
    for tick in range(ticks):
        seen = town.observe() | {"mask": town.action_mask(), "present": town.state.present}
        rewards, exits = town.step(keyed_actions(indices, tick, town.layout.num_agents))
        seen |= {"rewards": rewards, "exits": exits, "counts": town.events.counts.T, "sums": town.events.sums.T}
        seen |= {f"term {name}": np.broadcast_to(term, rewards.shape) for name, term in town.reward_terms.items()}
        seen |= {f"state {name}": array for name, array in town.snapshot().items()}
        for name, array in seen.items():
            rows.setdefault(name, []).append(array.copy())
    return {name: np.stack(each) for name, each in rows.items()}


@pytest.fixture(scope="module")
def six_worlds():
    return trajectory([3] * 6, range(6))


def assert_same(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    assert different == []


def test_the_same_seed_gives_the_same_bytes(six_worlds):
    assert (six_worlds["exits"] == FAINT).any()
    assert six_worlds["counts"][..., KINDS.index("agent_spawned")].any()
    assert_same(trajectory([3] * 6, range(6)), six_worlds)


@pytest.mark.parametrize("worlds", [[0], [4], [1, 5], [5, 3, 2, 0]])
def test_a_world_is_the_same_alone_and_among_others(six_worlds, worlds):
    assert_same(trajectory([3] * len(worlds), worlds), {name: rows[:, worlds] for name, rows in six_worlds.items()})


def test_a_world_is_the_same_whatever_seeds_the_others_have(six_worlds):
    mixed = trajectory([7, 3, 3, 9], [0, 1, 2, 3])
    assert_same(
        {name: rows[:, 1:3] for name, rows in mixed.items()}, {name: rows[:, 1:3] for name, rows in six_worlds.items()}
    )
    assert mixed["state hunger"][0, 0].tobytes() != six_worlds["state hunger"][0, 0].tobytes()


def test_worlds_and_seeds_and_episodes_differ():
    towns = []
    for seed in (0, 1):
        town = Town(TownConfig(), load_scenario("default"), 2)
        town.reset([seed] * 2, [0, 1])
        towns.append(town.snapshot())
        town.begin_next_episodes(np.arange(2))
        towns.append(town.snapshot())
    places = [shot["cell"][world].tobytes() for shot in towns for world in range(2)]
    needs = [shot["hunger"][world].tobytes() for shot in towns for world in range(2)]
    assert len(set(places)) == len(set(needs)) == 8


def test_an_episode_that_is_reached_by_playing_begins_like_one_that_is_not():
    played, jumped = (Town(WILD, load_scenario("storm"), 3) for _ in range(2))
    for town in (played, jumped):
        town.reset([3] * 3, range(3))
    for tick in range(30):
        played.step(keyed_actions(range(3), tick, 4))
    for town in (played, jumped):
        town.begin_next_episodes(np.arange(3))
        for tick in range(30):
            town.step(keyed_actions(range(3), tick, 4))
    left, right = played.snapshot(), jumped.snapshot()
    assert_same(left, right)


@pytest.mark.parametrize("at", [1, 37, 90])
def test_snapshot_restore_and_go_on_is_going_on(at):
    scenario = load_scenario("storm")
    towns = [Town(WILD, scenario, 4) for _ in range(2)]
    towns[0].reset([3] * 4, range(4))
    for tick in range(at):
        towns[0].step(keyed_actions(range(4), tick, 4))
    shot = towns[0].snapshot()
    histories = []
    for town in (towns[0], towns[1], towns[0]):
        if histories:
            town.restore({name: rows.copy() for name, rows in shot.items()})
        history = []
        for tick in range(at, at + 30):
            seen = {name: rows.tobytes() for name, rows in town.observe().items()}
            rewards, exits = town.step(keyed_actions(range(4), tick, 4))
            history += [seen, rewards.tobytes(), exits.tobytes(), town.events.counts.tobytes()]
        histories.append((history, {name: rows.tobytes() for name, rows in town.snapshot().items()}))
    assert histories[0] == histories[1] == histories[2]


def step_bytes(step):
    """Everything that a step says; of the final observations, the rows of those whose episode has ended."""
    parts = {name: rows.tobytes() for name, rows in step.observations.items()}
    parts |= {name: rows.tobytes() for name, rows in step.events.items()}
    names = ("agent_mask", "action_mask", "rewards", "terminations", "truncations", "episode_starts")
    parts |= {name: getattr(step, name).tobytes() for name in names}
    ended = step.terminations | step.truncations
    finals = step.final_observations or {}
    return parts | {f"final {name}": rows[ended].tobytes() for name, rows in finals.items()}


def test_an_environment_goes_on_from_a_snapshot_over_the_ends_of_episodes():
    config = EnvironmentConfig(scenario="storm", max_episode_steps=40, town=WILD)
    going, fresh = (TownEnvironment(config, num_worlds=3) for _ in range(2))
    going.reset(8)
    for tick in range(35):
        last = going.step(keyed_actions(range(3), tick, 4))
    shown = step_bytes(fresh.restore(going.snapshot()))
    last = step_bytes(last)
    assert all(shown[name] == last[name] for name in (*fresh.observation_spaces, "agent_mask", "action_mask"))
    ended = 0
    for tick in range(35, 100):
        actions = keyed_actions(range(3), tick, 4)
        one, other = going.step(actions), fresh.step(actions)
        ended += int(one.episode_starts.all())
        assert step_bytes(one) == step_bytes(other)
    assert ended == 2


def test_observing_changes_nothing():
    towns = [Town(WILD, load_scenario("storm"), 2) for _ in range(2)]
    for town in towns:
        town.reset([1, 1], [0, 1])
    for tick in range(60):
        towns[0].observe()
        towns[0].observe(np.array([1]))
        towns[0].action_mask()
        for town in towns:
            town.step(keyed_actions(range(2), tick, 4))
    assert_same(*(town.snapshot() for town in towns))


def test_numbers_of_ticks_slots_and_purposes_are_independent():
    """As the town draws them: by slot in the key, by tick and purpose in the counter."""
    episode = randomness.fold(randomness.key(0, "town", 0), 0)
    slots = randomness.fold(episode[:, None], np.arange(8))[0]
    ticks = np.arange(40_000)
    streams = [randomness.uniform(slots[slot], ticks * 32 + purpose) for slot in (0, 1, 7) for purpose in (0, 1, 4)]
    streams += [randomness.uniform(episode, ticks * 32 + 8)]
    streams += [randomness.uniform(randomness.fold(slots[:1], life), ticks * 8 + 7) for life in (0, 1)]
    correlation = np.corrcoef(streams)
    assert np.abs(correlation - np.eye(len(streams))).max() < 5 / np.sqrt(len(ticks))
    for stream in streams:
        counts = np.bincount((stream * 16).astype(int), minlength=16)
        assert ((counts - 2500) ** 2 / 2500).sum() < 44.3  # chi-square, 15 degrees of freedom, once in 10,000
        assert abs(np.corrcoef(stream[:-1], stream[1:])[0, 1]) < 4.5 / np.sqrt(len(ticks))


# 2. Bounds, for any town and any action


@st.composite
def towns(draw):
    """A small crowded town with constants that make much happen, as (config, scenario)."""
    rows, columns = draw(st.integers(4, 7)), draw(st.integers(4, 7))
    tiles = [(row, column) for row in range(rows) for column in range(columns)]
    number = draw(st.integers(1, 8))
    kinds = draw(st.lists(st.sampled_from(OBJECT_KINDS), max_size=6))
    places = draw(st.permutations(tiles))
    objects = [
        {"kind": kind, "at": at, "capacity": draw(st.integers(1, 3))}
        for kind, at in zip(kinds, places[: len(kinds)], strict=True)
    ]
    day = draw(st.integers(20, 60))
    jobs = [None, *(kind for kind in JOB_KINDS if kind in kinds)]
    agents = []
    for _ in range(number):
        agent = {"wallet": draw(st.floats(0, 2)), "unpaid_rents": draw(st.integers(0, 1))}
        agent |= {need: (draw(st.floats(0.05, 0.5)), 0.9) for need in ("hunger", "hygiene", "energy")}
        job = draw(st.sampled_from(jobs))
        if job:
            start = draw(st.integers(0, 12))
            agent |= {"job": job, "shift": (start, start + draw(st.integers(1, 8)))}
        agents.append(agent)
    pairs = [(one, other) for one in range(number) for other in range(number) if one != other]
    signed = st.floats(-1, 1)
    ties = [
        {"agents": pair, "trust": draw(signed), "familiarity": draw(signed), "rivalry": draw(st.floats(0, 1))}
        for pair in (draw(st.lists(st.sampled_from(pairs), max_size=8, unique=True)) if pairs else [])
    ]
    scenario = {"name": "any", "ticks": 1000, "size": (rows, columns), "objects": objects, "agents": agents}
    scenario |= {"ties": ties, "start_tick": draw(st.integers(0, day))}
    chance = st.floats(0, 5)
    config = {
        "variant": draw(st.sampled_from(("full", "compact"))),
        "map_dtype": draw(st.sampled_from(("uint8", "float32"))),
        "day_ticks": day,
        "social_stage": draw(st.sampled_from(("OFF", "C1", "C2", "C3"))),
        "needs": {"hunger_decay": draw(st.floats(0, 0.05)), "energy_decay": draw(st.floats(0, 0.05))},
        "queues": {
            "cooldown_ticks": draw(st.integers(0, 5)),
            "fridge_stock": draw(st.integers(0, 5)),
            "ghost_step_after": draw(st.integers(1, 3)),
        },
        "employment": {"grace_ticks": 1, "absent_ticks": draw(st.integers(1, 4)), "wallet_limit": 3},
        "ties": {"most_ties": draw(st.integers(1, 6))},
        "lives": {"empty_ticks_min": 1, "empty_ticks_max": draw(st.integers(1, 6)), "eviction_spacing_ticks": 5},
        "perturbations": {"enabled": True, "duration_ticks": draw(st.integers(1, 10)), "recovery_ticks": 3}
        | {kind: draw(chance) for kind in ("price_spike", "blackout", "outage", "arranged_meet")},
        "rewards": {"shaping": draw(st.sampled_from((0.0, 1.0))), "life_limit": draw(st.sampled_from((0.5, 50.0)))},
    }
    return TownConfig.model_validate(config), ScenarioConfig.model_validate(scenario)


def assert_sound(town):
    """Everything that must be so between two ticks."""
    state, config = town.state, town.config
    here = state.present
    for need in (state.hunger, state.hygiene, state.energy):
        assert ((need >= 0) & (need <= 1)).all()
    for tie, low in ((state.trust, -1), (state.familiarity, -1), (state.rivalry, 0)):
        assert ((tie >= low) & (tie <= 1)).all()
        assert not np.diagonal(tie, axis1=1, axis2=2).any()
        assert not tie[~here].any()
        assert not tie.transpose(0, 2, 1)[~here].any()
    counted = (state.trust != 0) | (state.familiarity != 0) | (state.rivalry != 0)
    assert counted.sum(axis=2).max() <= config.ties.most_ties
    assert ((state.wallet >= 0) & (state.wallet <= config.employment.wallet_limit)).all()
    assert ((state.unpaid_rents >= 0) & (state.unpaid_rents <= 2)).all()
    assert ((state.stock >= 0) & (state.stock <= config.queues.fridge_limit)).all()
    _assert_uses_sound(town)
    _assert_places_sound(town)


def _assert_uses_sound(town):
    state, layout = town.state, town.layout
    idle = (state.using < 0) & (state.queue < 0) & (state.covering < 0)
    assert idle[~state.present].all()
    assert not ((state.using >= 0) & (state.queue >= 0)).any()
    assert ((state.remaining > 0) == (state.using >= 0)).all()
    for thing in range(layout.num_objects):
        users = state.using == thing
        assert (users.sum(axis=1) <= layout.capacity[thing]).all()
        holder, promised = state.user[:, thing], state.reserved[:, thing]
        if layout.kind[thing] >= GROCER:
            assert (holder == -1).all()
            assert not (state.queue == thing).any()
        else:
            assert (holder == np.where(users.any(axis=1), users.argmax(axis=1), -1)).all()
        assert not ((holder >= 0) & (promised >= 0)).any()
        worlds = np.flatnonzero(promised >= 0)
        assert (state.queue[worlds, promised[worlds]] == thing).all()
    worlds, slots = np.nonzero(state.covering >= 0)
    assert (state.covering[worlds, slots] != slots).all()
    places = worlds * layout.num_agents + state.covering[worlds, slots]
    assert len(np.unique(places)) == len(places)
    for asked in (state.using, state.queue):
        worlds, slots = np.nonzero(asked >= 0)
        cells = layout.object_cell[asked[worlds, slots]]
        assert np.isin(np.abs(cells - state.cell[worlds, slots]), (0, 1, layout.width)).all()


def _assert_places_sound(town):
    state, layout = town.state, town.layout
    worlds, slots = np.nonzero(state.present)
    y, x = state.y[worlds, slots], state.x[worlds, slots]
    assert ((y >= 0) & (y < layout.rows) & (x >= 0) & (x < layout.columns)).all()
    cells = (y.astype(int) + 5) * layout.width + x + 5
    assert (state.cell[worlds, slots] == cells).all()
    assert (state.who[worlds, cells] == slots).all()
    assert (state.who >= 0).sum() == len(worlds)
    assert ((state.who == -2) == layout.border).all()


def assert_seen(town):
    space, _ = town_spaces(town.config)
    for name, rows in town.observe().items():
        box = space[name]
        assert rows.dtype == box.dtype
        assert np.isfinite(rows).all()
        assert ((rows >= box.low) & (rows <= box.high)).all()
        assert not rows[~town.state.present].any()


def assert_earned(town, rewards, exits, acted):
    terms = town.reward_terms
    assert np.isfinite(rewards).all()
    assert np.abs(sum(terms.values()) - rewards).max() < 1e-5
    assert not rewards[~acted].any()
    limit = town.config.rewards.tick_limit
    assert (np.abs(rewards - terms["terminal"])[acted & (np.abs(town.state.life_return) < 0.4)] <= limit + 1e-5).all()
    assert (np.abs(town.state.life_return) <= town.config.rewards.life_limit + 1e-6).all()
    assert not (exits[~acted]).any()


def assert_counted(town):
    log, num_worlds = town.events, town.state.num_worlds
    counts = np.zeros_like(log.counts)
    conflicts = np.zeros(num_worlds)
    for record in log.records:
        counts[KINDS.index(record.kind), record.world] += 1
        assert -1 <= record.actor < town.layout.num_agents
        if record.kind in ("queue_conflict", "ghost_step", "queue_handover", "shared_meal") or "chat" in record.kind:
            assert 0 <= record.target != record.actor >= 0
        if record.kind == "queue_conflict":
            assert 0.1 <= record.value <= 5
            conflicts[record.world] += record.value
    assert (counts == log.counts).all()
    assert conflicts == pytest.approx(log.sums[0])
    exits = log.by_name()
    assert (exits["faint_events"] + exits["eviction_events"] == exits["agent_exit"]).all()


@settings(deadline=None, max_examples=30)
@given(towns(), st.integers(0, 2**32))
def test_whatever_is_done_the_town_stays_sound_and_what_is_forbidden_is_a_wait(made, seed):
    config, scenario = made
    town, other = Town(config, scenario, 4), Town(config, scenario, 4)
    town.events.is_recording = True
    for each in (town, other):
        each.reset([seed] * 4, range(4))
    generator = np.random.default_rng(seed)
    assert_sound(town)
    for tick in range(60):
        mask, acted = town.action_mask(), town.state.present.copy()
        assert mask[..., Action.WAIT].all()
        wishes = generator.random(mask.shape) * np.where(np.arange(4) < 2, 1, mask.T).T  # two worlds obey the mask
        actions = (wishes + (generator.random(mask.shape) < 0.1) * mask).argmax(axis=-1)
        allowed = np.take_along_axis(mask, actions[..., None], axis=-1)[..., 0]
        assert allowed[2:].all()
        rewards, exits = town.step(actions)
        other.step(np.where(allowed, actions, Action.WAIT))
        assert_sound(town)
        assert_counted(town)
        assert_earned(town, rewards, exits, acted)
        if tick % 5 == 0:
            assert_seen(town)
            assert_same(town.snapshot(), other.snapshot())
    assert_same(town.snapshot(), other.snapshot())


# 3. What the scripts make of it


@pytest.fixture(scope="module")
def lives():
    """Scenario and policy -> an episode of 30 worlds; each is lived once."""
    lived = {}

    def get(scenario, policy):
        if (scenario, policy) not in lived:
            lived[scenario, policy] = live(scenario, policy)
        return lived[scenario, policy]

    return get


def test_the_script_keeps_the_default_town_going(lives):
    town = lives("default", "scripted")
    assert town.need > 0.6
    assert town.attendance > 0.95
    assert town.kinds[KINDS.index("queue_conflict")].min() / town.days >= 5
    assert min(town.in_use) > 0.25
    assert town.rewards.std() > 0.1 * TownConfig().rewards.tick_limit
    assert town.clipped <= 0.05


def test_nobody_faints_under_the_script(lives):
    assert lives("default", "scripted").faints == 0


@pytest.mark.parametrize("scenario", ["default", "kitchen_breakfast", "queue_conflict", "employment_punctuality"])
def test_the_script_beats_chance(lives, scenario):
    scripted, by_chance = (lives(scenario, policy) for policy in POLICIES)
    margin = scripted.means.mean() - by_chance.means.mean()
    assert margin > 3 * np.hypot(scripted.error, by_chance.error)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scenario", SHIPPED)
def test_scores_are_the_pinned_ones(lives, scenario, policy):
    pinned = json.loads(GOLDEN.read_text(encoding="utf-8"))[scenario][policy]
    score = lives(scenario, policy).score
    assert score["reward"] == pytest.approx(pinned["reward"], abs=2e-5)
    assert score["faints"] == pytest.approx(pinned["faints"], abs=1.5 / NUM_WORLDS)
    assert score["attendance"] == pytest.approx(pinned["attendance"], abs=2e-3)


def test_equal_sights_give_equal_scripted_actions_wherever_they_are_seen():
    environment = TownEnvironment(EnvironmentConfig(), num_worlds=4)
    step = environment.reset(0)
    seen = {}
    script = Script(rows=24, columns=24, day_ticks=1000)
    for _ in range(150):
        features, mask = step.observations["observation.features"], step.action_mask
        actions = environment.experts["scripted"](step.observations, mask)
        flat = features.reshape(-1, features.shape[-1]), mask.reshape(-1, mask.shape[-1])
        order = np.arange(len(flat[0]))[::-1]
        again = script.actions(flat[0][order][:, None], flat[1][order][:, None])[:, 0]
        assert (again[order] == actions.reshape(-1)).all()
        for row, allowed, action in zip(*flat, actions.reshape(-1).tolist(), strict=True):
            assert seen.setdefault((row.tobytes(), allowed.tobytes()), action) == action
        step = environment.step(actions)
    assert len(seen) > 3000


# 4. What happens


def test_every_kind_of_event_happens(lives):
    total = sum(lives(scenario, policy).kinds.sum(axis=1) for scenario in SHIPPED for policy in POLICIES)
    assert [kind for kind, count in zip(KINDS, total, strict=True) if not count] == []


def test_the_scenario_of_conflicts_has_them_and_the_baseline_has_none(lives):
    row = KINDS.index("queue_conflict")
    assert lives("queue_conflict", "scripted").kinds[row].min() > 0
    assert lives("queue_conflict", "random").kinds[row].sum() > 0
    assert all(lives("observation_baseline", policy).kinds[row].sum() == 0 for policy in POLICIES)


def test_the_story_is_told(lives):
    """The third agent of the story loses its home in every world, and the two friends talk in most."""
    story = lives("demo_story_arc", "scripted")
    assert (story.kinds[KINDS.index("agent_exit")] >= 1).all()
    assert (story.kinds[KINDS.index("chat_success")] > 0).mean() > 0.5


def test_rivalry_fades_in_its_scenario():
    town = Town(TownConfig(), load_scenario("rivalry_decay"), 2)
    town.reset([0, 1], [0, 1])
    for _ in range(50):
        town.step(np.zeros((2, 2), np.int64))
    assert town.state.rivalry[:, 0, 1].tolist() == pytest.approx([0.65] * 2, abs=1e-5)
    assert town.state.rivalry[:, 1, 0].tolist() == pytest.approx([0.55] * 2, abs=1e-5)


@pytest.mark.parametrize("scenario", [name for name in SHIPPED if name != "observation_baseline"])
def test_two_episodes_of_one_world_differ(scenario):
    environment = TownEnvironment(EnvironmentConfig(scenario=scenario, max_episode_steps=15), num_worlds=1)
    step = environment.reset(0)
    episodes = []
    for _ in range(2):
        history = []
        for tick in range(15):
            history.append(step.observations["observation.features"].tobytes())
            step = environment.step(keyed_actions([0], tick, environment.num_agents))
        episodes.append(history)
        assert step.episode_starts.all()
    assert episodes[0] != episodes[1]
