"""Evaluation of an artefact on disk: load it, build its environment, run the seeds. Needs no torch."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from townlet_core.config.load import LoadedConfig, load_config
from townlet_core.errors import ConfigError
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.policy.artefact import artefact_path, load_artefact
from townlet_core.policy.spec import PolicySpec
from townlet_core.runs.layout import CONFIG_NAME, RECORD_NAME
from townlet_core.services.evaluation import EvaluationService, episode_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from townlet_core.dto.evaluation import EvaluationResultDTO
    from townlet_core.plugins.registry import Registry

MOST_WORLDS = 64


def evaluate_artefact(
    path: Path,
    *,
    registry: Registry,
    environment_name: str | None = None,
    episodes: int = 100,
    seed: int = 0,
    sets: Sequence[str] = (),
    deterministic: bool = True,
    trust_config: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> EvaluationResultDTO:
    """Evaluate the policy in `path`.

    Args:
        path: directory of an artefact, or of a run, whose `policy/` is meant.
        registry: the plugins.
        environment_name: where; by default the environment that the policy was trained in. If it is the run's own, the
            run's configuration of it holds.
        episodes: how many.
        seed: what their seeds are drawn from.
        sets: ``environment.key=value`` strings; they win over the run's configuration.
        deterministic: take the most likely action instead of a sample.
        trust_config: an environment that only the run or the artefact names may import and run a module.
        on_progress: called with (episodes done, episodes in all).

    Raises:
        MissingInputError: there is no artefact.
        ArtefactError: it is damaged, or does not fit the environment; the text lists both.
        ConfigError: no environment is named, or a value is wrong.
    """
    policy_path = artefact_path(path)
    run_path = policy_path.parent
    resolver = PluginResolver(registry, trust_code=False)
    artefact = load_artefact(policy_path, encoders=resolver.encoder)
    loaded = policy_configuration(
        run_configuration(run_path),
        trained_in=artefact.document.provenance.environment,
        trust_config=trust_config,
        sets=sets,
        environ=os.environ,
        options={"environment.name": environment_name},
    )
    if loaded.config.environment.name is None:
        raise ConfigError(f"{policy_path} does not say what environment it was trained in: name one with --env")
    resolver = PluginResolver(registry, trust_code=loaded.trust_code)
    environment_config = loaded.config.environment
    if environment_config.vectorization == "entry_point":  # its worlds share one generator, and episodes must not
        environment_config = environment_config.model_copy(update={"vectorization": "sync"})
    with (
        threadpool_limits(limits=1),
        closing(resolver.environment(environment_config, num_worlds=min(episodes, MOST_WORLDS))) as environment,
    ):
        shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
        artefact.spec.require_fit(shown, subject=str(policy_path), environment=environment.name)
        return EvaluationService().evaluate(
            artefact.policy(encoders=resolver.encoder),
            environment,
            episode_seeds(seed, episodes),
            deterministic=deterministic,
            artefact_digest=artefact.digest,
            on_progress=on_progress,
        )


def run_configuration(run_path: Path) -> Path | None:
    """Return the configuration of the run in `run_path`; None where there is no run."""
    is_run = (run_path / RECORD_NAME).is_file() and (run_path / CONFIG_NAME).is_file()
    return run_path / CONFIG_NAME if is_run else None


def policy_configuration(run_config: Path | None, *, trained_in: str, trust_config: bool, **given: Any) -> LoadedConfig:
    """Return the configuration: that of the run where the environment is the run's own, else the defaults.

    A policy that was cloned from recordings of another environment than the run's own is at home in that other one.

    Args:
        run_config: the configuration of the run that made the artefact, or None.
        trained_in: the environment that the artefact names; neither it nor the run's configuration is trusted.
        trust_config: both are.
        **given: what the user says, as for `load_config`.
    """
    chosen = load_config(None, **given)
    named = chosen.config.environment.name if "environment.name" in chosen.origins else None
    own = None if run_config is None else load_config(run_config).config.environment.name
    if own is not None and named in (None, own) and (named is not None or trained_in in ("", own)):
        return load_config(run_config, **given, trust_config=trust_config)
    if named is None and trained_in:
        as_trained = load_config(None, **{**given, "options": {"environment.name": trained_in}})
        return replace(as_trained, trust_code=trust_config)
    return chosen
