"""Where the time of a tick goes: by system, in the order of their cost."""

from __future__ import annotations

import cProfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from townlet_core.bench.town import WARMUP_TICKS, Workload
from townlet_core.config.town import TownConfig
from townlet_core.simulation.observations import Observer
from townlet_core.simulation.town import Town

if TYPE_CHECKING:
    from types import CodeType

    from townlet_core.config.scenario import ScenarioConfig

_FRAMES = {
    method.__code__
    for method in (
        Workload.step,
        Town.step,
        Town.advance,
        Town.settle,
        Town.action_mask,
        Town._look,  # noqa: SLF001  (the profile is of what stands in it)
        Town.observe,
        Observer.observe,
        Observer._write_features,  # noqa: SLF001  (likewise)
    )
}
"""Code that calls the systems; its own time is `the rest`."""
REST = "the rest"
_SYSTEMS = Path(Town.advance.__code__.co_filename).parent


def profile_town(
    scenario: ScenarioConfig, *, num_worlds: int, variant: str = "hybrid", ticks: int = 200, warmup: int = WARMUP_TICKS
) -> list[dict[str, Any]]:
    """Step a town under the profiler and return a row for each system; their shares add up to 1.

    The profiler makes every call slower, so with few worlds, where calls are most of the work, only the order of the
    systems can be relied on.

    Args:
        scenario: who lives there.
        num_worlds: N.
        variant: of the observations.
        ticks: how many are measured.
        warmup: ticks that are not measured.
    """
    profiler = cProfile.Profile()
    with threadpool_limits(limits=1):
        work = Workload(TownConfig.model_validate({"variant": variant}), scenario, num_worlds)
        work.warm_up(warmup)
        for _ in range(ticks):
            actions = work.actions()
            profiler.enable()
            work.step(actions)
            work.town.observe()
            profiler.disable()
    spent = _spent(profiler)
    total = sum(spent.values())
    return [
        {
            "num_worlds": num_worlds,
            "system": system,
            "us_per_tick": round(seconds / ticks * 1e6, 1),
            "share": round(seconds / total, 3),
        }
        for system, seconds in sorted(spent.items(), key=lambda item: -item[1])
    ]


def _spent(profiler: cProfile.Profile) -> dict[str, float]:
    """Return the seconds of what the frames call, by ``module.function``, and of the frames themselves."""
    spent = {REST: 0.0}
    for entry in profiler.getstats():
        if entry.code not in _FRAMES:
            continue
        spent[REST] += entry.inlinetime
        for called in entry.calls or ():
            if called.code in _FRAMES:
                continue
            name = _name(called.code)
            spent[name] = spent.get(name, 0.0) + called.totaltime
    return spent


def _name(code: CodeType | str) -> str:
    """Return ``module.function`` of a system, and `REST` for what is NumPy's or Python's."""
    if isinstance(code, str) or Path(code.co_filename).parent != _SYSTEMS:
        return REST
    return f"{Path(code.co_filename).stem}.{code.co_name.lstrip('_')}"
