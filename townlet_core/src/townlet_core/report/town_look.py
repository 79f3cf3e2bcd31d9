"""How the town looks: its colours and icons, the same on the page and in pictures."""

from __future__ import annotations

import colorsys

Shape = tuple[str | float, ...]
"""A stroke in a box of 24 x 24: ``("line", x, y, x, y, ...)``, ``("rect", x, y, width, height, radius)`` or
``("circle", x, y, radius)``."""

ICON_SIZE = 24

ICONS: dict[str, tuple[Shape, ...]] = {
    "fridge": (
        ("rect", 6, 2.5, 12, 19, 2),
        ("line", 6, 10, 18, 10),
        ("line", 9, 5.5, 9, 7.5),
        ("line", 9, 12.5, 9, 16),
    ),
    "stove": (
        ("rect", 4, 3, 16, 18, 2),
        ("line", 4, 9, 20, 9),
        ("circle", 8, 6, 0.6),
        ("circle", 12, 6, 0.6),
        ("circle", 16, 6, 0.6),
        ("rect", 7.5, 12, 9, 6, 1),
    ),
    "shower": (
        ("line", 5, 21, 5, 6.5, 7.5, 3.5, 12, 3.5, 14.5, 6.5, 14.5, 8.5),
        ("line", 10, 8.5, 19, 8.5),
        ("line", 11.5, 12, 11, 14),
        ("line", 14.5, 12, 14.5, 14),
        ("line", 17.5, 12, 18, 14),
        ("line", 11, 17, 10.5, 19),
        ("line", 14.5, 17, 14.5, 19),
        ("line", 18, 17, 18.5, 19),
    ),
    "bed": (
        ("line", 3, 5, 3, 20),
        ("line", 3, 16.5, 21, 16.5),
        ("line", 21, 20, 21, 13, 18.5, 10, 12, 10, 12, 16.5),
        ("circle", 7.5, 12, 2),
    ),
    "grocer": (
        ("line", 2.5, 10, 21.5, 10, 18.5, 20.5, 5.5, 20.5, 2.5, 10),
        ("line", 7.5, 10, 10.5, 4),
        ("line", 16.5, 10, 13.5, 4),
        ("line", 9.5, 13.5, 9.5, 17),
        ("line", 14.5, 13.5, 14.5, 17),
    ),
    "cafe": (
        ("rect", 4, 9, 12, 11, 3),
        ("line", 16, 11, 19, 11, 20.5, 12.5, 20.5, 14.5, 19, 16, 16, 16),
        ("line", 8, 3, 8, 6),
        ("line", 12, 3, 12, 6),
    ),
}
"""By kind of object."""

KIND_COLOURS = {
    "fridge": "#3f8fb5",
    "stove": "#c7662e",
    "shower": "#2f9c95",
    "bed": "#7f6bb8",
    "grocer": "#6f8f2f",
    "cafe": "#a8623f",
}
NEED_COLOURS = {"hunger": "#dd8a2e", "hygiene": "#2f93c9", "energy": "#8c6fd0"}

_FIRST_COLOURS = ("#2f78c4", "#d6632a", "#2f9160", "#c0458a", "#7d57c2", "#94740f", "#1f8a92", "#c23b3b")


def agent_colours(count: int) -> list[str]:
    """Return `count` colours on which white digits can be read: eight that were chosen, then hues far from the last."""
    colours = list(_FIRST_COLOURS[:count])
    for index in range(len(colours), count):
        red, green, blue = colorsys.hls_to_rgb(index * 0.618034 % 1, 0.3 + 0.04 * (index % 3), 0.55)
        colours.append(f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}")
    return colours


def object_labels(kinds: list[str]) -> list[str]:
    """Return a label for each object: its kind, with a number where there are several of it."""
    labels = []
    for index, kind in enumerate(kinds):
        label = kind if kinds.count(kind) == 1 else f"{kind} {kinds[: index + 1].count(kind)}"
        labels.append(label)
    return labels
