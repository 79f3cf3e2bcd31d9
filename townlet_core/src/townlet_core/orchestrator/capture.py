"""Capture of a dataset: who acts where, under which seeds, and what the dataset says of it. Needs no torch."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from townlet_core.config.load import LoadedConfig, load_config
from townlet_core.dto.capture import CaptureResultDTO
from townlet_core.errors import ConfigError, RunInterrupted, UsageError
from townlet_core.orchestrator.capture_target import capture_seeds, capture_source, open_writer, recorded_seeds
from townlet_core.orchestrator.evaluate import named_artefact, policy_configuration, run_configuration
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.orchestrator.signals import StopOnSignal
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.unfinished import load_policy
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.writer import DEFAULT_SHARD_BYTES
from townlet_core.services.capture import RolloutCaptureService
from townlet_core.services.capture_plan import CapturePlan
from townlet_core.services.scripts import make_script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from townlet_core.config.root import SimulationConfig
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_core.plugins.registry import Registry
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.policy.base import Policy
    from townlet_core.replay.schema import Source
    from townlet_core.services.capture_plan import CaptureStatistics

MOST_WORLDS, MOST_WORLDS_BY_STEPS = 32, 8
"""Worlds that run side by side unless somebody says how many; fewer where the last episodes may be run in vain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much to capture: exactly one of the two.

    Attributes:
        episodes: world-episodes.
        agent_steps: agent-steps; the last episode is cut.
    """

    episodes: int | None = None
    agent_steps: int | None = None

    def __post_init__(self) -> None:
        """Check that one of them is given; raises `UsageError`."""
        if (self.episodes is None) == (self.agent_steps is None):
            raise UsageError("say how much to capture: either episodes or agent-steps")

    @property
    def num_worlds(self) -> int:
        """How many worlds are to run side by side, unless somebody says."""
        return MOST_WORLDS_BY_STEPS if self.episodes is None else min(MOST_WORLDS, self.episodes)


def capture_dataset(
    policy: str,
    out: Path,
    amount: Amount,
    *,
    registry: Registry,
    environment_name: str | None = None,
    seed: int = 0,
    num_worlds: int | None = None,
    stochastic: bool = False,
    sets: Sequence[str] = (),
    trust_config: bool = False,
    tags: Sequence[str] = (),
    append: bool = False,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    announce: Callable[[str], None] = lambda _line: None,
    on_progress: Callable[[int, int, int | None], None] = lambda _episodes, _steps, _expected: None,
) -> CaptureResultDTO:
    """Record what a policy does, and write it as a dataset.

    Args:
        policy: a script (`scripted`, `random`, `idle`, or another one that the environment brings along), or the
            directory of an artefact, or of a run, whose `policy/` is meant.
        out: directory of the dataset: new, or empty; with `append` a dataset.
        amount: how much.
        registry: the plugins.
        environment_name: where; by default the environment that the policy was trained in, for a script the town.
        seed: what the seeds of the episodes are drawn from.
        num_worlds: worlds that run side by side; it changes the speed alone.
        stochastic: sample the actions of a trained policy, instead of the most likely ones; `random` always samples.
        sets: ``environment.key=value`` strings; they win over the run's configuration.
        trust_config: an environment that only the run or the artefact names may import and run a module.
        tags: words that every episode is marked with.
        append: go on with the dataset at `out`, under seeds that it does not have yet.
        shard_bytes: see `DatasetWriter`.
        announce: takes a line for the user when a stop is asked for.
        on_progress: called after every step with (world-episodes written, agent-steps made, those that it will be at
            most; None where nobody knows).

    Raises:
        MissingInputError: there is no such policy, or no dataset to go on with.
        ArtefactError: the policy is damaged, or does not fit the environment.
        UsageError: `out` is something else, the dataset has other spaces, or there is no such script.
        EnvironmentFault: the environment failed; the episodes before that are kept.
        RunInterrupted: it was asked to stop; what was finished is kept.
    """
    begin = time.perf_counter()
    path = named_artefact(policy)
    encoders = PluginResolver(registry, trust_code=False).encoder
    artefact = None if path is None else load_policy(path, encoders=encoders)
    loaded = _configuration(
        path, artefact, trust_config=trust_config, sets=sets, environ=os.environ, options=_named(environment_name)
    )
    config = _settled(loaded.config)
    resolver = PluginResolver(registry, trust_code=loaded.trust_code)
    with (
        threadpool_limits(limits=1),
        closing(resolver.environment(config.environment, num_worlds=num_worlds or amount.num_worlds)) as environment,
    ):
        if artefact is not None:
            shown = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
            artefact.spec.require_fit(shown, subject=str(path), environment=environment.name)
        acting: Policy = make_script(policy, environment) if artefact is None else artefact.policy(encoders=encoders)
        deterministic = policy != "random" if artefact is None else not stochastic
        name = policy if path is None else policy_title(path)
        source = capture_source(config, policy=name, artefact=artefact, deterministic=deterministic)
        used, first_group = recorded_seeds(out) if append else (set(), 0)
        service = RolloutCaptureService()
        with (
            StopOnSignal(announce, doing="keeping the episodes that are finished") as stop,
            open_writer(
                out,
                environment,
                event_kinds=service.event_kinds(environment),
                append=append,
                shard_bytes=shard_bytes,
            ) as writer,
        ):
            plan = CapturePlan(
                seeds=capture_seeds(seed, used),
                episodes=amount.episodes,
                agent_steps=amount.agent_steps,
                first_group=first_group,
                source=writer.add_source(source),
                tags=tuple(tags),
                deterministic=deterministic,
            )
            expected = _expected_steps(environment, amount)
            statistics = service.capture(
                environment,
                acting,
                writer,
                plan,
                should_stop=lambda: stop.requested,
                on_progress=lambda episodes, steps: on_progress(episodes, steps, expected),
            )
            if statistics.interrupted:
                raise RunInterrupted(_how_to_go_on(out, statistics))
    return _result(out, source, statistics, duration_sec=time.perf_counter() - begin)


def _expected_steps(environment: VectorEnvironment, amount: Amount) -> int | None:
    """Return the agent-steps that it will be at most; None where episodes have no length that is known."""
    if amount.episodes is None:
        return amount.agent_steps
    town = getattr(environment, "town", None)
    return None if town is None else amount.episodes * environment.num_agents * int(town.num_ticks)


def _named(environment_name: str | None) -> dict[str, Any]:
    return {"environment.name": environment_name}


def _configuration(
    path: Path | None, artefact: PolicyArtefact | None, *, trust_config: bool, **given: Any
) -> LoadedConfig:
    if path is None or artefact is None:
        return load_config(None, **given)
    trained_in = artefact.document.provenance.environment
    loaded = policy_configuration(
        run_configuration(path.parent), trained_in=trained_in, trust_config=trust_config, **given
    )
    if loaded.config.environment.name is None:
        raise ConfigError(f"{path} does not say what environment it was trained in: name one with --env")
    return loaded


def _settled(config: SimulationConfig) -> SimulationConfig:
    """Return the configuration of one world, which every episode is as if it were alone in."""
    update: dict[str, Any] = {"num_worlds": 1, "worlds_per_shard": None}
    if config.environment.vectorization == "entry_point":  # its worlds share one generator, and episodes must not
        update["vectorization"] = "sync"
    return config.model_copy(update={"environment": config.environment.model_copy(update=update)})


def policy_title(path: Path) -> str:
    """Return what the artefact in `path` is called: the run's name, or the directory's."""
    return path.resolve().parent.name if path.name == "policy" else path.resolve().name


def _how_to_go_on(out: Path, statistics: CaptureStatistics) -> str:
    if statistics.episodes == 0:
        return "stopped before a world-episode was finished; nothing was added"
    plural = "" if statistics.episodes == 1 else "s"
    return (
        f"stopped after {statistics.episodes:,} world-episode{plural}, {statistics.agent_steps:,} agent-steps, which "
        f"are in {out}; "
        "the same command with --append records further ones"
    )


def _result(out: Path, source: Source, statistics: CaptureStatistics, *, duration_sec: float) -> CaptureResultDTO:
    dataset, has_returns = Dataset(out), statistics.num_returns > 0
    return CaptureResultDTO(
        dataset=str(out),
        dataset_digest=dataset.digest,
        dataset_bytes=dataset.num_bytes,
        environment=source.environment,
        policy=source.policy,
        policy_digest=source.policy_digest,
        deterministic=bool(source.deterministic),
        world_episodes=statistics.episodes,
        episodes=statistics.trajectories,
        agent_steps=statistics.agent_steps,
        terminated=statistics.endings["terminated"],
        truncated=statistics.endings["truncated"],
        cut=statistics.endings["cut"],
        return_mean=statistics.return_mean if has_returns else None,
        return_std=statistics.return_std if has_returns else None,
        return_min=statistics.return_min if has_returns else None,
        return_max=statistics.return_max if has_returns else None,
        duration_sec=duration_sec,
        steps_per_sec=statistics.agent_steps / duration_sec,
    )
