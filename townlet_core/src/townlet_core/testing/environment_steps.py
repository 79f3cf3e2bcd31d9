"""What one step of an environment must look like, alone and after the step before.

Legend: N worlds, A agents per world, K actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.environments.vector import AutoresetMode
from townlet_core.spaces import action_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.arrays import Array
    from townlet_core.environments.vector import EnvironmentStep, VectorEnvironment


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule.

    Attributes:
        rule: its short name.
        message: what was seen, and what is expected.
    """

    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


class Findings:
    """The first finding of each rule."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.num_seen = 0

    def add(self, rule: str, message: str) -> None:
        """Note a broken rule, unless it was noted before."""
        self.num_seen += 1
        if all(finding.rule != rule for finding in self.found):
            self.found.append(Finding(rule, message))


def check_step(
    environment: VectorEnvironment, before: EnvironmentStep | None, step: EnvironmentStep, findings: Findings
) -> None:
    """Add what is wrong with one step; `before` is a copy of the step before, None after `reset`."""
    known = findings.num_seen
    _check_arrays(environment, step, findings)
    if findings.num_seen > known:
        return
    if before is not None and (before.action_mask is None) != (step.action_mask is None):
        findings.add("masks", "action_mask is None in one step and an array in the next: have one always, or never")
    _check_masks(environment, step, findings)
    _check_rewards(before, step, findings)
    if before is None:
        _check_reset(step, findings)
    _check_finals(environment, step, findings)
    if environment.num_agents == 1:
        _check_autoreset(environment, before, step, findings)


def _check_arrays(environment: VectorEnvironment, step: EnvironmentStep, findings: Findings) -> None:
    agents = (environment.num_worlds, environment.num_agents)
    _check_observations(environment, step.observations, findings, rule="observations", agent_mask=step.agent_mask)
    for name, dtype in (("agent_mask", bool), ("rewards", np.float32), ("terminations", bool), ("truncations", bool)):
        _check_array(name, getattr(step, name), agents, dtype, findings)
    _check_array("episode_starts", step.episode_starts, agents[:1], bool, findings)
    if step.action_mask is not None:
        _check_array("action_mask", step.action_mask, (*agents, action_count(environment.action_space)), bool, findings)
    for name, counts in step.events.items():
        _check_array(f"events['{name}']", counts, agents[:1], np.float64, findings)


def _check_array(name: str, array: Any, shape: tuple[int, ...], dtype: Any, findings: Findings) -> bool:
    if not isinstance(array, np.ndarray):
        findings.add("arrays", f"{name} is a {type(array).__name__}, expected an array")
    elif array.shape != shape:
        findings.add("arrays", f"{name} has shape {array.shape}, expected {shape}")
    elif array.dtype != dtype:
        findings.add("arrays", f"{name} has dtype {array.dtype}, expected {np.dtype(dtype)}")
    else:
        return True
    return False


def _check_observations(
    environment: VectorEnvironment,
    shown: Mapping[str, Array],
    findings: Findings,
    *,
    rule: str,
    agent_mask: Array | None = None,
) -> None:
    """Check names, shapes, types and values; what an absent agent shows need not be of its space."""
    wanted = environment.observation_spaces
    if list(shown) != list(wanted):
        findings.add(
            "arrays", f"{rule} are named {list(shown)}, observation_spaces {list(wanted)}: same names, same order"
        )
        return
    agents = (environment.num_worlds, environment.num_agents)
    for name, space in wanted.items():
        shape: tuple[int, ...] = (*agents, *(space.shape or ()))
        if not _check_array(f"{rule}['{name}']", shown[name], shape, space.dtype, findings):
            continue
        low, high = _bounds(space)
        values = shown[name]
        if not np.isfinite(values).all():
            findings.add("values", f"{rule}['{name}'] holds NaN or infinity")
            continue
        outside = (values < low) | (values > high)
        if agent_mask is not None and np.shape(agent_mask) == agents:
            outside &= agent_mask.reshape(*agents, *(1,) * (outside.ndim - 2))
        if outside.any():
            world = int(np.argwhere(outside)[0][0])
            findings.add("values", f"{rule}['{name}'] of world {world} lies outside its space {space}")


def _bounds(space: spaces.Space[Any]) -> tuple[Any, Any]:
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.Discrete):
        return space.start, space.start + space.n - 1
    return 0, space.nvec - 1 if isinstance(space, spaces.MultiDiscrete) else 1


def _check_masks(environment: VectorEnvironment, step: EnvironmentStep, findings: Findings) -> None:
    if step.action_mask is None:
        return
    space = environment.action_space
    counts = space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else [action_count(space)]
    first = 0
    for count in counts:
        stuck = ~step.action_mask[..., first : first + count].any(axis=-1) & step.agent_mask
        if stuck.any():
            world, agent = np.argwhere(stuck)[0]
            findings.add("masks", f"agent {agent} of world {world} is present, and action_mask allows it nothing")
        first += count


def _check_rewards(before: EnvironmentStep | None, step: EnvironmentStep, findings: Findings) -> None:
    if not np.isfinite(step.rewards).all():
        findings.add("rewards", "rewards hold NaN or infinity")
    absent = np.ones_like(step.agent_mask) if before is None else ~before.agent_mask
    if (step.rewards[absent] != 0).any():
        who = "after reset" if before is None else "for an agent that was absent and did not act"
        findings.add("rewards", f"rewards are not 0 {who}: they belong to the step that was just made")
    if ((step.terminations | step.truncations) & absent).any():
        findings.add("ends", "an agent that did not act is terminated or truncated")


def _check_reset(step: EnvironmentStep, findings: Findings) -> None:
    if not step.episode_starts.all():
        findings.add("episode starts", "episode_starts is not True everywhere after reset")


def _check_finals(environment: VectorEnvironment, step: EnvironmentStep, findings: Findings) -> None:
    ended = step.terminations | step.truncations
    if np.shares_memory(step.terminations, step.truncations):
        findings.add("ends apart", "terminations and truncations are the same memory: one would overwrite the other")
    if not ended.any():
        return
    if step.final_observations is None:
        findings.add(
            "final observation", "an episode ended and final_observations is None: a truncated value cannot be computed"
        )
        return
    _check_observations(environment, _only(step.final_observations, ended), findings, rule="final_observations")
    if environment.autoreset is AutoresetMode.SAME_STEP:
        for name, leaf in step.final_observations.items():
            if leaf.size and np.shares_memory(leaf, step.observations[name]):
                findings.add(
                    "final observation", f"final_observations['{name}'] and observations['{name}'] are the same memory"
                )


def _only(observations: Mapping[str, Array], ended: Array) -> dict[str, Array]:
    """Return observations with every row that is not valid replaced by one that is."""
    valid = tuple(np.argwhere(ended)[0])
    kept = {}
    for name, leaf in observations.items():
        kept[name] = leaf
        if np.shape(leaf)[:2] == ended.shape:
            kept[name] = leaf.copy()
            kept[name][~ended] = leaf[valid]
    return kept


def _check_autoreset(
    environment: VectorEnvironment, before: EnvironmentStep | None, step: EnvironmentStep, findings: Findings
) -> None:
    """Check the order of end, reset and start in worlds of one agent."""
    ended = (step.terminations | step.truncations)[:, 0]
    starts, present = step.episode_starts, step.agent_mask[:, 0]
    if environment.autoreset is AutoresetMode.SAME_STEP:
        if before is not None and (starts != ended).any():
            world = int(np.argmax(starts != ended))
            findings.add(
                "autoreset",
                f"SAME_STEP, but in world {world} an episode ended without the next one starting, or the reverse",
            )
        if not present.all():
            findings.add("autoreset", "SAME_STEP, but an agent is absent: each step shows observations to act on")
        return
    if (present == ended).any():
        findings.add(
            "autoreset", "NEXT_STEP: agent_mask must be False where an episode has just ended, and True elsewhere"
        )
    if before is not None:
        due = (before.terminations | before.truncations)[:, 0]
        if (starts != due).any():
            findings.add(
                "autoreset",
                "NEXT_STEP: an episode must start (episode_starts) in the step after an end, and only there",
            )
    finals = step.final_observations or {}
    if any(not np.array_equal(leaf[ended], step.observations[name][ended]) for name, leaf in finals.items()):
        findings.add(
            "autoreset", "NEXT_STEP: final_observations must be the observations of the step that ended the episode"
        )
