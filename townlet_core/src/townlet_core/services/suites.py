"""Suites: those that are shipped, the user's own files, and the one of a policy's own environment."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from townlet_core import randomness
from townlet_core.config.base import settings_from
from townlet_core.config.problems import ConfigProblems, Problem, problems_of
from townlet_core.config.shipped import read_named
from townlet_core.config.suite import MAX_EPISODES, SuiteConfig, SuiteEntry
from townlet_core.dto.evaluation import SuitePart, SuiteRecord
from townlet_core.errors import ConfigError
from townlet_core.simulation.scenarios import load_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from townlet_core.config.document import Document
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.dto.evaluation import ScoreName

SHIPPED = ("town", "town-hard")
"""Names of the shipped suites."""
OWN = "own"
"""What the suite of a policy's own environment is called."""
_FILES = "suite_files"
_SPEED = {"num_worlds", "worlds_per_shard", "vectorization", "num_workers", "step_timeout_sec"}
_VIEW = {"variant", "map_dtype"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Episodes in one environment.

    Attributes:
        environment: its settings.
        scenario_digest: SHA-256 of the town's scenario; empty in other environments.
        seeds: one for each episode, none twice.
    """

    environment: EnvironmentConfig
    scenario_digest: str
    seeds: tuple[int, ...]

    def identity(self) -> dict[str, Any]:
        """Return what the episodes depend on, as JSON: neither how they are stepped, nor what a policy sees of them."""
        settings = self.environment.model_dump(mode="json", exclude=_SPEED | {"scenario"})
        settings["town"] = {name: value for name, value in settings["town"].items() if name not in _VIEW}
        return {"environment": settings, "scenario": self.scenario_digest, "seeds": list(self.seeds)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """An explicit list of episodes, the same for every policy.

    Attributes:
        name: its name.
        score_name: the field of an `EpisodeResult` that policies are compared by.
        parts: the episodes.
    """

    name: str
    score_name: ScoreName
    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over environments, scenarios, seeds, and what is the score."""
        content = {"score": self.score_name, "parts": [part.identity() for part in self.parts]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def record(self) -> SuiteRecord:
        """Return what a result says of the suite."""
        parts = (
            SuitePart(
                environment=part.environment.model_dump(mode="json"),
                scenario_digest=part.scenario_digest,
                num_episodes=len(part.seeds),
            )
            for part in self.parts
        )
        return SuiteRecord(name=self.name, digest=self.digest, parts=tuple(parts))


def load_suite(name: str) -> Suite:
    """Return a suite.

    Args:
        name: the name of a shipped one, or the path of a file: one that ends in .yaml, .yml or .json, or that has a
            directory in it. Files of scenarios in it are found from the working directory, as in a configuration.

    Raises:
        ConfigError: there is none of that name, or the file is wrong; all problems at once, with line and field.
        MissingInputError: there is no such file.
        StorageError: it cannot be read.
    """
    document, source = read_named(
        name, shipped=SHIPPED, package=__package__, folder=_FILES, what="suite", example="mine.yaml"
    )
    config = _checked(document, source)
    total = sum(len(entry.seeds) + entry.count for entry in config.entries)
    if total > MAX_EPISODES:
        raise ConfigError(f"{source}: entries: {total:,} episodes in all; a suite has at most {MAX_EPISODES:,}")
    parts = tuple(_part(entry.environment, _seeds(entry)) for entry in config.entries)
    _require_each_once(parts, source)
    score_name = config.score or _score_of_all(parts, source)
    return Suite(name=config.name, score_name=score_name, parts=parts)


def own_suite(environment: EnvironmentConfig, *, episodes: int, seed: int, purpose: str = "evaluation") -> Suite:
    """Return the suite of one environment, under seeds that are drawn from `seed`; see `episode_seeds`."""
    part = _part(environment, episode_seeds(seed, episodes, purpose=purpose))
    return Suite(name=OWN, score_name=default_score([environment.name or ""]), parts=(part,))


def scenario_digest(environment: EnvironmentConfig) -> str:
    """Return the SHA-256 of what the town's scenario says, wherever its file lies; empty in other environments."""
    if environment.name != "town":
        return ""
    scenario = load_scenario(environment.scenario, day_ticks=environment.town.day_ticks)
    return hashlib.sha256(scenario.model_dump_json().encode()).hexdigest()


def default_score(environments: Iterable[str]) -> ScoreName:
    """Return what policies are compared by: in the town lives are of different lengths, so that it is the reward."""
    return "reward_mean" if set(environments) == {"town"} else "episode_return"


def episode_seeds(seed: int, count: int, *, purpose: str = "evaluation") -> list[int]:
    """Return `count` seeds drawn from `seed`; a longer list begins with the shorter one.

    Args:
        seed: what they are drawn from.
        count: how many.
        purpose: seeds for another purpose are others, so that what was selected on one list is judged on another.
    """
    return randomness.integer_seed(randomness.key(seed, purpose, np.arange(count)))


def _checked(document: Document, source: str) -> SuiteConfig:
    """Return the suite; entries are checked one by one, so that what is wrong is found at its own line."""
    values = document.values
    problems: list[Problem] = []
    entries = values.get("entries")
    checked: list[SuiteEntry] = []
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        path = f"entries[{index}]"
        try:
            checked.append(settings_from(SuiteEntry, entry, path=path))
        except ConfigProblems as error:
            problems += error.problems
        else:
            problems += [Problem(path, message) for message in _wrong_seeds(checked[-1])]
    if not entries:
        problems.append(Problem("entries", "there is none; a suite is a list of them, each with its seeds"))
    try:
        config = SuiteConfig.model_validate({**values, "entries": checked} if isinstance(entries, list) else values)
    except ValidationError as error:
        config = None
        found = problems_of(error, SuiteConfig)
        problems += [problem for problem in found if not (problem.path == "entries" and problems)]
    if config is None or problems:
        raise ConfigProblems(problems).located(_origins(problems, document, source))
    return config


def _wrong_seeds(entry: SuiteEntry) -> Iterator[str]:
    if bool(entry.seeds) == bool(entry.count):
        yield "say which seeds: either seeds, a list, or count, how many are drawn from seed"
    if len(set(entry.seeds)) < len(entry.seeds):
        yield "a seed stands twice in seeds; every episode is run once"


def _origins(problems: Sequence[Problem], document: Document, source: str) -> Mapping[str, str]:
    """Return where every key is, and the file alone for what has no line, such as a key that is missing."""
    lines = {key: f"{source}:{line}" for key, line in document.lines.items()}
    return {problem.path.partition(".")[0]: source for problem in problems if problem.path} | lines


def _seeds(entry: SuiteEntry) -> Sequence[int]:
    return entry.seeds or episode_seeds(entry.seed, entry.count)


def _part(environment: EnvironmentConfig, seeds: Sequence[int]) -> Part:
    return Part(environment=environment, scenario_digest=scenario_digest(environment), seeds=tuple(seeds))


def _score_of_all(parts: Sequence[Part], source: str) -> ScoreName:
    names = [part.environment.name or "" for part in parts]
    if "town" in names and set(names) != {"town"}:
        raise ConfigError(
            f"{source}: score: it has the town and other environments: say what is compared, "
            "episode_return or reward_mean"
        )
    return default_score(names)


def _require_each_once(parts: Sequence[Part], source: str) -> None:
    seen: set[tuple[str, int]] = set()
    for number, (identity, seeds) in enumerate(_identities(parts)):
        for seed in seeds:
            if (identity, seed) in seen:
                raise ConfigError(
                    f"{source}: entries[{number}]: the episode of seed {seed} is in the suite already; each is run once"
                )
            seen.add((identity, seed))


def _identities(parts: Sequence[Part]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in parts:
        yield json.dumps({**part.identity(), "seeds": []}, sort_keys=True), part.seeds
