from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.environments.build import make_environment
from townlet_core.randomness import integer_seed, key

if TYPE_CHECKING:
    from townlet_core.environments.vector import VectorEnvironment

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _toy_worlds_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent / "worlds"), *sys.path])


@pytest.fixture
def make() -> Iterator[Make]:
    """Make environments that are closed after the test, passed or failed."""
    made: list[VectorEnvironment] = []

    def build(name: str, **fields: Any) -> VectorEnvironment:
        environment = make_environment(EnvironmentConfig(name=name, **fields), trust_code=True)
        made.append(environment)
        return environment

    yield build
    for environment in made:
        environment.close()


@pytest.fixture
def episode_seed() -> Callable[..., int]:
    """Return the reset seed that (seed, world, episode) stands for."""
    return lambda seed, world, episode=0: integer_seed(key(seed, "environment", world, episode))[0]
