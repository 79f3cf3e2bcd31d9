"""A capture: which episodes are written, in which order, and that nothing else decides the bytes."""

from itertools import chain, count, islice

import numpy as np
import pytest
from lives import LivesEnvironment, StepPolicy

from townlet_core.config.load import load_config
from townlet_core.environments.build import make_environment
from townlet_core.errors import EnvironmentFault
from townlet_core.orchestrator.capture_target import capture_seeds, open_writer
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.replay.dataset import Dataset
from townlet_core.services.capture import RolloutCaptureService
from townlet_core.services.capture_plan import CapturePlan
from townlet_core.services.scripts import make_script
from townlet_core.simulation.events import KINDS
from townlet_core.simulation.observations import FEATURES

SERVICE = RolloutCaptureService()
SEEDS = (3, 8, 4, 5, 6, 7, 10, 11)  # episodes of 6, 8, 7, 8, 6, 7, 7, 8 steps
CARTPOLE = ("environment.name=gymnasium:CartPole-v1",)
BREAKFAST = ("environment.scenario=kitchen_breakfast", "environment.max_episode_steps=40")


def made(*sets, num_worlds):
    return make_environment(load_config(None, sets=sets).config.environment, num_worlds=num_worlds)


def capture(path, environment, policy, *, seeds=SEEDS, shard_bytes=1 << 20, should_stop=lambda: False, **plan):
    with open_writer(
        path, environment, event_kinds=SERVICE.event_kinds(environment), shard_bytes=shard_bytes
    ) as writer:
        plan = CapturePlan(seeds=chain(seeds, count(12)), **plan)
        statistics = SERVICE.capture(environment, policy, writer, plan, should_stop=should_stop)
    environment.close()
    return statistics


def files(path):
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def entries(path):
    dataset = Dataset(path)
    dataset.require_intact()
    return [entry for shard in dataset.shards for entry in shard.entries()]


def row_bytes():
    return 2 * (4 * 4 + 8 + 4 + 4 * 4 + 3)


def initial_policy(environment):
    spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
    return NumpyPolicy(spec, FlattenEncoder(), initial_weights(spec, FlattenEncoder(), seed=1), {})


@pytest.mark.parametrize("amount", [{"episodes": 7}, {"agent_steps": 61}, {"agent_steps": 26}, {"agent_steps": 1}])
@pytest.mark.parametrize("limits", [{}, {"fragment_bytes": 3 * row_bytes()}, {"waiting_bytes": 600}])
def test_the_bytes_do_not_depend_on_the_number_of_worlds(tmp_path, amount, limits):
    written = []
    for num_worlds in (1, 2, 3, 8):
        path = tmp_path / str(num_worlds)
        capture(path, LivesEnvironment(num_worlds), StepPolicy(), **amount, **limits, shard_bytes=2000)
        entries(path)
        written.append(files(path))
    assert written.count(written[0]) == 4


def test_the_bytes_of_the_towns_script_and_of_a_network_do_not_depend_on_the_number_of_worlds(tmp_path):
    for sets, policy in (
        (BREAKFAST, lambda environment: make_script("scripted", environment)),
        (CARTPOLE, initial_policy),
        (BREAKFAST, initial_policy),
    ):
        written = []
        for num_worlds in (1, 3, 4):
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
            environment = made(*sets, num_worlds=num_worlds)
            capture(path, environment, policy(environment), episodes=5, deterministic=False, seeds=range(90, 99))
            written.append(files(path))
        assert written[0] == written[1] == written[2]


def test_every_seed_is_run_once_and_short_episodes_are_not_preferred(tmp_path):
    statistics = capture(tmp_path / "d", LivesEnvironment(3), StepPolicy(), episodes=7, first_group=40, tags=("a", "b"))
    found = entries(tmp_path / "d")
    assert [(entry.group, entry.seed) for entry in found[::3]] == list(zip(range(40, 47), SEEDS, strict=False))
    assert [(entry.agent, entry.life, entry.start_step) for entry in found] == [(0, 0, 0), (0, 1, 3), (1, 0, 0)] * 7
    assert {entry.tags for entry in found} == {("a", "b")}
    lengths = [6 + seed % 3 for seed in SEEDS[:7]]
    assert [entry.num_steps for entry in found[2::3]] == lengths
    assert (statistics.episodes, statistics.trajectories) == (7, 21)
    assert statistics.agent_steps == sum(2 * length - 1 for length in lengths)
    assert statistics.endings == {"terminated": 7, "truncated": 14, "cut": 0}
    returns = np.array([entry.episode_return for entry in found])
    assert statistics.num_returns == 21
    np.testing.assert_allclose(
        [statistics.return_mean, statistics.return_std, statistics.return_min, statistics.return_max],
        [returns.mean(), returns.std(), returns.min(), returns.max()],
    )


