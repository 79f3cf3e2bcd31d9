"""Run mutants: `python tests/bc/run_bc_mutants.py [NAME]...`, by default all of them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "fixtures"))

from bc_mutants import CONTROL, MUTANTS
from mutation import run_all

if __name__ == "__main__":
    chosen = {name: (MUTANTS | CONTROL)[name] for name in sys.argv[1:] or MUTANTS}
    sys.exit(run_all(chosen, Path(__file__).parent))
