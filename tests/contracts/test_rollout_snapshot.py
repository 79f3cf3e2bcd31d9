"""A rollout in the town that goes on from a snapshot makes the bytes of one that was never interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from townlet_core.config.load import load_config
from townlet_core.context import BuiltInResolver
from townlet_core.errors import DataError, UsageError
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.services import RolloutCaptureService
from townlet_core.services.noise import ActionNoise

SERVICE = RolloutCaptureService()
SCENARIO = Path(__file__).parents[1] / "fixtures" / "scenarios" / "short_day.yaml"
TOWN = [
    f"environment.scenario={SCENARIO}",
    "environment.max_episode_steps=37",
    "environment.town={day_ticks: 10, social_stage: C2}",
    "environment.town.needs={hunger_decay: 0.03, faint_hunger: 0.15}",
    "environment.town.perturbations={enabled: true, price_spike: 9, blackout: 9, outage: 9, arranged_meet: 9}",
]
SPAN = 23  # ticks of a rollout: no divisor of the length of an episode


def start(*, num_worlds=3, sets=(), seeds=5, deterministic=False):
    config = load_config(None, sets=[*TOWN, f"environment.num_worlds={num_worlds}", *sets]).config
    environment = BuiltInResolver().environment(config.environment)
    spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
    policy = NumpyPolicy(
        spec, FlattenEncoder(), initial_weights(spec, FlattenEncoder(), seed=1), {}, worlds_per_shard=1
    )
    return SERVICE.start(environment, policy, seeds=seeds, deterministic=deterministic)


def filled(rollout, num_steps=SPAN):
    """Return everything that a rollout says, and its buffer."""
    buffer = SERVICE.allocate(rollout, num_steps)
    statistics = rollout.fill(buffer)
    arrays = {name: array.tobytes() for name, array in buffer.columns().items()}
    return {**arrays, "last_values": buffer.last_values.tobytes(), "statistics": statistics}, buffer


def test_from_every_tick_of_an_episode_the_next_rollout_is_the_same_to_the_byte():
    whole, other = start(), start()
    deaths = ends = 0
    for _ in range(37):
        kept = whole.snapshot()
        expected, buffer = filled(whole, 11)
        other.restore(kept)  # it stands elsewhere, in later episodes
        assert filled(other, 11)[0] == expected
        deaths += np.count_nonzero(buffer.terminations)
        ends += np.count_nonzero(buffer.truncations)
        whole.restore(kept)
        whole.step()
    assert deaths > 20
    assert ends > 20


@pytest.mark.parametrize("sets", [(), ("environment.town.variant=full",), ("environment.town.variant=compact",)])
def test_a_run_of_rollouts_that_is_taken_up_anew_after_each_of_them_is_the_uninterrupted_one(sets):
    whole, taken_up = start(sets=sets), start(sets=sets)
    seen = []
    for _ in range(5):
        expected, _ = filled(whole)
        assert filled(taken_up)[0] == expected
        kept = taken_up.snapshot()
        taken_up = start(sets=sets)
        taken_up.restore(kept)
        seen.append(expected["statistics"])
    assert sum(len(statistics.episode_returns) for statistics in seen) > 12
    assert whole.returns.tobytes() == taken_up.returns.tobytes()
    assert whole.lengths.tobytes() == taken_up.lengths.tobytes()


def test_what_is_shown_after_a_restore_is_what_was_shown_before():
    whole, other = start(), start()
    for _ in range(50):
        whole.step()
    other.restore(whole.snapshot())
    for name in ("agent_mask", "action_mask"):
        assert getattr(whole.current, name).tobytes() == getattr(other.current, name).tobytes()
    for name, seen in whole.current.observations.items():
        assert seen.tobytes() == other.current.observations[name].tobytes()
    assert not other.current.episode_starts.any()


def test_a_snapshot_is_a_copy_that_the_rollout_does_not_change():
    rollout = start()
    kept = rollout.snapshot()
    before = {name: array.tobytes() for name, array in kept.items()}
    for _ in range(40):
        rollout.step()
    assert {name: array.tobytes() for name, array in kept.items()} == before
    rollout.restore(kept)
    rollout.step()
    assert {name: array.tobytes() for name, array in kept.items()} == before


def test_a_rollout_without_noise_has_a_snapshot_without_it():
    rollout, other = start(deterministic=True), start(deterministic=True)
    rollout.step()
    kept = rollout.snapshot()
    assert not any(name.startswith("noise.") for name in kept)
    other.restore(kept)
    assert filled(other)[0] == filled(rollout)[0]
    with pytest.raises(DataError, match=r"'noise\.episode' is missing"):
        start().restore(kept)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda arrays: arrays.pop("environment.tick"), r"'environment\.tick' is missing"),
        (lambda arrays: arrays.pop("returns"), "'returns' is missing"),
        (lambda arrays: arrays.update(more=np.zeros(3)), "'more' is not part of this run"),
        (
            lambda arrays: arrays.update(lengths=arrays["lengths"][:2]),
            r"'lengths' is int64\(2, 3\), expected int64\(3, 3",
        ),
        (lambda arrays: arrays.update(returns=arrays["returns"].astype(np.float32)), "'returns' is float32"),
    ],
)
def test_a_snapshot_of_something_else_is_refused_by_name_and_changes_nothing(change, told):
    rollout = start()
    for _ in range(9):
        rollout.step()
    kept = rollout.snapshot()
    other = dict(start(seeds=8).snapshot())
    change(other)
    with pytest.raises(DataError, match=f"not of this rollout: {told}"):
        rollout.restore(other)
    assert {name: array.tobytes() for name, array in rollout.snapshot().items()} == {
        name: array.tobytes() for name, array in kept.items()
    }


def test_a_snapshot_of_another_number_of_worlds_is_refused():
    with pytest.raises(DataError, match=r"expected \w+\(3,"):
        start().restore(start(num_worlds=2).snapshot())


def test_where_the_environment_has_no_snapshot_the_rollout_has_none(scripted, echo):
    rollout = SERVICE.start(scripted(2), echo(), seeds=1)
    assert rollout.snapshot() is None
    with pytest.raises(UsageError, match="cannot go back to a snapshot"):
        rollout.restore({})


@pytest.mark.parametrize("seeds", [4, [4, 9, 4]])
def test_noise_goes_on_from_where_each_world_stood(seeds):
    def new():
        return ActionNoise(seeds, "act", num_worlds=3, num_agents=2, size=2)

    whole, other = new(), new()
    for tick in range(20):
        whole.next()
        if tick % 3 == 0:
            whole.begin_episodes(np.array([tick % 2 == 0, tick % 5 == 0, False]))
    other.restore(whole.snapshot())
    for tick in range(6):
        assert whole.next().tobytes() == other.next().tobytes()
        whole.begin_episodes(np.array([False, tick == 2, True]))
        other.begin_episodes(np.array([False, tick == 2, True]))
