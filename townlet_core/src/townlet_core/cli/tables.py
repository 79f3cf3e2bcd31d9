"""Text for terminals: aligned columns, small plots, short numbers, and nothing that would steer the terminal."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from townlet_core.dto.dataset_summary import Histogram

_BLOCKS, _ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_BAR, _ASCII_BAR = "█", "#"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = (), most: int = 0
) -> list[str]:
    """Return the lines of a table.

    Args:
        header: titles.
        rows: cells.
        right: titles of the columns that are aligned to the right.
        most: letters of the first column that are shown; 0 for all.
    """
    cells = [[clipped(row[0], most) if most else row[0], *row[1:]] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if title in right else cell.ljust(width)
            for title, cell, width in zip(header, row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]


def clipped(text: str, most: int) -> str:
    """Return at most `most` letters of a text, the last of which says that there are more."""
    return text if len(text) <= most else text[: most - 1] + ("…" if _is_unicode() else "~")


def sparkline(histogram: Histogram | None) -> str:
    """Return one letter for each bin, the higher the more is in it; a bin with anything in it is never blank."""
    if histogram is None:
        return ""
    letters = _BLOCKS if _is_unicode() else _ASCII_BLOCKS
    most = max(histogram.counts)
    return "".join(letters[-(-count * (len(letters) - 1) // most)] for count in histogram.counts)


def trend(values: Sequence[float]) -> str:
    """Return one letter for each value, the higher the larger; all alike are low."""
    letters = (_BLOCKS if _is_unicode() else _ASCII_BLOCKS)[1:]
    least, most = min(values, default=0.0), max(values, default=0.0)
    half_range = most / 2 - least / 2  # half, because the whole could overflow
    return "".join(
        letters[round((value / 2 - least / 2) / half_range * (len(letters) - 1)) if half_range else 0]
        for value in values
    )


def short_number(value: float | None, width: int = 7) -> str:
    """Return as many of four digits as fit into `width` letters, which is 6 at least; a dash for none."""
    if value is None:
        return "-"
    if math.isfinite(value) and value == int(value) and len(str(int(value))) <= width:
        return str(int(value))
    texts = (_compact(f"{value:.{digits}g}") for digits in (4, 3, 2, 1))
    return next((text for text in texts if len(text) <= width), _compact(f"{value:.0e}"))


def _compact(text: str) -> str:
    """Return a number without the sign and the zeros that an exponent does not need."""
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else text


def short_count(value: float | None) -> str:
    """Return a count in five letters or less, such as `812k`; a dash for none."""
    if value is None or not math.isfinite(value):
        return "-" if value is None else f"{value:g}"
    scaled = value
    for unit in ("", "k", "M", "G"):
        if abs(scaled) < 999.5:
            return f"{scaled:.3g}{unit}"
        scaled /= 1000
    return _compact(f"{value:.0e}")


def bar(share: float, width: int) -> str:
    """Return a bar that is `width` long for a share of 1, and of a letter at least for anything above 0."""
    letter = _BAR if _is_unicode() else _ASCII_BAR
    return letter * max(round(share * width), int(share > 0))


def number(value: float | None) -> str:
    """Return four digits of a number, or a dash for none."""
    return "-" if value is None else f"{value + 0.0:.4g}"  # -0.0 + 0.0 is 0.0


def size(num_bytes: float) -> str:
    """Return a size with its unit, in powers of 1000."""
    for unit in _UNITS:
        if num_bytes < 1000 or unit == _UNITS[-1]:
            break
        num_bytes /= 1000
    return f"{num_bytes:.3g} {unit}" if num_bytes < 1000 else f"{num_bytes:,.0f} {unit}"


def count(number_of: int, what: str) -> str:
    """Return a number and what it counts, with an s unless it is one."""
    return f"{number_of:,} {what}{'' if number_of == 1 else 's'}"


def printable(text: str) -> str:
    """Return `text` with everything that would steer a terminal escaped."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _is_unicode() -> bool:
    try:
        (_BLOCKS + "…").encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