def test_the_return_of_a_life_is_that_of_all_its_stretches(tmp_path):
    whole = capture(tmp_path / "w", LivesEnvironment(2), StepPolicy(), episodes=4)
    parts = capture(tmp_path / "p", LivesEnvironment(2), StepPolicy(), episodes=4, fragment_bytes=2 * row_bytes())
    assert parts.trajectories > whole.trajectories
    assert (parts.num_returns, parts.episodes) == (whole.num_returns, whole.episodes) == (12, 4)
    np.testing.assert_allclose([parts.return_mean, parts.return_std], [whole.return_mean, whole.return_std])


@pytest.mark.parametrize("limits", [{}, {"fragment_bytes": 3 * row_bytes()}])
@pytest.mark.parametrize("wanted", range(1, 45))
def test_a_number_of_steps_is_kept_to_within_one_step_of_the_world(tmp_path, wanted, limits):
    statistics = capture(tmp_path / "d", LivesEnvironment(3), StepPolicy(), agent_steps=wanted, **limits)
    assert wanted <= statistics.agent_steps <= wanted + 1
    found = entries(tmp_path / "d")
    assert sum(entry.num_steps for entry in found) == statistics.agent_steps
    assert statistics.episodes == len({entry.group for entry in found})
    last = [entry for entry in found if entry.agent == 1][-1]
    assert (last.ending == "cut") == (statistics.agent_steps not in (11, 26, 39))


def test_what_would_wait_with_too_much_is_run_again_later(tmp_path, monkeypatch):
    resets, reset = [], LivesEnvironment.reset
    monkeypatch.setattr(LivesEnvironment, "reset", lambda self, seeds: resets.append(seeds) or reset(self, seeds))
    capture(tmp_path / "d", LivesEnvironment(4), StepPolicy(), episodes=4, seeds=(8, 3, 6, 9))
    assert resets == [0, [8, 3, 6, 9]]  # the first one asks for the kinds of events
    resets.clear()
    capture(tmp_path / "e", LivesEnvironment(4), StepPolicy(), episodes=4, seeds=(8, 3, 6, 9), waiting_bytes=900)
    assert resets == [0, [8, 3, 6, 9], [6, 9, 9, 9]]
    assert files(tmp_path / "d") == files(tmp_path / "e")


def test_a_stop_keeps_every_episode_that_has_ended(tmp_path):
    asked = iter(count(1))
    statistics = capture(
        tmp_path / "d", LivesEnvironment(3), StepPolicy(), episodes=8, should_stop=lambda: next(asked) >= 13
    )
    assert statistics.interrupted
    found = entries(tmp_path / "d")
    assert sorted({entry.group for entry in found}) == [0, 1, 2, 4]  # in the second batch only the second of 6 steps
    assert statistics.episodes == 4
    assert not any(entry.ending == "cut" for entry in found)


def test_a_stop_keeps_what_is_written_of_a_long_episode_and_no_other_half_of_one(tmp_path):
    asked = iter(count(1))
    limits = {"fragment_bytes": 2 * row_bytes(), "should_stop": lambda: next(asked) >= 7}
    statistics = capture(tmp_path / "d", LivesEnvironment(3), StepPolicy(), seeds=(8, 3, 5), episodes=3, **limits)
    found = entries(tmp_path / "d")
    assert {entry.group: entry.ending for entry in found} == {0: "cut", 1: "truncated"}
    assert max(entry.start_step + entry.num_steps for entry in found if entry.group == 0) == 6
    assert (statistics.episodes, statistics.num_returns) == (
        2,
        4,
    )  # the first life of group 0, and the three of group 1
    capture(tmp_path / "e", LivesEnvironment(1), StepPolicy(), seeds=(3,), episodes=1)
    returns = [entry.episode_return for entry in entries(tmp_path / "e")]
    assert (statistics.return_min, statistics.return_max) == (min(returns), max(returns))


def test_a_fault_keeps_the_episodes_before_it(tmp_path):
    class Breaks(LivesEnvironment):
        def step(self, actions):
            if 6 in self.seeds:
                raise EnvironmentFault("it broke")
            return super().step(actions)

    with pytest.raises(EnvironmentFault, match="it broke"):
        capture(tmp_path / "d", Breaks(2), StepPolicy(), episodes=8)
    assert sorted({entry.group for entry in entries(tmp_path / "d")}) == [0, 1, 2, 3]
    assert not Dataset(tmp_path / "d").manifest.complete


