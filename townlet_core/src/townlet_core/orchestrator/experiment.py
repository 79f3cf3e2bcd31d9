"""Whether a run may go on: with the same experiment, and from the same policy."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from townlet_core.config.document import read_document
from townlet_core.config.dump import config_digest, experiment, experiment_digest, experiment_of, leaves
from townlet_core.config.load import load_config
from townlet_core.errors import ConfigError, MissingInputError
from townlet_core.services import suites

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from townlet_core.config.root import SimulationConfig
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.runs.layout import RunDirectory
    from townlet_core.runs.status import RunRecord

_ABSENT = object()


def scenario_digest(config: SimulationConfig) -> str:
    """Return the SHA-256 of what the town's scenario says, wherever its file lies; empty in other environments."""
    return suites.scenario_digest(config.environment)


def require_same_experiment(
    run: RunDirectory,
    record: RunRecord,
    config: SimulationConfig,
    resolve: Callable[[SimulationConfig], SimulationConfig],
) -> None:
    """Check that `config` is what the run was begun with, but for what changes no result.

    An earlier version may have begun it, which did not know every setting: those have their defaults then.

    Args:
        run: its directory.
        record: its record.
        config: what it is to go on with, resolved.
        resolve: completes the sections of strategies.

    Raises:
        ConfigError: it is not; the text lists the keys.
    """
    if record.config_digest == config_digest(config) or _is_completed(run, record, config, resolve):
        if record.scenario_digest not in ("", scenario_digest(config)):
            raise ConfigError(
                f"the scenario {config.environment.scenario} is not what it was when {run.path} was begun: "
                "give the file its former contents, or begin a new run"
            )
        return
    before = dict(leaves(experiment_of(read_document(run.config_path).values)))
    now = dict(leaves(experiment(config)))
    changes = [
        f"\n  {key}: {_shown(before, key)} then, {_shown(now, key)} now"
        for key in sorted(before | now)
        if before.get(key, _ABSENT) != now.get(key, _ABSENT)
    ]
    raise ConfigError(
        f"the configuration is not the one that {run.path} was begun with (see {run.config_path}); "
        "resume without CONFIG and --set, or begin a new run; one that is to train longer, or otherwise, begins from "
        f"its policy with --from {shlex.quote(str(run.path))}{''.join(changes)}"
    )


def _is_completed(
    run: RunDirectory,
    record: RunRecord,
    config: SimulationConfig,
    resolve: Callable[[SimulationConfig], SimulationConfig],
) -> bool:
    """Return whether `config` is that of the run, as it was written, with settings that are newer than the run."""
    if experiment_digest(experiment_of(read_document(run.config_path).values)) != record.config_digest:
        return False  # somebody has changed the file
    try:
        then = resolve(load_config(run.config_path).config)
    except ConfigError:  # of a setting that is not there any more
        return False
    return config_digest(then) == config_digest(config)


def require_same_telemetry(run: RunDirectory, config: SimulationConfig) -> None:
    """Check that a run goes on with the lines of telemetry that it has; raises `ConfigError`."""
    begun = dict(leaves(read_document(run.config_path).values)).get("tracking.telemetry", "2.0")
    if begun != config.tracking.telemetry:
        raise ConfigError(
            f"{run.path} has telemetry of version {begun}, and goes on with that: resume with --telemetry {begun}, "
            "or without CONFIG and --set"
        )


def require_same_start(run: RunDirectory, record: RunRecord, given: PolicyArtefact | None) -> None:
    """Check that a run that began from a policy goes on from that one.

    Raises:
        ConfigError: another policy is given.
        MissingInputError: none is given, and the run has no checkpoint that holds its own.
    """
    begun = f"from the policy with sha256 {record.initial_policy[:12]}" if record.initial_policy else "from no policy"
    if given is not None and given.digest != record.initial_policy:
        raise ConfigError(
            f"{run.path} was begun {begun}, and not from the one with sha256 {given.digest[:12]}: "
            "resume without --from, or begin a new run"
        )
    if given is None and record.initial_policy and not run.checkpoints().steps():
        raise MissingInputError(
            f"{run.path} was begun {begun}, and ended before its first checkpoint: "
            "name that policy again with --from, or begin a new run"
        )


def _shown(values: Mapping[str, Any], key: str) -> str:
    """Return a value as it is typed behind ``--set``: null, false, a text without quotes."""
    if key not in values:
        return "absent"
    value = values[key]
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
