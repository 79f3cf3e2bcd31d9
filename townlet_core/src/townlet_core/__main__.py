"""``python -m townlet_core`` is the program ``townlet``."""

import sys

from townlet_core.cli.main import main

if __name__ == "__main__":  # worker processes that are spawned import this file again
    sys.exit(main())
