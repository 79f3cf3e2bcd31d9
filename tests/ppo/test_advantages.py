from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import forward_sums, lives

from townlet_strategies_ppo.advantages import explained_variance, generalized_advantages

ATOL = 1e-9


def random_rollout(seed: int, steps: int, worlds: int, agents: int, *, ends: float = 0.3, absent: float = 0.2) -> dict:
    rng = np.random.default_rng(seed)
    shape = (steps, worlds, agents)
    return {
        "rewards": rng.normal(size=shape),
        "values": rng.normal(size=shape),
        "terminations": rng.random(shape) < ends,
        "truncations": rng.random(shape) < ends,
        "bootstrap_values": rng.normal(size=shape),
        "last_values": rng.normal(size=shape[1:]),
        "agent_mask": rng.random(shape) >= absent,
    }


def advantages_of(rollout: dict, *, gamma: float = 0.9, gae_lambda: float = 0.95) -> np.ndarray:
    rewards, values = rollout["rewards"], rollout["values"]
    rest = {name: array for name, array in rollout.items() if name not in ("rewards", "values")}
    return generalized_advantages(rewards, values, gamma=gamma, gae_lambda=gae_lambda, **rest)


@pytest.mark.parametrize(
    ("truncated", "gae_lambda", "expected"),
    [
        (False, 0.0, [1.4, 2.35, 1.5]),
        (False, 0.5, [2.76125, 3.025, 1.5]),
        (False, 1.0, [4.73, 3.7, 1.5]),
        (True, 0.0, [1.4, 2.35, 3.3]),
        (True, 0.5, [3.12575, 3.835, 3.3]),
        (True, 1.0, [6.188, 5.32, 3.3]),
    ],
)
@pytest.mark.parametrize("told", ["by the step", "by the end of the rollout"])
def test_known_answers(truncated, gae_lambda, expected, told) -> None:
    def column(*numbers):
        return np.array(numbers, dtype=np.float64).reshape(3, 1, 1)

    by_step = told == "by the step"
    advantages = generalized_advantages(
        column(1, 2, 3),
        column(0.5, 1, 1.5),
        terminations=column(0, 0, not truncated and by_step).astype(bool),
        truncations=column(0, 0, truncated and by_step).astype(bool),
        bootstrap_values=column(0, 0, 2),
        last_values=np.full((1, 1), 77.0 if by_step else 2.0 * truncated),
        gamma=0.9,
        gae_lambda=gae_lambda,
    )
    np.testing.assert_allclose(advantages[:, 0, 0], expected, atol=1e-12, rtol=0)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 12),
    worlds=st.integers(1, 3),
    agents=st.integers(1, 3),
    ends=st.sampled_from([0.0, 0.2, 0.9]),
    absent=st.sampled_from([0.0, 0.3, 0.9]),
    gamma=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
)
def test_advantages_are_the_forward_sums_of_each_life(
    seed, steps, worlds, agents, ends, absent, gamma, gae_lambda
) -> None:
    rollout = random_rollout(seed, steps, worlds, agents, ends=ends, absent=absent)
    advantages = advantages_of(rollout, gamma=gamma, gae_lambda=gae_lambda)
    np.testing.assert_allclose(advantages, forward_sums(rollout, gamma, gae_lambda), atol=ATOL)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gamma=st.floats(0, 1))
def test_lambda_1_is_the_monte_carlo_return_minus_the_value(seed, gamma) -> None:
    rollout = random_rollout(seed, 9, 2, 2)
    advantages = advantages_of(rollout, gamma=gamma, gae_lambda=1.0)
    for world in range(2):
        for agent in range(2):
            for steps, after in lives(rollout, world, agent):
                total = after
                for step in reversed(steps):
                    total = rollout["rewards"][step, world, agent] + gamma * total
                    expected = total - rollout["values"][step, world, agent]
                    assert advantages[step, world, agent] == pytest.approx(expected, abs=ATOL)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gamma=st.floats(0, 1))
