"""Fuzzes what reads recordings of the earlier format: manifests, catalogues, captures, metadata and archives.

Anything raised but `DatasetError`, `MissingInputError` and `UsageError` is a finding, and so are Python's warnings.
"""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "fixtures")]

INSTRUMENTED = ["townlet_core.replay", "townlet_core.config.document", "yaml", "zipfile", "numpy.lib"]
with atheris.instrument_imports(include=INSTRUMENTED):
    import hostile_legacy
    from fuzzing import Files, fuzz, strictly
    from hostile_archives import ARRAYS, npy_bytes, npz

    from townlet_core.errors import DatasetError, MissingInputError, TownletWarning, UsageError
    from townlet_core.replay.legacy import open_legacy
    from townlet_core.replay.legacy.importing import import_legacy

CATALOGUE = {
    "one": {"manifest": "manifest.json", "checksums": "sums.json", "tags": ["a"], "status": "active", "notes": "n"},
    "two": {"manifest": "manifest.yaml", "captures_dir": ".", "status": "deprecated"},
}
SUMS = {name: {"sample": f"{name}.npz", "meta": f"{name}.json", "sha256": "0" * 64} for name in "ab"}


def write(root):
    hostile_legacy.good(root)
    (root / "manifest.yaml").write_text("metadata: {}\nsamples:\n- {sample: a.npz, accepted: true}\n- b.npz\n")
    (root / "versions.json").write_text(json.dumps(CATALOGUE))
    (root / "sums.json").write_text(json.dumps(SUMS))
    (root / "x_manifest.json").write_text('[{"sample": "a.npz", "agent_id": "a", "frame_count": 4}]')
    (root / "x_metrics.json").write_text('{"metadata": {}, "samples": {"a.npz": {"timesteps": 4}}}')
    (root / "rewards.npy").write_bytes(npy_bytes(ARRAYS["rewards"]))
    return root


FILES = Files(write)
ROOT = FILES.made
ARCHIVE, MEMBER = ROOT / "a.npz", ROOT / "rewards.npy"
OUT = ROOT.parent / "out"


def imported(path):
    """Import into a directory that is deleted again."""
    try:
        import_legacy(path, OUT, working_dir=ROOT)
    finally:
        shutil.rmtree(OUT, ignore_errors=True)


READERS = (
    lambda: hostile_legacy.read_all(ROOT / "manifest.json"),
    lambda: hostile_legacy.read_all(ARCHIVE),
    lambda: hostile_legacy.read_all(ROOT / "manifest.yaml"),
    lambda: hostile_legacy.read_all(ROOT / "versions.json"),
    lambda: hostile_legacy.read_all(ROOT / "x_manifest.json"),
    lambda: open_legacy(ROOT / "versions.json", dataset="one"),
    lambda: imported(ROOT / "manifest.json"),
)


def one_input(data):
    """Read recordings some of whose files are the input's; the first byte says how they are opened."""
    FILES.put(data[1:])
    if MEMBER in FILES.named:  # a member of the archive, packed with a right CRC
        FILES.write(ARCHIVE, npz(rewards=MEMBER.read_bytes()))
    with suppress(DatasetError, MissingInputError, UsageError):
        READERS[(data[0] if data else 0) % len(READERS)]()


if __name__ == "__main__":
    strictly(ignored=[TownletWarning])
    fuzz(atheris, "legacy", FILES, len(READERS), one_input)
