"""Making and closing several worlds of one source, all or none."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from townlet_core.errors import ConfigError
from townlet_core.spaces import describe_space

if TYPE_CHECKING:
    from collections.abc import Iterable

    from townlet_core.environments.gym_source import GymSource, World
    from townlet_core.spaces import Space


def make_worlds(
    source: GymSource, count: int, *, like: tuple[Space, Space] | None = None
) -> tuple[list[World], list[int | None]]:
    """Make `count` worlds and return them with their time limits.

    Args:
        source: what makes a world.
        count: how many.
        like: the observation and action space that they must have; None = those of the first.

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
            found = world.observation_space, world.action_space
            like = like or found
            for kind, expected, own in zip(("observation", "action"), like, found, strict=True):
                if expected != own:
                    raise ConfigError(
                        f"environment '{source.name}' gives worlds with different {kind} spaces: "
                        f"{describe_space(expected)} and {describe_space(own)}; all worlds must be alike"
                    )
    except BaseException:
        close_worlds(worlds)
        raise
    return worlds, limits


def close_worlds(worlds: Iterable[World]) -> None:
    """Close every world, whatever the others do."""
    for world in worlds:
        with contextlib.suppress(Exception):  # what fails while closing cannot be helped any more
            world.close()
