"""A town of one world that keeps what happens in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from townlet_core.environments.town import TownEnvironment
from townlet_core.simulation.recording import RecordedTown

if TYPE_CHECKING:
    from townlet_core.config.environment import EnvironmentConfig

MOST_TICKS = 20_000
"""Longest recording; a page of more would be too large to open. [ticks]"""


def recorded_environment(config: EnvironmentConfig, num_ticks: int | None = None) -> TownEnvironment:
    """Return a town of one world that keeps what happens; its episode is at least `num_ticks` long."""
    environment = TownEnvironment(config, num_worlds=1)
    plain = environment.town
    length = max(num_ticks or 0, plain.num_ticks)
    environment.town = RecordedTown(plain.config, plain.scenario, 1, num_ticks=length)
    return environment
