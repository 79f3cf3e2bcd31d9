"""How often verdicts of non-inferiority are right: differences with a known mean, drawn many times.

Legend: E episodes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from townlet_core import randomness
from townlet_core.errors import UsageError
from townlet_core.services.comparison import judge
from townlet_core.services.statistics import estimate

if TYPE_CHECKING:
    from townlet_core.arrays import Array

Distribution = Literal["normal", "skewed"]


def measure_verdicts(
    *,
    episodes: int,
    effect: float,
    margin: float,
    distribution: Distribution = "normal",
    draws: int = 2000,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge drawn differences and return one row of figures.

    Args:
        episodes: E of each draw.
        effect: the true mean of a difference, in units of its standard deviation.
        margin: that of the verdict, in the same unit.
        distribution: `normal`; or `skewed`, where most episodes are a little better and a few much worse.
        draws: comparisons.
        resamples: of each interval.
        seed: of the draws.

    Returns:
        `pass`, `hold` and `fail`: shares of the verdicts; `wrong`: of those that say the contrary of what is true.

    Raises:
        UsageError: there is no such distribution.
    """
    found: Counter[str] = Counter()
    for number in range(draws):
        differences = effect + _standard(distribution, seed, number, episodes)
        found[judge(estimate(differences, resamples=resamples), margin)[0]] += 1
    shares = {verdict.lower(): found[verdict] / draws for verdict in ("PASS", "HOLD", "FAIL")}
    is_worse, is_at_border = effect < -margin, effect == -margin
    wrong = max(shares["pass"], shares["fail"]) if is_at_border else shares["pass" if is_worse else "fail"]
    return {
        "distribution": distribution,
        "effect": effect,
        "margin": margin,
        "episodes": episodes,
        **shares,
        "wrong": wrong,
    }


def _standard(distribution: str, seed: int, number: int, count: int) -> Array:
    """Return (E,) numbers with mean 0 and deviation 1."""
    uniform = randomness.uniform(randomness.key(seed, "verdicts", number), np.arange(2 * count)).reshape(2, count)
    if distribution == "normal":  # Box and Muller 1958
        return np.asarray(np.sqrt(-2 * np.log1p(-uniform[0])) * np.cos(2 * np.pi * uniform[1]))
    if distribution == "skewed":
        return np.asarray(1 + np.log1p(-uniform[0]))
    raise UsageError(f"there is no distribution '{distribution}': normal or skewed")
