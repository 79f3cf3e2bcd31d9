"""Runs of an environment, copied step by step, and where two of them differ.

Legend: N worlds, A agents per world, K actions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.environments.vector import EnvironmentStep
from townlet_core.randomness import key, uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import VectorEnvironment

    StepCheck = Callable[[EnvironmentStep | None, EnvironmentStep], None]


@dataclass(frozen=True, slots=True)
class Trace:
    """The step after reset and all that followed, copied."""

    steps: list[EnvironmentStep]


def record(
    environment: VectorEnvironment,
    seeds: int | Sequence[int],
    num_steps: int,
    *,
    check: StepCheck | None = None,
    other_absent_actions: bool = False,
    restored_at: int | None = None,
) -> Trace:
    """Run `num_steps` steps of random legal actions, which follow from each world's seed alone.

    Args:
        environment: what is run.
        seeds: as for `reset`.
        num_steps: how many.
        check: called with (the step before or None, the step as the environment gave it).
        other_absent_actions: give absent agents other actions than otherwise; they must not matter.
        restored_at: a step after which the environment is reset and put back to its snapshot; it must not matter.
    """
    own = [seeds] * environment.num_worlds if isinstance(seeds, int) else list(seeds)
    worlds = range(environment.num_worlds) if isinstance(seeds, int) else [0] * environment.num_worlds
    steps: list[EnvironmentStep] = []
    step = environment.reset(seeds)
    for index in range(num_steps + 1):
        if check is not None:
            check(steps[-1] if steps else None, step)
        steps.append(_copied(step))
        if index == restored_at:
            step = _reset_and_restored(environment, seeds)
            shown = {name: getattr(step, name) for name in ("observations", "agent_mask", "action_mask")}
            steps[-1] = _copied(replace(steps[-1], **shown))
        if index < num_steps:
            keys = [seed * 2**20 + world for seed, world in zip(own, worlds, strict=True)]
            actions = random_actions(environment, steps[-1], keys, index)
            if other_absent_actions:
                actions[~steps[-1].agent_mask] = 0
            step = environment.step(actions)
    return Trace(steps)


def _reset_and_restored(environment: VectorEnvironment, seeds: int | Sequence[int]) -> EnvironmentStep:
    kept = environment.snapshot()
    assert kept is not None
    environment.reset(seeds)
    return environment.restore(kept)


def random_actions(environment: VectorEnvironment, step: EnvironmentStep, seeds: Sequence[int], index: int) -> Array:
    """Return legal actions, drawn from each world's own seed and the index of the step."""
    space: Any = environment.action_space
    num_agents = environment.num_agents
    agents = np.arange(num_agents)[None, :, None]
    words = key(np.array(seeds, np.uint64)[:, None, None], "check", index, agents)
    if isinstance(space, spaces.Box):
        low, high = np.maximum(space.low, -10.0), np.minimum(space.high, 10.0)
        noise = uniform(words, np.arange(space.shape[0]))
        return np.asarray(low + noise * (high - low), np.float32)
    counts = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.tolist()
    noise = uniform(words, np.arange(len(counts)))
    choices = np.zeros((len(seeds), num_agents, len(counts)), np.int64)
    first = 0
    for part, count in enumerate(counts):
        allowed = np.ones((len(seeds), num_agents, count), bool)
        if step.action_mask is not None:
            allowed = step.action_mask[..., first : first + count]
        first += count
        ranks = np.cumsum(allowed, axis=-1)
        wanted = np.floor(noise[..., part] * ranks[..., -1]).astype(np.int64) + 1
        choices[..., part] = np.argmax(ranks >= wanted[..., None], axis=-1)
    return choices[..., 0] if isinstance(space, spaces.Discrete) else choices


def same_worlds(left: Trace, right: Trace, worlds: Sequence[int], places: Sequence[int]) -> str | None:
    """Return where the worlds of `left` first differ from those at `places` in `right`, or None."""
    for index, (one, other) in enumerate(zip(left.steps, right.steps, strict=True)):
        for world, place in zip(worlds, places, strict=True):
            rows, others = _rows(one, world), _rows(other, place)
            for name, row in rows.items():
                if name not in others or row.tobytes() != others[name].tobytes():
                    where = "" if world == place else f" (in place {place})"
                    return f"{name} of world {world}{where} differs at step {index}"
    return None


def _rows(step: EnvironmentStep, world: int) -> dict[str, Array]:
    """Return what one world shows, by field; final observations only where they are valid."""
    rows: dict[str, Array] = {name: leaf[world] for name, leaf in step.observations.items()}
    rows |= {
        name: getattr(step, name)[world]
        for name in ("agent_mask", "rewards", "terminations", "truncations", "episode_starts")
    }
    if step.action_mask is not None:
        rows["action_mask"] = step.action_mask[world]
    ended = step.terminations[world] | step.truncations[world]
    if ended.any() and step.final_observations is not None:
        rows |= {f"final {name}": leaf[world][ended] for name, leaf in step.final_observations.items()}
    return rows


def _copied(step: EnvironmentStep) -> EnvironmentStep:
    def copy(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: np.array(part) for name, part in value.items()}
        return value.copy() if isinstance(value, np.ndarray) else value

    return EnvironmentStep(**{part.name: copy(getattr(step, part.name)) for part in fields(step)})
