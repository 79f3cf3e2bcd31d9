"""Run mutants: `python tests/ppo/run_mutants.py [NAME]...`, by default all of them.

A mutant is made in a copy of the package, which is put first on the path; the code itself is never touched. The
libraries are imported once, and every mutant gets a process forked from there.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from detail_mutants import CONTROL, MUTANTS

if TYPE_CHECKING:
    from mutants import Mutant

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PACKAGES = {
    "townlet_core": ROOT / "townlet_core/src/townlet_core",
    "townlet_strategies_ppo": ROOT / "townlet_strategies_ppo/src/townlet_strategies_ppo",
}
SURVIVED, KILLED, NOT_RUN = 0, 1, 99
CRASHES = ("SyntaxError", "ImportError", "NameError", "AttributeError", "TypeError", "IndexError", "RuntimeError")


def make(mutant: Mutant, target: Path) -> bool:
    """Copy the mutant's package into `target`, with its one line changed; return whether there is such a line."""
    package = mutant.file.partition("/")[0]
    shutil.copytree(PACKAGES[package], target / package)
    path = target / mutant.file
    text = path.read_text()
    path.write_text(text.replace(mutant.original, mutant.mutated))
    return text.count(mutant.original) == 1


def run(mutant: Mutant, scratch: Path) -> int:
    """Run the mutant's test in this process, which is spoilt by it; return pytest's exit code."""
    import pytest

    package = mutant.file.partition("/")[0]
    module = mutant.file.removesuffix(".py").replace("/", ".")
    sys.path.insert(0, str(scratch))
    os.environ["PYTHONPATH"] = str(scratch)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(scratch / "hypothesis")
    os.environ["COLUMNS"] = "300"
    sys.dont_write_bytecode = True
    options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--basetemp={scratch / 'tmp'}"]
    early = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported before pytest is told of it
    code = pytest.main([*options, *early, str(HERE / mutant.test)])
    used = getattr(sys.modules.get(module), "__file__", None) or ""
    assert package in used
    return int(code) if used.startswith(str(scratch)) else NOT_RUN


def run_forked(mutant: Mutant) -> tuple[int, str]:
    """Run the mutant in a child process; return its exit code and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if not make(mutant, scratch):
            return NOT_RUN, f"{mutant.file} does not have {mutant.original!r} once: bring the table up to date"
        log = scratch / "log"
        child = os.fork()
        if child == 0:
            code = NOT_RUN
            with log.open("w") as stream:
                os.dup2(stream.fileno(), 1)
                os.dup2(stream.fileno(), 2)
            try:
                code = run(mutant, scratch)
            except BaseException:  # noqa: BLE001  (a child never returns into its parent's code)
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), log.read_text()


def main(names: list[str]) -> int:
    """Run the mutants called `names`, by default all; return how many were not killed."""
    import gymnasium  # noqa: F401  (imported before the fork, so that mutants need not)
    import hypothesis  # noqa: F401
    import pydantic  # noqa: F401
    import pytest  # noqa: F401
    import safetensors.numpy  # noqa: F401
    import torch

    torch.set_num_threads(1)
    assert not any(name.startswith("townlet") for name in sys.modules)
    not_killed = 0
    for name in names or MUTANTS:
        code, said = run_forked((MUTANTS | CONTROL)[name])
        reason = next((line for line in said.splitlines() if line.startswith("FAILED")), "").partition(" - ")[2]
        if reason.partition(":")[0] in CRASHES:  # it fails because it is no program, and not because it is wrong
            code = NOT_RUN
        not_killed += code != KILLED
        outcome = {SURVIVED: "SURVIVED", KILLED: "killed"}.get(code, f"NOT RUN ({code})")
        print(outcome, name, reason, sep="\t", flush=True)  # noqa: T201
        if code not in (SURVIVED, KILLED):
            print(said)  # noqa: T201
    return not_killed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
