"""Evaluation of an artefact on disk: load it, build its environment, run the seeds. Needs no torch."""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from townlet_core import randomness
from townlet_core.config.load import load_config
from townlet_core.errors import ArtefactError, ConfigError
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.policy.artefact import load_artefact
from townlet_core.policy.spec import PolicySpec
from townlet_core.services.evaluation import EvaluationService

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from townlet_core.dto.evaluation import EvaluationResultDTO
    from townlet_core.plugins.registry import Registry

MOST_WORLDS = 64


def episode_seeds(seed: int, count: int) -> list[int]:
    """Return `count` seeds drawn from `seed`; a longer list begins with the shorter one."""
    return [randomness.integer_seed(randomness.key(seed, "evaluation", index))[0] for index in range(count)]


def evaluate_artefact(
    path: Path,
    *,
    registry: Registry,
    environment_name: str | None = None,
    episodes: int = 100,
    seed: int = 0,
    sets: Sequence[str] = (),
    deterministic: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationResultDTO:
    """Evaluate the policy in `path`.

    Args:
        path: directory of an artefact, or of a run, whose `policy/` is meant.
        registry: the plugins.
        environment_name: where; by default the environment that the policy was trained in, as its run configured it.
        episodes: how many.
        seed: what their seeds are drawn from.
        sets: ``environment.key=value`` strings.
        deterministic: take the most likely action instead of a sample.
        on_progress: called with (episodes done, episodes in all).

    Raises:
        MissingInputError: there is no artefact.
        ArtefactError: it is damaged, or does not fit the environment; the text lists both.
        ConfigError: no environment is named, or a value is wrong.
    """
    run_config = path / "config.yaml" if (path / "policy").is_dir() else path.parent / "config.yaml"
    artefact_path = path / "policy" if (path / "policy").is_dir() else path
    resolver = PluginResolver(registry, trust_code=environment_name is not None)
    artefact = load_artefact(artefact_path, encoders=resolver.encoder)
    loaded = load_config(
        run_config if environment_name is None and run_config.is_file() else None,
        sets=sets,
        environ=os.environ,
        options={"environment.name": environment_name or artefact.document.provenance.environment or None},
    )
    if loaded.config.environment.name is None:
        raise ConfigError(f"{artefact_path} does not say what environment it was trained in: name one with --env")
    environment_config = loaded.config.environment
    if environment_config.vectorization == "entry_point":  # its worlds share one generator, and episodes must not
        environment_config = environment_config.model_copy(update={"vectorization": "sync"})
    with (
        threadpool_limits(limits=loaded.config.training.num_threads),
        closing(resolver.environment(environment_config, num_worlds=min(episodes, MOST_WORLDS))) as environment,
    ):
        shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
        if not shown.same_spaces(artefact.spec):
            raise ArtefactError(
                f"{artefact_path} does not fit {environment.name}:\n"
                f"  the policy sees {artefact.spec.observations} and decides {artefact.spec.action}\n"
                f"  the environment shows {shown.observations} and takes {shown.action}"
            )
        return EvaluationService().evaluate(
            artefact.policy(encoders=resolver.encoder),
            environment,
            episode_seeds(seed, episodes),
            deterministic=deterministic,
            policy_digest=artefact.digest,
            on_progress=on_progress,
        )
