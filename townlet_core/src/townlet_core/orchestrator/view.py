"""A world of the town, simulated once more so that somebody can look at it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from townlet_core.config.load import LoadedConfig, load_config
from townlet_core.errors import MissingInputError, UsageError, suggestion
from townlet_core.orchestrator.recorded_town import MOST_TICKS, recorded_environment
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.orchestrator.view_capture import replay_capture
from townlet_core.policy.artefact import artefact_path
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.unfinished import load_policy, policy_path
from townlet_core.replay.dataset import is_dataset
from townlet_core.runs.layout import CONFIG_NAME, RECORD_NAME
from townlet_core.services.rollout import Rollout
from townlet_core.services.scripts import make_script
from townlet_core.simulation.scenarios import SHIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.environments.town import TownEnvironment
    from townlet_core.plugins.registry import Registry
    from townlet_core.policy.base import Policy
    from townlet_core.simulation.recording import Recording

SCRIPTS = ("scripted", "random", "idle")
"""Policies that need no artefact."""


def record_town(
    source: str,
    *,
    registry: Registry,
    policy: str | None = None,
    seed: int | None = None,
    num_ticks: int | None = None,
    episode: int | None = None,
    sets: Sequence[str] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> Recording:
    """Simulate one world and return what happened in it.

    A seed gives the episode that an evaluation gives under the same seed.

    Args:
        source: directory of a run (its policy and its configuration of the environment are meant), or a scenario: the
            name of a shipped one, or a file; or a dataset that was captured in the town, of which an episode is lived
            once more.
        registry: the plugins, which may bring encoders.
        policy: who acts: a script of `SCRIPTS`, or the directory of a run or of an artefact. By default the run's own
            policy, in a scenario the script.
        seed: by default the scenario's.
        num_ticks: how many ticks; by default an episode, or `MOST_TICKS` of a longer one.
        episode: number of the world-episode of a dataset; by default the first.
        sets: ``environment.key=value`` strings; they win over the run's configuration.
        on_progress: called with (ticks done, ticks in all).

    Raises:
        MissingInputError: there is no such run, scenario or policy.
        ConfigError: the scenario or a value is wrong.
        ArtefactError: the policy is damaged, or does not fit what agents see.
        UsageError: the run is not one of the town, or an argument says nothing here.
        DatasetError: the dataset is damaged, or the simulation is another one now.
    """
    if is_dataset(Path(source)):
        if policy is not None or seed is not None or sets:
            raise UsageError(f"{source} is a dataset: its own policy, seed and environment are shown, and no others")
        return replay_capture(Path(source), episode=episode, num_ticks=num_ticks, on_progress=on_progress)
    if episode is not None:
        raise UsageError(f"{source} is no dataset: --episode chooses one of a captured dataset")
    is_run = Path(source).is_dir()
    if policy is None:
        policy = source if is_run else SCRIPTS[0]
    loaded = _configuration(source, policy=policy, is_run=is_run, sets=sets)
    config = loaded.config.environment.model_copy(update={"num_worlds": 1, "worlds_per_shard": None})
    with (
        threadpool_limits(limits=1),
        closing(recorded_environment(config, num_ticks)) as environment,
    ):
        town: Any = environment.town
        chosen, name = _policy(policy, environment, registry)
        seed = town.scenario.seed if seed is None else seed
        rollout = Rollout(environment, chosen, seeds=[seed], purpose="evaluate", deterministic=policy != "random")
        count = num_ticks or min(town.num_ticks, MOST_TICKS)
        for tick in range(count):
            rollout.step()
            if on_progress is not None:
                on_progress(tick + 1, count)
        recording: Recording = town.recording(policy=name)
        return recording


def _configuration(source: str, *, policy: str, is_run: bool, sets: Sequence[str]) -> LoadedConfig:
    """Return the configuration of the run that is looked at, or of that which the policy is from, or the default."""
    run = source if is_run else policy if policy not in SCRIPTS else None
    path = None if run is None else _run_config(Path(run))
    options = {} if is_run else {"environment.name": "town", "environment.scenario": _scenario(source)}
    loaded = load_config(path, sets=sets, environ=os.environ, options=options)
    if loaded.config.environment.name != "town":
        raise UsageError(
            f"{source} is a run of the environment '{loaded.config.environment.name}': only the town can be viewed"
        )
    return loaded


def _run_config(path: Path) -> Path | None:
    """Return the configuration of a run, or of the run around an artefact; None for an artefact alone."""
    run = path if (path / RECORD_NAME).is_file() else artefact_path(path).parent
    return run / CONFIG_NAME if (run / RECORD_NAME).is_file() and (run / CONFIG_NAME).is_file() else None


def _scenario(source: str) -> str:
    path = Path(source)
    if source in SHIPPED or path.exists():
        return source
    if len(path.parts) > 1 or path.suffix:
        raise MissingInputError(f"there is no run, no dataset and no scenario file {path}")
    raise MissingInputError(
        f"there is no directory {source}, of a run or a dataset, and no scenario of that name"
        f"{suggestion(source, SHIPPED)} (there are {', '.join(SHIPPED)})"
    )


def _policy(name: str, environment: TownEnvironment, registry: Registry) -> tuple[Policy, str]:
    """Return a policy, and what the page is to call it."""
    if name in SCRIPTS:
        return make_script(name, environment), name
    resolver = PluginResolver(registry, trust_code=False)
    path = policy_path(Path(name))
    artefact = load_policy(path, encoders=resolver.encoder)
    shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
    artefact.spec.require_fit(shown, subject=str(path), environment=environment.name)
    title = path.resolve().parent.name if path.name == "policy" else path.resolve().name
    return artefact.policy(encoders=resolver.encoder), f"{title} ({artefact.digest[:8]})"
