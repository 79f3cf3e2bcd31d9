"""Who is run on which episodes: one suite for all policies, longer where it cannot tell, and files that show it."""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from townlet_core.checkpoint.atomic import write_file
from townlet_core.checkpoint.filesystem import storage_guard
from townlet_core.environments.build import runs_code
from townlet_core.errors import RunInterrupted, UsageError
from townlet_core.runs.layout import make_with_parents
from townlet_core.services.contender import artefact_contender, script_contender
from townlet_core.services.suites import episode_seeds, load_suite, own_suite
from townlet_core.services.written_suites import lengthened, suite_document
from townlet_strategies_anneal.divergence import mean_divergence

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.context import TrainingContext
    from townlet_core.dto.evaluation import EvaluationResultDTO
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.runs.layout import RunDirectory
    from townlet_core.services.contender import Contender
    from townlet_core.services.suites import Suite
    from townlet_strategies_anneal.settings import AnnealSettings

MOST_WORLDS = 8
"""Worlds in which a divergence is measured."""


class Evaluations:
    """Evaluations of a run, each made once.

    Attributes:
        suite: the episodes.

    Args:
        context: of the run.
        run: its directory.
        settings: of the run.

    Raises:
        ConfigError: there is no such suite, or it is wrong.
        MissingInputError: there is no such suite file.
    """

    def __init__(self, context: TrainingContext, run: RunDirectory, settings: AnnealSettings) -> None:
        self._context, self._run, self._settings = context, run, settings
        self.suite = _suite(context, settings)
        self._known: dict[tuple[str, int], EvaluationResultDTO] = {}

    @property
    def environment(self) -> EnvironmentConfig:
        """Where stages act: the run's own environment, else the first one of the suite."""
        config = self._context.config.environment
        return config if config.name is not None else self.suite.parts[0].environment

    def script(self, name: str) -> EvaluationResultDTO | None:
        """Return the evaluation of a script; None where the suite's environments do not have it."""
        try:
            return self._evaluated(script_contender(name), name, 1)
        except UsageError:
            return None

    def policy(self, artefact: PolicyArtefact, path: str, times: int) -> EvaluationResultDTO:
        """Return the evaluation of a policy.

        Args:
            artefact: the policy.
            path: its directory in the run's directory.
            times: how many times as many episodes as the suite has.
        """
        contender = artefact_contender(
            artefact,
            name=path,
            encoders=self._context.resolver.encoder,
            deterministic=self._settings.evaluate_deterministic,
        )
        return self._evaluated(contender, artefact.digest, times)

    def named(self, name: str, times: int) -> EvaluationResultDTO:
        """Return the evaluation of a script that is known to be there."""
        return self._evaluated(script_contender(name), name, times)

    def divergence(self, clone: PolicyArtefact, policy: PolicyArtefact) -> float:
        """Return the mean of KL(clone || policy) on what the policy sees in the first environment of the suite."""
        context, part = self._context, self.suite.parts[0]
        encoders = context.resolver.encoder
        seeds = part.seeds[:MOST_WORLDS]
        contender = artefact_contender(policy, name="policy", encoders=encoders, deterministic=False)
        config = contender.view(part.environment)
        with closing(context.resolver.environment(config, num_worlds=len(seeds))) as environment:
            acting = policy.policy(encoders=encoders)
            return mean_divergence(clone.policy(encoders=encoders), acting, environment, seeds)

    def suite_file(self, times: int) -> str:
        """Return the file of the suite in the run's directory, which is written where it is missing."""
        suite = lengthened(self.suite, times)
        count = sum(len(part.seeds) for part in suite.parts)
        name = f"suites/{suite.name}-{count}.yaml"
        self._write(self._run.path / name, suite_document(suite))
        return name

    def command(self, policy: str, other: str, times: int, margin: float) -> str:
        """Return the command that compares two policies again, in the run's directory."""
        words = ["townlet", "evaluate", policy, "--against", other, "--suite", self.suite_file(times)]
        words += ["--margin", repr(margin)]
        if not self._settings.evaluate_deterministic:
            words.append("--stochastic")
        if any(runs_code(part.environment.name or "") for part in self.suite.parts):
            words.append("--trust-config")
        return shlex.join(words)

    def _evaluated(self, contender: Contender, key: str, times: int) -> EvaluationResultDTO:
        if (key, times) not in self._known:
            suite = lengthened(self.suite, times)
            result = self._context.services.evaluation.evaluate_suite(
                contender, suite, self._context.resolver.environment, on_progress=self._stop_if_asked
            )
            self._known[key, times] = result
            name = f"{key[:16]}-{len(result.episodes)}.json"
            data = result.model_dump_json(indent=1).encode() + b"\n"
            self._write(self._run.path / "evaluations" / name, data)
        return self._known[key, times]

    def _stop_if_asked(self, done: int, total: int) -> None:
        if self._context.stop.requested and done < total:
            raise RunInterrupted(f"stopped after {done} of {total} episodes of an evaluation")

    def _write(self, path: Path, data: bytes) -> None:
        if os.path.lexists(path):
            return
        with storage_guard("make", path.parent):
            make_with_parents(path.parent, self._run.filesystem)
        write_file(path, data, filesystem=self._run.filesystem)


def _suite(context: TrainingContext, settings: AnnealSettings) -> Suite:
    if settings.suite is not None:
        return load_suite(settings.suite)
    suite = own_suite(context.config.environment, episodes=settings.evaluate_episodes, seed=context.seed)
    seeds = episode_seeds(context.seed, settings.evaluate_episodes, purpose="anneal")
    return replace(suite, name="anneal", parts=tuple(replace(part, seeds=tuple(seeds)) for part in suite.parts))
