"""Splits: which world-episode goes to which part, so that no part knows another.

Agents of one world-episode are not independent, so all of a group goes to one part. Groups are put in the order of
their keys, a function of the seed and the group's number alone, and cut by the shares: the order of the episodes does
not matter, and the shares are met as closely as whole groups allow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from townlet_core import randomness
from townlet_core.errors import UsageError, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAX_NAME = 64
USUAL_PARTS = ("train", "validation", "test")
"""What strategies look for: they learn from the first, and measure on the others."""


def parse_split(text: str) -> dict[str, float]:
    """Return the shares in ``train=0.8,test=0.2``.

    Raises:
        UsageError: it is not of this form, a name stands twice, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (word.strip() for word in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not (equals and name and name.isprintable() and len(name) <= _MAX_NAME and 0 < share <= 1):
            raise UsageError(f"{part!r} is no part of a split: write NAME=SHARE, such as train=0.8,test=0.2")
        if name in shares:
            raise UsageError(f"the split {text!r} names '{name}' twice")
        shares[name] = share
    if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-9):
        raise UsageError(f"the shares of the split {text!r} add up to {sum(shares.values()):g}, not to 1")
    return shares


def unusual(shares: Mapping[str, float]) -> str:
    """Return what is to be said of a split that no strategy would find the part to learn from in; '' for nothing."""
    if USUAL_PARTS[0] in shares:
        return ""
    near = next((said for name in shares if (said := suggestion(name, USUAL_PARTS))), "")
    return f"no part of the split is called 'train', which behaviour cloning learns from{near}"


def assign(groups: Iterable[int], shares: Mapping[str, float], *, seed: int) -> dict[int, str]:
    """Return the part of each group.

    Args:
        groups: their numbers, in any order.
        shares: name -> share of the groups; they add up to 1.
        seed: another one, another split.

    Raises:
        UsageError: there are fewer groups than parts, or `seed` is no seed.
    """
    numbers = np.unique(np.fromiter(groups, np.int64))
    if len(numbers) < len(shares):
        raise UsageError(
            f"{len(numbers)} world-episode{'' if len(numbers) == 1 else 's'} cannot be split into {len(shares)} parts: "
            "record more, or split less"
        )
    keys = randomness.key(seed, "split", numbers)
    order = numbers[np.lexsort((numbers, keys))]
    counts = _counts(len(order), list(shares.values()))
    names = np.repeat(np.array(list(shares), object), counts)
    return dict(zip(order.tolist(), names.tolist(), strict=True))


def _counts(total: int, shares: list[float]) -> list[int]:
    """Return whole numbers that add up to `total`, at least 1 each, closest to the shares (largest remainders)."""
    spare = total - len(shares)
    exact = [max(0.0, share * total - 1) for share in shares]
    scale = spare / max(sum(exact), 1e-12)
    exact = [number * scale for number in exact]
    counts = [math.floor(number + 1e-9) for number in exact]
    by_remainder = sorted(range(len(shares)), key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: spare - sum(counts)]:
        counts[part] += 1
    return [count + 1 for count in counts]
