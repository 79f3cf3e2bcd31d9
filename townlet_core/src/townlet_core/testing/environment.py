"""Does a `VectorEnvironment` keep its contract? It is run with random legal actions and compared with itself.

Legend: N worlds, A agents per world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.environments.vector import AutoresetMode
from townlet_core.errors import ConfigError, EnvironmentFault, TownletError
from townlet_core.spaces import flatten_action_space
from townlet_core.testing.environment_steps import Finding, Findings, check_step
from townlet_core.testing.environment_traces import Trace, random_actions, record, same_worlds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.environments.vector import VectorEnvironment


def check_environment(environment: VectorEnvironment, *, num_steps: int = 300, seed: int = 0) -> None:
    """Raise unless an environment keeps the contract of `townlet_core.environments.vector`.

    What is said about the ends of episodes is only looked at if some end within `num_steps`. The environment is left
    open, somewhere within an episode.

    Args:
        environment: what is checked.
        num_steps: steps of each run; there are five runs, and one more where the environment has snapshots.
        seed: seed of the first run and of the random actions.

    Raises:
        AssertionError: it does not; the text lists every finding, with its rule.
    """
    found = environment_findings(environment, num_steps=num_steps, seed=seed)
    if found:
        lines = "\n".join(f"- {finding}" for finding in found)
        raise AssertionError(f"{type(environment).__name__} breaks {len(found)} rule(s) of VectorEnvironment:\n{lines}")


def environment_findings(environment: VectorEnvironment, *, num_steps: int = 300, seed: int = 0) -> list[Finding]:
    """Return what `check_environment` would raise for, at most one finding for each rule; see there."""
    findings = Findings()
    _check_attributes(environment, findings)
    if findings.found:
        return findings.found
    try:
        trace = record(
            environment, seed, num_steps, check=lambda before, step: check_step(environment, before, step, findings)
        )
    except EnvironmentFault as error:
        findings.add("fault", f"it raised within {num_steps} legal steps: {error}")
    if findings.found:
        return findings.found
    _check_ends(environment, trace, findings)
    _check_actions_are_kept(environment, seed, findings)
    if environment.exact:
        _check_repeats(environment, trace, seed, findings)
        if environment.snapshot() is not None:
            _check_snapshot(environment, trace, seed, findings)
    return findings.found


def _check_attributes(environment: VectorEnvironment, findings: Findings) -> None:
    for name in ("num_worlds", "num_agents"):
        value = getattr(environment, name, None)
        if not isinstance(value, int) or value < 1:
            findings.add("attributes", f"{name} is {value!r}, expected a positive integer")
    if not isinstance(getattr(environment, "autoreset", None), AutoresetMode):
        findings.add("attributes", "autoreset is not an AutoresetMode")
    if not isinstance(getattr(environment, "exact", None), bool):
        findings.add("attributes", "exact is not True or False")
    if not getattr(environment, "observation_spaces", None):
        findings.add("attributes", "observation_spaces is empty")
    try:
        space = environment.action_space
        if flatten_action_space(space) != space:
            findings.add("attributes", f"action_space {space} must count from 0 and have one axis, as policies see it")
    except (ConfigError, AttributeError) as error:
        findings.add("attributes", f"action_space: {error}")


def _check_ends(environment: VectorEnvironment, trace: Trace, findings: Findings) -> None:
    ends = [(index, step.terminations | step.truncations) for index, step in enumerate(trace.steps)]
    ends = [(index, ended) for index, ended in ends if ended.any()]
    num_ends = sum(int(ended.sum()) for _, ended in ends)
    both = sum(int((trace.steps[index].terminations & trace.steps[index].truncations).sum()) for index, _ in ends)
    if num_ends >= 3 and both == num_ends:
        findings.add(
            "ends apart", f"all {num_ends} episodes were both terminated and truncated: the two say different things"
        )
    if environment.autoreset is AutoresetMode.SAME_STEP and num_ends >= 3:
        alike = 0
        for index, ended in ends:
            step = trace.steps[index]
            finals = step.final_observations or {}
            alike += sum(
                all(np.array_equal(finals[name][row], step.observations[name][row]) for name in finals)
                for row in map(tuple, np.argwhere(ended))
            )
        if alike == num_ends and _varies(trace):
            findings.add(
                "final observation",
                f"at all {num_ends} ends final_observations are the first observations of the next episode: "
                "they must be kept from before the reset",
            )


def _varies(trace: Trace) -> bool:
    first = trace.steps[0].observations
    return any(not np.array_equal(step.observations[name], first[name]) for step in trace.steps for name in first)


def _check_actions_are_kept(environment: VectorEnvironment, seed: int, findings: Findings) -> None:
    step = environment.reset(seed)
    is_kept = True
    for index in range(8):
        actions = random_actions(environment, step, [seed] * environment.num_worlds, index)
        before = actions.copy()
        step = environment.step(actions)
        is_kept = is_kept and np.array_equal(actions, before)
    if not is_kept:
        findings.add("actions kept", "step changed the array of actions that it was given: it belongs to the caller")


def _check_repeats(environment: VectorEnvironment, trace: Trace, seed: int, findings: Findings) -> None:
    """Check what `exact` promises."""
    num_worlds, num_steps = environment.num_worlds, len(trace.steps) - 1
    again = record(environment, seed, num_steps, other_absent_actions=True)
    _compare(
        trace,
        again,
        range(num_worlds),
        range(num_worlds),
        findings,
        rule="same seed",
        text="after another reset with the same seed",
    )
    each = [seed + index for index in range(num_worlds)]
    rolled = each[-1:] + each[:-1]
    listed = record(environment, each, num_steps)
    moved = record(environment, rolled, num_steps)
    places = [(world + 1) % num_worlds for world in range(num_worlds)]
    _compare(
        listed,
        moved,
        range(num_worlds),
        places,
        findings,
        rule="own seeds",
        text="among other neighbours, under the same own seed",
    )
    alone = record(environment, [seed] * num_worlds, num_steps)
    _compare(
        listed,
        alone,
        [0],
        [num_worlds - 1],
        findings,
        rule="own seeds",
        text="in the last place, under the same own seed",
    )


def _check_snapshot(environment: VectorEnvironment, trace: Trace, seed: int, findings: Findings) -> None:
    """Check that an environment goes on from a snapshot as if nothing had happened: a resumed run relies on it."""
    num_steps, worlds = len(trace.steps) - 1, range(environment.num_worlds)
    try:
        again = record(environment, seed, num_steps, restored_at=num_steps // 2)
    except (TownletError, ValueError, LookupError) as error:
        findings.add("snapshot", f"restore refused the environment's own snapshot: {error}")
        return
    _compare(
        trace, again, worlds, worlds, findings, rule="snapshot", text="after a reset and a restore of its snapshot"
    )


def _compare(
    left: Trace, right: Trace, worlds: Sequence[int], places: Sequence[int], findings: Findings, *, rule: str, text: str
) -> None:
    difference = same_worlds(left, right, worlds, places)
    if difference is not None:
        findings.add(rule, f"{difference} {text}, although it says exact = True")
