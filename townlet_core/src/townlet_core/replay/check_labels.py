"""Checks of the dataset as a whole: what never changes in it, and what is therefore not worth learning.

Legend: R rows, F features, K choices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from townlet_core.replay.action_counts import ActionCounts
from townlet_core.replay.moments import blocks

if TYPE_CHECKING:
    from townlet_core.arrays import Array
    from townlet_core.replay.finding_log import FindingLog
    from townlet_core.replay.schema import DatasetManifest
    from townlet_core.replay.shard_view import ShardView

_MAJORITY = 0.99


class Labels:
    """Looks at every row once, and at the end at what it remembers.

    Args:
        manifest: of the dataset.
    """

    def __init__(self, manifest: DatasetManifest) -> None:
        self._manifest = manifest
        self._counts = ActionCounts(manifest.action_space)
        self._num_rows = 0
        self._extremes: dict[str, tuple[Array, Array]] = {}
        self._incomplete: set[str] = set()

    def add(self, view: ShardView) -> None:
        """Take in the rows of a shard."""
        self._num_rows += view.shard.entry.num_rows
        for name in (*self._manifest.observations, "rewards", *(() if self._counts.num_choices else ("actions",))):
            if view.has(name):
                self._widen(name, view.column(name))
                view.shard.forget(name)
            else:
                self._incomplete.add(name)
        if view.has("actions") and self._counts.num_choices:
            self._counts.add(view.column("actions"))
            if view.has("action_mask"):
                self._counts.add_masks(view.column("action_mask"))

    def _widen(self, name: str, rows: Array) -> None:
        for block in blocks(rows):
            least, most = block.min(axis=0), block.max(axis=0)
            low, high = self._extremes.get(name, (least, most))
            self._extremes[name] = np.minimum(low, least), np.maximum(high, most)

    def _is_constant(self, name: str) -> Array:
        """Return where a column never changed, in the shape of a row; nowhere if not all of it could be read."""
        if name in self._incomplete or name not in self._extremes:
            return np.zeros((), np.bool_)
        low, high = self._extremes[name]
        return np.asarray(low == high)  # not of NaN

    def finish(self, log: FindingLog) -> None:
        """Say what never changed; of a single row, that means nothing."""
        if self._num_rows < 2:
            return
        if self._is_constant("rewards").all():
            log.add("D501", f"every reward is {float(self._extremes['rewards'][0]):g}", column="rewards")
        if self._counts.num_choices:
            self._finish_choices(log)
        elif self._is_constant("actions").all():
            log.add("D503", f"every action is {self._extremes['actions'][0].tolist()}", column="actions")
        for name in self._manifest.observations:
            self._finish_feature(name, log)

    def _finish_choices(self, log: FindingLog) -> None:
        if not self._counts.num_rows:
            return  # the actions could not be read
        for share in self._counts.shares(self._manifest):
            size = int(self._counts.sizes[share.component])
            called = f"'{share.name}'" if len(self._counts.sizes) == 1 else f"'{share.name}' of part {share.component}"
            if not share.count:
                allowed = "" if share.allowed is None else f", and allowed in {share.allowed:.1%} of the rows"
                log.add("D502", f"{called} was never taken{allowed}", column="actions")
            elif size > 1 and share.count == self._counts.num_rows:
                log.add("D503", f"every row has {called}", column="actions")
            elif size > 1 and share.share > _MAJORITY:
                log.add("D504", f"{share.share:.2%} of the rows have {called}", column="actions")

    def _finish_feature(self, name: str, log: FindingLog) -> None:
        constant = self._is_constant(name)
        names = self._manifest.feature_names.get(name)
        if constant.ndim == 1:
            for index in np.flatnonzero(constant).tolist():
                value = self._extremes[name][0][index]
                called = f"'{names[index]}'" if names else f"entry {index}"
                log.add("D505", f"{called} is always {value:g}", column=name)
        elif constant.size and constant.all():
            log.add("D505", "no entry of it ever changes", column=name)
