"""Suites made of others: the same episodes and further ones; and a suite as a file that `load_suite` reads again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from townlet_core.config.dump import to_yaml
from townlet_core.services.suites import episode_seeds

if TYPE_CHECKING:
    from townlet_core.services.suites import Part, Suite

_MORE = "more-evaluation"


def lengthened(suite: Suite, times: int) -> Suite:
    """Return a suite of `times` as many episodes, which begins with those of `suite` in each of its parts."""
    if times == 1:
        return suite
    parts = tuple(replace(part, seeds=_more_seeds(part, number, times)) for number, part in enumerate(suite.parts))
    return replace(suite, parts=parts)


def _more_seeds(part: Part, number: int, times: int) -> tuple[int, ...]:
    wanted = times * len(part.seeds)
    drawn = episode_seeds(number, 2 * wanted, purpose=_MORE)  # twice as many, should some be there already
    return tuple(dict.fromkeys((*part.seeds, *drawn)))[:wanted]


def suite_document(suite: Suite) -> bytes:
    """Return a suite file with every seed; a scenario's file is named by its full path, wherever it is read from."""
    entries = []
    for part in suite.parts:
        environment = part.environment.model_dump(mode="json", exclude_defaults=True)
        scenario = part.environment.scenario
        if Path(scenario).is_file():
            environment["scenario"] = str(Path(scenario).resolve())
        entries.append({"environment": environment, "seeds": list(part.seeds)})
    return to_yaml({"name": suite.name, "score": suite.score_name, "entries": entries}).encode()
