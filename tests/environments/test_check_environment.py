"""Each rule of `check_environment` finds the mutant that breaks it, and finds nothing in the environment without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from townlet_core.environments.vector import VectorEnvironment
from townlet_core.testing import check_environment, environment_findings


class Mutant(VectorEnvironment):
    """An environment that does what another does, but for one thing."""

    def __init__(self, inner: VectorEnvironment) -> None:
        self.inner = inner
        self.num_resets = 0
        for name in ("name", "num_worlds", "num_agents", "observation_spaces", "action_space", "autoreset", "exact"):
            setattr(self, name, getattr(inner, name))

    def reset(self, seeds):
        self.num_resets += 1
        return self.changed(self.inner.reset(seeds), is_reset=True)

    def step(self, actions):
        return self.changed(self.inner.step(actions), is_reset=False)

    def changed(self, step, *, is_reset):
        return step


def mutant(function):
    """Return a mutant class from ``function(environment, step, is_reset) -> step``."""
    return type(function.__name__, (Mutant,), {"changed": function})


def ended(step):
    return step.terminations | step.truncations


@mutant
def nothing(self, step, *, is_reset):
    return step


@mutant
def final_from_after_the_reset(self, step, *, is_reset):
    finals = {name: leaf.copy() for name, leaf in step.observations.items()}
    return replace(step, final_observations=finals if ended(step).any() else None)


@mutant
def final_is_the_same_memory(self, step, *, is_reset):
    return replace(step, final_observations=step.observations if ended(step).any() else None)


@mutant
def no_final(self, step, *, is_reset):
    return replace(step, final_observations=None)


@mutant
def nan_in_final(self, step, *, is_reset):
    if not ended(step).any():
        return step
    return replace(
        step, final_observations={name: np.full_like(leaf, np.nan) for name, leaf in step.final_observations.items()}
    )


@mutant
def time_limit_is_also_a_termination(self, step, *, is_reset):
    return replace(step, terminations=ended(step), truncations=ended(step))


@mutant
def one_array_for_both_ends(self, step, *, is_reset):
    return replace(step, truncations=step.terminations)


@mutant
def rewards_in_float64(self, step, *, is_reset):
    return replace(step, rewards=step.rewards.astype(np.float64))


@mutant
def reward_of_reset(self, step, *, is_reset):
    return replace(step, rewards=step.rewards + 1) if is_reset else step


@mutant
def nan_reward(self, step, *, is_reset):
    return replace(step, rewards=step.rewards * np.float32(np.nan if ended(step).any() else 1))


@mutant
def lost_axis(self, step, *, is_reset):
    return replace(step, observations={name: leaf[:, 0] for name, leaf in step.observations.items()})


@mutant
def other_name(self, step, *, is_reset):
    return replace(step, observations={f"{name}2": leaf for name, leaf in step.observations.items()})


@mutant
def outside_its_space(self, step, *, is_reset):
    return replace(step, observations={name: leaf + np.float32(99) for name, leaf in step.observations.items()})


@mutant
def narrow_mask(self, step, *, is_reset):
    return replace(step, action_mask=np.ones((*step.agent_mask.shape, 1), bool))


@mutant
def nothing_allowed(self, step, *, is_reset):
    return replace(step, action_mask=np.zeros((*step.agent_mask.shape, 2), bool))


@mutant
def start_one_late(self, step, *, is_reset):
    late, self.late = getattr(self, "late", step.episode_starts), step.episode_starts.copy()
    return replace(step, episode_starts=late)


@mutant
def absent_agent(self, step, *, is_reset):
    return replace(step, agent_mask=~ended(step))


@mutant
def not_started(self, step, *, is_reset):
    return replace(step, episode_starts=np.zeros_like(step.episode_starts)) if is_reset else step


@mutant
def counts_resets(self, step, *, is_reset):
    return replace(step, rewards=step.rewards if is_reset else step.rewards + self.num_resets)


@mutant
def looks_at_its_neighbour(self, step, *, is_reset):
    leaf = step.observations["observation"]
    rewards = step.rewards + leaf[::-1, :, 0]
    return replace(step, rewards=step.rewards if is_reset else rewards)


@mutant
def mask_in_some_steps(self, step, *, is_reset):
    mask = np.ones((*step.agent_mask.shape, 2), bool)
    return replace(step, action_mask=mask if is_reset or not ended(step).any() else None)


class SameStartForAll(Mutant):
    def reset(self, seeds):
        return self.inner.reset(seeds if isinstance(seeds, int) else [seed + place for place, seed in enumerate(seeds)])


class ChangesActions(Mutant):
    def step(self, actions):
        step = self.inner.step(actions)
        actions += 1
        return step


class Raises(Mutant):
    def step(self, actions):
        from townlet_core.errors import EnvironmentFault

        raise EnvironmentFault("world 1 broke")


class CountsFromFive(Mutant):
    def __init__(self, inner) -> None:
        super().__init__(inner)
        from gymnasium.spaces import Discrete

        self.action_space = Discrete(2, start=5)


class NoWorlds(Mutant):
    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.num_worlds = 0


class Resumable(Mutant):
    """No mutant: it has the snapshots of the inner one."""

    def snapshot(self):
        return self.inner.snapshot()

    def restore(self, arrays):
        return self.inner.restore(arrays)


class DoesNotGoBack(Resumable):
    def restore(self, arrays):
        return self.inner.reset(0)


class ShowsSomethingElse(Resumable):
    def restore(self, arrays):
        step = self.inner.restore(arrays)
        return replace(step, observations={name: leaf + 1 for name, leaf in step.observations.items()})


class ForgetsAWorld(Resumable):
    def restore(self, arrays):
        shown = self.inner.restore(arrays)
        self.inner._block._worlds[1].reset(seed=1)
        return shown


class RefusesItsOwn(Resumable):
    def restore(self, arrays):
        raise ValueError("no such thing")


MUTANTS = [
    (final_from_after_the_reset, "final observation"),
    (final_is_the_same_memory, "final observation"),
    (no_final, "final observation"),
    (nan_in_final, "values"),
    (time_limit_is_also_a_termination, "ends apart"),
    (one_array_for_both_ends, "ends apart"),
    (rewards_in_float64, "arrays"),
    (reward_of_reset, "rewards"),
    (nan_reward, "rewards"),
    (lost_axis, "arrays"),
    (other_name, "arrays"),
    (outside_its_space, "values"),
    (narrow_mask, "arrays"),
    (nothing_allowed, "masks"),
    (mask_in_some_steps, "masks"),
    (start_one_late, "autoreset"),
    (absent_agent, "autoreset"),
    (not_started, "episode starts"),
    (counts_resets, "same seed"),
    (looks_at_its_neighbour, "own seeds"),
    (SameStartForAll, "own seeds"),
    (ChangesActions, "actions kept"),
    (Raises, "fault"),
    (CountsFromFive, "attributes"),
    (NoWorlds, "attributes"),
    (DoesNotGoBack, "snapshot"),
    (ShowsSomethingElse, "snapshot"),
    (ForgetsAWorld, "snapshot"),
    (RefusesItsOwn, "snapshot"),
]


@pytest.fixture
def cartpole(make):
    return make("gymnasium:CartPole-v1", num_worlds=3, max_episode_steps=15)


@pytest.mark.parametrize(("kind", "rule"), MUTANTS, ids=[kind.__name__ for kind, _ in MUTANTS])
def test_a_broken_environment_is_found_for_its_own_reason(cartpole, kind, rule) -> None:
    found = environment_findings(kind(cartpole), num_steps=60)
    assert found, "the mutant lives"
    assert found[0].rule == rule, found
    with pytest.raises(AssertionError, match=rf"{kind.__name__} breaks \d rule.*\n- {rule}: "):
        check_environment(kind(cartpole), num_steps=60)


def test_the_environment_without_the_mutant_is_found_good(cartpole) -> None:
    check_environment(nothing(cartpole), num_steps=60)
    check_environment(Resumable(cartpole), num_steps=60)


@mutant
def acts_while_it_is_reset(self, step, *, is_reset):
    return replace(step, agent_mask=np.ones_like(step.agent_mask))


@mutant
def final_of_another_step(self, step, *, is_reset):
    finals = {name: leaf * 0.5 for name, leaf in step.observations.items()}
    return replace(step, final_observations=finals if ended(step).any() else None)


@mutant
def pays_for_the_reset_step(self, step, *, is_reset):
    return replace(step, rewards=step.rewards + step.episode_starts[:, None] * (not is_reset))


NEXT_STEP = [
    (acts_while_it_is_reset, "autoreset"),
    (final_of_another_step, "autoreset"),
    (pays_for_the_reset_step, "rewards"),
]


@pytest.mark.parametrize(("kind", "rule"), NEXT_STEP, ids=[kind.__name__ for kind, _ in NEXT_STEP])
def test_a_broken_next_step_environment_is_found_for_its_own_reason(make, kind, rule) -> None:
    environment = make("gymnasium:CartPole-v1", num_worlds=3, vectorization="entry_point")
    check_environment(environment, num_steps=60)
    assert rule in [finding.rule for finding in environment_findings(kind(environment), num_steps=60)]
