"""Who is evaluated: a trained policy or a script, with a name, and what it wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from townlet_core.policy.spec import PolicySpec
from townlet_core.services.scripts import make_script
from townlet_core.services.town_view import seen_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.policy.base import Policy
    from townlet_core.policy.encoder import EncoderResolver


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Somebody who can act in the environments of a suite.

    Attributes:
        name: what results call it.
        digest: of the artefact; empty for a script.
        deterministic: it takes the most likely action instead of a sample.
        policy: returns who acts in an environment, and refuses one that it does not fit.
        view: returns an environment's settings with what it wants to see of the same worlds.
    """

    name: str
    digest: str
    deterministic: bool
    policy: Callable[[VectorEnvironment], Policy]
    view: Callable[[EnvironmentConfig], EnvironmentConfig]


def artefact_contender(
    artefact: PolicyArtefact, *, name: str, encoders: EncoderResolver, deterministic: bool
) -> Contender:
    """Return a trained policy as a contender.

    Args:
        artefact: the policy.
        name: what results call it.
        encoders: finds encoders of plugins.
        deterministic: take the most likely action instead of a sample.
    """

    def policy(environment: VectorEnvironment) -> Policy:
        shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
        artefact.spec.require_fit(shown, subject=name, environment=environment.name)
        return artefact.policy(encoders=encoders)

    def view(config: EnvironmentConfig) -> EnvironmentConfig:
        return _exact(
            config.model_copy(update={"town": seen_by(artefact.spec, config.town)}) if config.name == "town" else config
        )

    return Contender(name=name, digest=artefact.digest, deterministic=deterministic, policy=policy, view=view)


def script_contender(name: str) -> Contender:
    """Return a script as a contender: `random`, which always samples, `idle`, or one that the environment has."""
    return Contender(
        name=name,
        digest="",
        deterministic=name != "random",
        policy=lambda environment: make_script(name, environment),
        view=_exact,
    )


def _exact(config: EnvironmentConfig) -> EnvironmentConfig:
    """Return settings whose worlds do not share a generator, as those of an entry point do."""
    return config.model_copy(update={"vectorization": "sync"}) if config.vectorization == "entry_point" else config
