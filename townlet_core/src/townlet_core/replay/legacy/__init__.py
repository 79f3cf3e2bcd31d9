"""Recordings of the earlier town simulator: read in every shape that they have, and written back.

- `sample`, `manifest`, `metrics`, `catalogue`: the files, as records that keep what they do not know
- `vocabulary`: one action vocabulary over files whose ids are their own
- `opening`: `open_legacy`, any of these files as a list of samples
- `plan`, `importing`: to a native dataset
- `actions`, `restoring`, `exporting`: from a native dataset
- `writing`, `rewriting`: a directory of the earlier format, from samples in memory or from another one
"""

from townlet_core.replay.legacy.exporting import export_legacy
from townlet_core.replay.legacy.importing import import_legacy
from townlet_core.replay.legacy.opening import LegacyDataset, is_legacy, open_legacy
from townlet_core.replay.legacy.rewriting import rewrite_legacy

__all__ = ["LegacyDataset", "export_legacy", "import_legacy", "is_legacy", "open_legacy", "rewrite_legacy"]
