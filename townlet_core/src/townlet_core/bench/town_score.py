"""How well a policy does in the town: reward per agent and tick, and what becomes of the citizens.

Every present agent counts at every tick of the day, as in the score of an evaluation; figures are those of one day.

Legend: N worlds, A agent slots.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.town import TownConfig
from townlet_core.environments.town import TownEnvironment
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.policy.artefact import artefact_path, load_artefact
from townlet_core.policy.spec import PolicySpec
from townlet_core.services.evaluation import episode_seeds
from townlet_core.services.rollout import Rollout
from townlet_core.services.scripts import make_script
from townlet_core.services.town_view import seen_by

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.plugins.registry import Registry
    from townlet_core.policy.base import Policy

SCRIPTS = ("random", "idle", "scripted")


def measure_score(
    registry: Registry,
    name: str,
    *,
    num_worlds: int = 64,
    seed: int = 0,
    scenario: str = "default",
    max_ticks: int | None = None,
    deterministic: bool = False,
) -> dict[str, Any]:
    """Let a policy live through one episode in each world and return one row of figures.

    Args:
        registry: where encoders of plugins are found.
        name: `random`, `idle` or `scripted`, or the directory of an artefact or of a run.
        num_worlds: N, each under its own seed, at least 2. The seeds are those of `townlet evaluate` and no run trains
            in them.
        seed: what their seeds are drawn from.
        scenario: its name, or a file.
        max_ticks: length of the episode instead of the scenario's.
        deterministic: an artefact takes its most likely action; scripts are what they are.

    Returns:
        `reward_mean`: reward per present agent and tick, averaged over world-episodes; `reward_stderr`: its standard
        error over them; `faints_per_day` and `conflicts_per_day` of one world; `attendance`: share of the shifts' ticks
        that were worked, left out where no shift fell into the episode.

    Raises:
        UsageError: there is no such script.
        MissingInputError, ArtefactError: the artefact is not there, is damaged, or does not fit the town.
    """
    artefact = None
    encoders = PluginResolver(registry, trust_code=False).encoder
    if name not in SCRIPTS and (os.sep in name or Path(name).is_dir()):
        artefact = load_artefact(artefact_path(Path(name)), encoders=encoders)
    config = EnvironmentConfig(
        scenario=scenario,
        max_episode_steps=max_ticks,
        town=seen_by(artefact.spec, TownConfig()) if artefact else TownConfig(),
    )
    with (
        threadpool_limits(limits=1),
        closing(TownEnvironment(config, num_worlds=num_worlds)) as environment,
    ):
        policy: Policy
        if artefact is None:
            policy = make_script(name, environment)
            actions = "script"
        else:
            shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
            artefact.spec.require_fit(shown, subject=name, environment=environment.name)
            policy = artefact.policy(encoders=encoders)
            actions = "greedy" if deterministic else "sampled"
        seeds = episode_seeds(seed, num_worlds)
        rollout = Rollout(environment, policy, seeds=seeds, purpose="score", deterministic=actions == "greedy")
        figures = _live(rollout, environment)
    return {"policy": name, "actions": actions, "scenario": scenario, "num_worlds": num_worlds, "seed": seed, **figures}


def _live(rollout: Rollout, environment: TownEnvironment) -> dict[str, Any]:
    """Go through one episode of every world; all are equally long."""
    town = environment.town
    earned, agent_ticks = np.zeros(environment.num_worlds), np.zeros(environment.num_worlds)
    counts: dict[str, Array] = {}
    for _ in range(town.num_ticks):
        acted, _ended, after = rollout.step()
        earned += np.where(acted, after.rewards, 0).sum(axis=1, dtype=np.float64)
        agent_ticks += acted.sum(axis=1)
        for name in ("faint_events", "queue_conflict_events", "shift_ticks_scheduled", "shift_ticks_attended"):
            counts[name] = counts.get(name, 0) + after.events[name]
    means = earned / np.maximum(agent_ticks, 1)
    days = town.num_ticks / town.config.day_ticks
    scheduled = float(counts["shift_ticks_scheduled"].sum())
    attended = float(counts["shift_ticks_attended"].sum())
    attendance = {"attendance": round(attended / scheduled, 3)} if scheduled else {}
    return {
        "reward_mean": round(float(means.mean()), 5),
        "reward_stderr": round(float(means.std(ddof=1) / np.sqrt(len(means))), 5),
        "faints_per_day": round(float(counts["faint_events"].mean()) / days, 2),
        **attendance,
        "conflicts_per_day": round(float(counts["queue_conflict_events"].mean()) / days, 1),
    }
