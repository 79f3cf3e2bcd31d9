"""Evaluation of policies by name: who acts, on which suite, and how they compare. Needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from townlet_core.config.load import LoadedConfig, load_config
from townlet_core.dto.comparison import EvaluationReportDTO
from townlet_core.errors import ConfigError, MissingInputError, UsageError
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.policy.unfinished import load_policy, policy_path
from townlet_core.runs.layout import CONFIG_NAME, RECORD_NAME
from townlet_core.services.contender import Contender, artefact_contender, script_contender
from townlet_core.services.evaluation import EvaluationService
from townlet_core.services.suites import Suite, load_suite, own_suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.plugins.registry import Registry
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.policy.encoder import EncoderResolver

SCRIPTS = ("scripted", "random", "idle")
"""Policies that need no artefact, and are never taken for a directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSuite:
    """Episodes in the environment of the policy that is judged.

    Attributes:
        environment_name: where; by default the environment that the policy was trained in, for a script the town. If it
            is the run's own, the run's configuration of it holds.
        episodes: how many.
        seed: what their seeds are drawn from.
        sets: ``environment.key=value`` strings; they win over the run's configuration.
    """

    environment_name: str | None = None
    episodes: int = 100
    seed: int = 0
    sets: Sequence[str] = ()


def evaluate_policies(
    policy: str,
    *,
    registry: Registry,
    against: Sequence[str] = (),
    suite: str | OwnSuite,
    margin: float = 0.0,
    deterministic: bool = True,
    trust_config: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda _name, _done, _total: None,
) -> EvaluationReportDTO:
    """Evaluate a policy, and others on the same episodes, and hold it against each of them.

    Args:
        policy: a script (`SCRIPTS`, or another one that the environment brings along), or the directory of an artefact,
            or of a run, whose `policy/` is meant.
        registry: the plugins.
        against: the others, named likewise.
        suite: the name or file of a suite, or episodes in the policy's own environment.
        margin: how much worse still counts as not worse, in units of the score.
        deterministic: trained policies take the most likely action instead of a sample; `random` always samples.
        trust_config: an environment that only a run, an artefact or a suite names may import and run a module.
        on_progress: called with (policy, episodes done, episodes in all).

    Raises:
        MissingInputError: there is no such policy, or no such suite file.
        ArtefactError: a policy is damaged, or does not fit the environment; the text lists both.
        ConfigError: no environment is named, or a value or the suite is wrong.
    """
    encoders = PluginResolver(registry, trust_code=False).encoder
    artefacts = {name: _artefact(name, registry) for name in (policy, *against)}
    episodes, trust_code = (
        (load_suite(suite), trust_config)
        if isinstance(suite, str)
        else _own_suite(suite, policy, artefacts[policy], trust_config=trust_config)
    )
    resolver, service = PluginResolver(registry, trust_code=trust_code), EvaluationService()
    results = []
    with threadpool_limits(limits=1):
        for name in (policy, *against):
            contender = _contender(name, artefacts[name], deterministic=deterministic, encoders=encoders)
            told = partial(on_progress, name)
            try:
                results.append(service.evaluate_suite(contender, episodes, resolver.environment, on_progress=told))
            except UsageError as error:
                if name in SCRIPTS or artefacts[name] is not None:
                    raise
                raise UsageError(f"there is no run and no policy at {name}, and {error}") from error
    own, *others = results
    comparisons = tuple(service.compare(own, other, margin=margin) for other in others)
    return EvaluationReportDTO(**{name: getattr(own, name) for name in type(own).model_fields}, against=comparisons)


def named_artefact(policy: str) -> Path | None:
    """Return the directory of the artefact that `policy` means, see `policy_path`; None for a script.

    Raises:
        MissingInputError: it is meant as a directory, and there is none.
    """
    path = Path(policy)
    if policy in SCRIPTS:
        return None
    if path.exists():
        return policy_path(path)
    if len(path.parts) > 1:
        raise MissingInputError(f"there is no policy and no run {path}")
    return None


def _artefact(name: str, registry: Registry) -> PolicyArtefact | None:
    path = named_artefact(name)
    encoders = PluginResolver(registry, trust_code=False).encoder
    return None if path is None else load_policy(path, encoders=encoders)


def _contender(
    name: str, artefact: PolicyArtefact | None, *, deterministic: bool, encoders: EncoderResolver
) -> Contender:
    if artefact is None:
        return script_contender(name)
    return artefact_contender(artefact, name=name, encoders=encoders, deterministic=deterministic)


def _own_suite(
    asked: OwnSuite, policy: str, artefact: PolicyArtefact | None, *, trust_config: bool
) -> tuple[Suite, bool]:
    """Return the suite, and whether its environment may import and run a module."""
    path = named_artefact(policy)
    given: dict[str, Any] = {
        "sets": asked.sets,
        "environ": os.environ,
        "options": {"environment.name": asked.environment_name},
    }
    if path is None or artefact is None:
        loaded = load_config(None, **given)
    else:
        trained_in = artefact.document.provenance.environment
        run_config = run_configuration(path.parent)
        loaded = policy_configuration(run_config, trained_in=trained_in, trust_config=trust_config, **given)
        if loaded.config.environment.name is None:
            raise ConfigError(f"{path} does not say what environment it was trained in: name one with --env")
    return own_suite(loaded.config.environment, episodes=asked.episodes, seed=asked.seed), loaded.trust_code


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
