"""How fast the town is stepped, with and without what its agents see; one thread, nothing but the simulation.

Legend: N worlds, A agent slots.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from townlet_core.config.scenario import ScenarioConfig
from townlet_core.config.town import PerturbationsConfig, TownConfig
from townlet_core.errors import UsageError
from townlet_core.services.noise import ActionNoise
from townlet_core.services.scripts import RandomPolicy
from townlet_core.simulation.scenarios import load_scenario
from townlet_core.simulation.tick import Action
from townlet_core.simulation.town import Town

if TYPE_CHECKING:
    from collections.abc import Sequence

    from townlet_core.arrays import Array
    from townlet_core.context import Clock

WARMUP_TICKS = 300
GROWTH_WORLDS = 64
_ENDLESS = 10**9


class ProcessorClock:
    """The processor time of this process, to which other work on the machine adds little."""

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds of processor time."""
        return time.process_time()


class Workload:
    """A town in which everybody does something at random, newcomers and perturbations included.

    Attributes:
        town: the town; its episode does not end.

    Args:
        config: the constants.
        scenario: who lives there.
        num_worlds: N.
        seed: of the worlds and of the actions.
    """

    def __init__(self, config: TownConfig, scenario: ScenarioConfig, num_worlds: int, *, seed: int = 0) -> None:
        is_on = config.perturbations.model_copy(update={"enabled": True})
        config = config.model_copy(update={"perturbations": PerturbationsConfig.model_validate(is_on.model_dump())})
        self.town = Town(config, scenario, num_worlds, num_ticks=_ENDLESS)
        self.town.reset([seed] * num_worlds, range(num_worlds))
        self._choice = RandomPolicy(len(Action))
        self._noise = ActionNoise(seed, "bench", num_worlds=num_worlds, num_agents=scenario.num_agents, size=1)

    def actions(self) -> Array:
        """Return (N, A) actions, drawn from what is possible now."""
        return self._choice.choose({}, self.town.action_mask(), self._noise.next())

    def step(self, actions: Array) -> None:
        """Make one tick, up to the action mask of the next one."""
        self.town.step(actions)
        self.town.action_mask()

    def warm_up(self, ticks: int) -> None:
        """Go on until the town is as it is in the midst of a day."""
        for _ in range(ticks):
            self.step(self.actions())
        self.town.observe()


def crowded_scenario(num_agents: int) -> ScenarioConfig:
    """Return four towns of `default` in one, on 48 x 48 tiles, with A citizens in all and as many of each job.

    The objects are the same for every A, so that what grows is the agents' part alone.

    Raises:
        UsageError: A is no multiple of 8, or above 64.
    """
    plain = load_scenario("default")
    if num_agents % plain.num_agents or not 0 < num_agents <= 64:
        raise UsageError(f"{num_agents} agents: a crowd has 8, 16, 24, ... up to 64 of them")
    rows, columns = plain.size
    data = plain.model_dump()
    data["size"] = (2 * rows, 2 * columns)
    data["objects"] = [
        {**thing, "at": (thing["at"][0] + south * rows, thing["at"][1] + east * columns)}
        for south in (0, 1)
        for east in (0, 1)
        for thing in data["objects"]
    ]
    factor = num_agents // plain.num_agents
    data["agents"] = [{**agent, "count": agent["count"] * factor} for agent in data["agents"]]
    return ScenarioConfig.model_validate(data)


def measure_town(
    scenario: ScenarioConfig,
    *,
    num_worlds: int,
    variant: str = "hybrid",
    map_dtype: str = "uint8",
    seconds: float = 2.0,
    warmup: int = WARMUP_TICKS,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Step a town for a while and return one row of figures; the drawing of actions is not timed.

    Args:
        scenario: who lives there.
        num_worlds: N.
        variant: of the observations.
        map_dtype: type of the map.
        seconds: how long to measure, after the warm-up; at least two ticks are made.
        warmup: ticks that are not measured.
        clock: the time, by default the processor's.

    Returns:
        `step_per_sec`: agent-steps per second of the tick and the next action mask; `observed_per_sec`: with the
        observations as well; each also by the median tick. Without a clock of its own these are seconds of processor
        time: on one thread and an idle machine, the same as any others.
    """
    clock = clock or ProcessorClock()
    config = TownConfig.model_validate({"variant": variant, "map_dtype": map_dtype})
    stepping: list[float] = []
    watching: list[float] = []
    present: list[int] = []
    with threadpool_limits(limits=1):
        work = Workload(config, scenario, num_worlds)
        work.warm_up(warmup)
        end = clock.monotonic() + seconds
        while len(stepping) < 2 or clock.monotonic() < end:
            present.append(int(np.count_nonzero(work.town.state.present)))
            actions = work.actions()
            begin = clock.monotonic()
            work.step(actions)
            middle = clock.monotonic()
            work.town.observe()
            stepping.append(middle - begin)
            watching.append(clock.monotonic() - begin)
    return {
        "variant": variant,
        "map": "none" if variant == "compact" else map_dtype,
        "num_worlds": num_worlds,
        "num_agents": scenario.num_agents,
        "tiles": "x".join(map(str, scenario.size)),
        "ticks": len(stepping),
        "step_per_sec": _rate(present, stepping),
        "step_per_sec_median": _median_rate(present, stepping),
        "observed_per_sec": _rate(present, watching),
        "observed_per_sec_median": _median_rate(present, watching),
    }


def _rate(steps: Sequence[int], spent: Sequence[float]) -> int:
    return round(sum(steps) / sum(spent))


def _median_rate(steps: Sequence[int], spent: Sequence[float]) -> int:
    return round(float(np.median(np.array(steps) / np.array(spent))))
