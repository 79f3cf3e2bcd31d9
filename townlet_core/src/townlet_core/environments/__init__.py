"""Environments as arrays: the contract (`vector`), how a name becomes one (`build`), and the adapters.

Import those from their modules, as in `from townlet_core.environments.build import make_environment`. The names below
are the town as other libraries know environments; each is imported when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from townlet_core.environments.town_env import TownEnv
    from townlet_core.environments.town_parallel import TownParallelEnv
    from townlet_core.environments.town_vector_env import TownVectorEnv

__all__ = ["TownEnv", "TownParallelEnv", "TownVectorEnv"]

_HOMES = {"TownEnv": "town_env", "TownParallelEnv": "town_parallel", "TownVectorEnv": "town_vector_env"}


def __getattr__(name: str) -> object:
    """Import a public name where it lives, once (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'townlet_core.environments' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"townlet_core.environments.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names too, for completion in a shell."""
    return sorted({*globals(), *__all__})