def test_lambda_0_is_the_error_of_one_step(seed, gamma) -> None:
    rollout = random_rollout(seed, 9, 2, 2)
    advantages = advantages_of(rollout, gamma=gamma, gae_lambda=0.0)
    for world in range(2):
        for agent in range(2):
            for steps, after in lives(rollout, world, agent):
                values = rollout["values"][:, world, agent]
                for step, following in zip(steps, [*(values[later] for later in steps[1:]), after], strict=True):
                    expected = rollout["rewards"][step, world, agent] + gamma * following - values[step]
                    assert advantages[step, world, agent] == pytest.approx(expected, abs=ATOL)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-5, 5), gae_lambda=st.floats(0, 1))
def test_a_constant_added_to_every_reward_of_an_endless_task_changes_no_advantage(seed, shift, gae_lambda) -> None:
    rollout = random_rollout(seed, 9, 2, 2)
    rollout["terminations"][:] = False  # truncations stay: a time limit is no end of the task
    gamma = 0.9
    worth = shift / (1 - gamma)
    moved = dict(rollout, rewards=rollout["rewards"] + shift)
    for name in ("values", "bootstrap_values", "last_values"):
        moved[name] = rollout[name] + worth
    np.testing.assert_allclose(
        advantages_of(moved, gae_lambda=gae_lambda), advantages_of(rollout, gae_lambda=gae_lambda), atol=1e-8
    )


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(5)))
def test_permuted_worlds_have_permuted_advantages(seed, order) -> None:
    rollout = random_rollout(seed, 7, 5, 2)
    moved = {
        name: array[order] if name == "last_values" else np.ascontiguousarray(array[:, order])
        for name, array in rollout.items()
    }
    np.testing.assert_array_equal(advantages_of(moved), advantages_of(rollout)[:, order])


def test_a_step_that_is_both_is_a_termination() -> None:
    rollout = random_rollout(0, 1, 1, 1)
    rollout |= {name: np.ones((1, 1, 1), bool) for name in ("terminations", "truncations", "agent_mask")}
    assert advantages_of(rollout) == rollout["rewards"] - rollout["values"]


def test_a_reset_step_of_its_own_is_as_if_it_were_not_there() -> None:
    rollout = random_rollout(3, 8, 2, 1, ends=0.0, absent=0.0)
    rollout["truncations"][3] = True
    reset_step = {name: np.insert(array, 4, 0, axis=0) for name, array in rollout.items() if name != "last_values"}
    reset_step["rewards"][4], reset_step["values"][4] = 1e6, -1e6
    reset_step["agent_mask"][4] = False
    advantages = advantages_of({**reset_step, "last_values": rollout["last_values"]})
    assert (advantages[4] == 0).all()
    np.testing.assert_array_equal(np.delete(advantages, 4, axis=0), advantages_of(rollout))


def test_what_an_absent_agent_shows_is_read_by_nobody_after_an_end() -> None:
    rollout = random_rollout(4, 6, 1, 1, ends=0.0, absent=0.0)
    rollout["terminations"][2] = True
    rollout["agent_mask"][3] = False
    before = advantages_of(rollout)
    for name in ("rewards", "values", "bootstrap_values"):
        rollout[name][3] = np.nan
    np.testing.assert_array_equal(advantages_of(rollout), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_advantages_have_the_type_of_the_values_and_nothing_given_is_changed(dtype) -> None:
    rollout = {
        name: array.astype(dtype) if array.dtype == np.float64 else array
        for name, array in random_rollout(5, 6, 2, 2).items()
    }
    copies = {name: array.copy() for name, array in rollout.items()}
    assert advantages_of(rollout).dtype == dtype
    for name, array in rollout.items():
        np.testing.assert_array_equal(array, copies[name])


def test_explained_variance_of_perfect_mean_and_constant_predictions() -> None:
    returns = np.array([1.0, 2.0, 4.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(np.full(3, 7.0), returns) == pytest.approx(0.0)
    assert explained_variance(returns[::-1].copy(), returns) == pytest.approx(
        1 - np.var(returns - returns[::-1]) / np.var(returns)
    )
    assert explained_variance(returns * 1e-3, returns * 1e-3) == 1.0
    assert explained_variance(returns, np.full(3, 2.0)) is None