def test_an_episode_that_does_not_end_is_a_fault_that_says_what_to_set(tmp_path):
    endless = LivesEnvironment(2, endless=True)
    with pytest.raises(EnvironmentFault, match=r"seed 3 has not ended after 50 steps; set environment.max_episode"):
        capture(tmp_path / "d", endless, StepPolicy(), episodes=2, max_steps=50)
    capture(tmp_path / "e", LivesEnvironment(2, endless=True), StepPolicy(), agent_steps=150, max_steps=1)


def test_an_episode_in_which_nobody_is_present_is_a_fault(tmp_path):
    class Empty(LivesEnvironment):
        def shown(self, rewards, terminations, truncations, finals, starts):
            self.is_absent[:] = True
            return super().shown(rewards, terminations, truncations, finals, starts)

    with pytest.raises(EnvironmentFault, match="seed 3: no agent was present in the whole episode"):
        capture(tmp_path / "d", Empty(2), StepPolicy(), episodes=2)


def test_shards_are_written_at_the_latest_after_so_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("townlet_core.services.capture_run.ROWS_AT_RISK", 20)
    capture(tmp_path / "d", LivesEnvironment(2), StepPolicy(), episodes=7)
    rows = [shard.entry.num_rows for shard in Dataset(tmp_path / "d").shards]
    assert rows == [11 + 15, 13 + 15, 11 + 13, 13]


def test_events_stand_in_the_group_and_the_step_that_they_happened_in(tmp_path):
    capture(tmp_path / "d", LivesEnvironment(3), StepPolicy(), episodes=5, fragment_bytes=4 * row_bytes())
    dataset = Dataset(tmp_path / "d")
    assert dataset.manifest.event_kinds == ("steps_made", "thirds")
    (events,) = dataset.events()
    thirds = events["event.kind"] == 1
    assert events["event.group"][thirds].tolist() == [0, 1, 2, 3, 4]
    made_in = np.bincount(events["event.group"][~thirds])
    assert made_in.tolist() == [6 + seed % 3 for seed in SEEDS[:5]]


def test_the_town_is_recorded_with_names_masks_and_who_did_what_to_whom(tmp_path):
    def town(num_worlds):
        return made("environment.scenario=storm", "environment.max_episode_steps=150", num_worlds=num_worlds)

    environment = town(2)
    capture(tmp_path / "d", environment, make_script("random", environment), episodes=2, deterministic=False)
    dataset = Dataset(tmp_path / "d")
    manifest = dataset.manifest
    assert manifest.feature_names == {"observation.features": FEATURES}
    assert manifest.action_names == ("wait", "north", "east", "south", "west", "use", "leave", "chat")
    assert manifest.event_kinds == KINDS
    assert {"action_mask", "log_probs", "values", "observation.map"} <= set(manifest.along("step"))
    assert set(manifest.along("episode")) == {"bootstrap_values", "final.observation.features", "final.observation.map"}
    (events,) = dataset.events()
    names = ("group", "step", "kind", "actor", "target", "value")
    seen = list(zip(*(events[f"event.{name}"].tolist() for name in names), strict=True))
    for group in range(2):
        environment = town(1)
        environment.keep_events()
        environment.reset([SEEDS[group]])
        lives = [one for _, one in dataset.trajectories(columns={"actions", "rewards"}) if one.group == group]
        wanted = []
        for step in range(150):
            acting = [one for one in lives if one.start_step <= step < one.start_step + one.num_steps]
            actions = np.zeros((1, environment.num_agents), np.int64)
            for one in acting:
                actions[0, one.agent] = one.steps["actions"][step - one.start_step]
            after = environment.step(actions)
            for one in acting:
                assert one.steps["rewards"][step - one.start_step] == after.rewards[0, one.agent]
            wanted += [
                (group, step, KINDS.index(record.kind), record.actor, record.target, np.float32(record.value))
                for record in environment.town.events.records
            ]
        assert len(wanted) > 10
        assert [event for event in seen if event[0] == group] == wanted


def test_captured_seeds_are_never_used_twice_and_a_longer_list_begins_with_the_shorter():
    ten = list(islice(capture_seeds(5), 10))
    assert len(set(ten)) == 10
    assert list(islice(capture_seeds(5), 4)) == ten[:4]
    assert list(islice(capture_seeds(5, used=ten[1:3]), 4)) == [ten[0], *ten[3:6]]
    assert ten[0] not in set(islice(capture_seeds(6), 100))
