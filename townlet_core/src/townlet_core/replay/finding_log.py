"""`FindingLog`: gathers findings by code, the first places of each and how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.dto.dataset_findings import Finding, Place, ValidationReport
from townlet_core.replay.finding_codes import FINDING_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from townlet_core.arrays import Array
    from townlet_core.replay.shard_view import ShardView

_ORDER = ("error", "warning", "note")


class FindingLog:
    """What was found so far.

    Args:
        limit: places that are kept for each code.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._places: dict[str, list[Place]] = {}
        self._counts: dict[str, int] = {}

    def add(self, code: str, detail: str = "", **place: Any) -> None:
        """Note one thing; `place` has the fields of a `Place`."""
        self._counts[code] = self._counts.get(code, 0) + 1
        places = self._places.setdefault(code, [])
        if len(places) < self._limit:
            places.append(Place(detail=detail, **place))

    def rows(
        self, code: str, view: ShardView, column: str, rows: Array, detail: Callable[[int], str] | str = ""
    ) -> None:
        """Note rows (n,) of a shard, counted from its first one.

        Args:
            code: of the finding.
            view: the shard.
            column: whose rows they are.
            rows: ascending.
            detail: what was found, or what says it for a row.
        """
        self._many(code, rows, lambda row: view.place_of_row(column, row), detail)

    def episodes(
        self, code: str, view: ShardView, column: str | None, episodes: Array, detail: Callable[[int], str] | str = ""
    ) -> None:
        """Note episodes (n,) of a shard, counted from its first one; arguments as `rows`."""
        self._many(code, episodes, lambda episode: view.place_of_episode(column, episode), detail)

    def _many(
        self,
        code: str,
        numbers: Iterable[Any],
        place: Callable[[int], dict[str, Any]],
        detail: Callable[[int], str] | str,
    ) -> None:
        array = np.asarray(numbers)
        if not len(array):
            return
        room = max(0, self._limit - len(self._places.get(code, ())))
        for number in array[:room].tolist():
            self.add(code, detail if isinstance(detail, str) else detail(number), **place(number))
        self._counts[code] = self._counts.get(code, 0) + len(array) - min(room, len(array))

    def report(self, *, path: str, digest: str, against: str | None) -> ValidationReport:
        """Return everything that was found, errors first."""
        findings = sorted(
            (
                Finding(
                    code=code,
                    name=FINDING_CODES[code].name,
                    severity=FINDING_CODES[code].severity,
                    meaning=FINDING_CODES[code].meaning,
                    remedy=FINDING_CODES[code].remedy,
                    count=count,
                    places=tuple(self._places.get(code, ())),
                )
                for code, count in self._counts.items()
            ),
            key=lambda finding: (_ORDER.index(finding.severity), finding.code),
        )
        of = {severity: sum(finding.severity == severity for finding in findings) for severity in _ORDER}
        return ValidationReport(
            path=path,
            digest=digest,
            against=against,
            errors=of["error"],
            warnings=of["warning"],
            notes=of["note"],
            findings=tuple(findings),
        )
