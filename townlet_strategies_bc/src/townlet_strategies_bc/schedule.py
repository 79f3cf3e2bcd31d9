"""How the learning rate falls over a run."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate(schedule: Schedule, done: float) -> float:
    """Return the share of the first learning rate that is left when `done` (0 to 1) of the run is made.

    Cosine is Loshchilov and Hutter 2017 ("SGDR"), equation 5, without restarts.
    """
    if schedule == "linear":
        return 1.0 - done
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0
