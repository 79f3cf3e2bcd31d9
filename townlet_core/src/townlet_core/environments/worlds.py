"""Making and closing several worlds of one source, all or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.errors import ConfigError
from townlet_core.spaces import describe_space

if TYPE_CHECKING:
    from collections.abc import Iterable

    from townlet_core.environments.gym_source import GymSource, World


def make_worlds(source: GymSource, count: int, *, like: World | None = None) -> tuple[list[World], list[int | None]]:
    """Make `count` worlds and return them with their time limits.

    Args:
        source: what makes a world.
        count: how many.
        like: a world whose spaces they must have; None = the first of them.

    Raises:
        ConfigError: two worlds have different spaces, or the source cannot make one.
        UnavailableError: an optional package is missing.
    """
    worlds: list[World] = []
    limits: list[int | None] = []
    try:
        for _ in range(count):
            world, limit = source.make()
            worlds.append(world)
            limits.append(limit)
            like = like or world
            for kind in ("observation_space", "action_space"):
                expected, found = getattr(like, kind), getattr(world, kind)
                if expected != found:
                    raise ConfigError(
                        f"environment '{source.name}' gives worlds with different spaces ({kind}): {describe_space(expected)} and "
                        f"{describe_space(found)}; all worlds must be alike"
                    )
    except BaseException:
        close_worlds(worlds)
        raise
    return worlds, limits


def close_worlds(worlds: Iterable[World]) -> None:
    """Close every world, whatever the others do."""
    for world in worlds:
        try:
            world.close()
        except Exception:  # noqa: BLE001, PERF203, S110  (what fails while closing cannot be helped any more)
            pass
