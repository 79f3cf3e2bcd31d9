"""A recording of the town as pictures: one frame as PNG, or the whole of it as an animated GIF; drawn with Pillow.

Legend: T frames, A agent slots.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from townlet_core.errors import UnavailableError, UsageError
from townlet_core.report.town_look import ICON_SIZE, ICONS, KIND_COLOURS, NEED_COLOURS, agent_colours

if TYPE_CHECKING:
    from PIL.Image import Image

    from townlet_core.config.scenario import ScenarioConfig
    from townlet_core.simulation.recording import Recording

MAP_PIXELS = 480
"""About the longer side of the map."""
MARGIN, PANEL, ROW, HEAD, FOOT = 10, 190, 30, 30, 20
GIF_EVERY, GIF_FRAME_MS, GIF_HOLD_MS = 4, 100, 2000

_BUSY = 0.28
"""How much of its colour a place in use has."""
_FINE = 2
"""Pictures are drawn this much larger, and made smaller with smooth edges."""
_PAPER, _GROUND, _TILE, _CARD, _INK, _SOFT, _TRACK = (
    "#f3efe6", "#dfe7cf", "#d8e1c6", "#fffdf8", "#29261f", "#6d675b", "#e3dccd",
)  # fmt: skip
_TONES = {1: "#2f8a57", 2: "#b8790f", 3: "#c03c35"}
_DOES = {"fridge": "eats", "stove": "cooks", "shower": "washes", "bed": "sleeps", "grocer": "works", "cafe": "works"}
_ACTIONS = ("waits", "walks", "walks", "walks", "walks", "asks", "leaves", "chats")


def tile_pixels(scenario: ScenarioConfig) -> int:
    """Return the length of a tile's side, in pixels."""
    return MAP_PIXELS // max(scenario.size)


def picture_size(scenario: ScenarioConfig) -> tuple[int, int]:
    """Return width and height of a picture, in pixels."""
    tile = tile_pixels(scenario)
    height = max(scenario.size[0] * tile, HEAD + ROW * min(scenario.num_agents, 8) + FOOT)
    return scenario.size[1] * tile + PANEL + 3 * MARGIN, height + 2 * MARGIN


def town_png(recording: Recording, frame: int) -> bytes:
    """Return one frame as a PNG file.

    Args:
        recording: what happened.
        frame: 0 is the beginning, then one for each tick.

    Raises:
        UsageError: there is no such frame.
        UnavailableError: Pillow is not installed.
    """
    if not 0 <= frame < recording.num_frames:
        raise UsageError(f"there is no tick {frame}: the recording goes from 0 to {recording.num_frames - 1}")
    file = io.BytesIO()
    _Painter(recording).frame(frame).save(file, "PNG", optimize=True)
    return file.getvalue()


def town_gif(recording: Recording, *, every: int = GIF_EVERY) -> bytes:
    """Return every `every`-th frame, and the last one, as an animated GIF.

    Raises:
        UnavailableError: Pillow is not installed.
    """
    painter = _Painter(recording)
    last = recording.num_frames - 1
    numbers = [*range(0, last, every), last]
    pictures = [painter.frame(number) for number in numbers]
    palette = painter.image.new("P", (1, 1))
    palette.putpalette(b"".join(bytes.fromhex(colour[1:]) for colour in _palette(painter.colours)))
    plain = painter.image.Dither.NONE
    indexed = [picture.quantize(palette=palette, dither=plain) for picture in pictures]
    file = io.BytesIO()
    durations = [GIF_FRAME_MS] * (len(indexed) - 1) + [GIF_HOLD_MS]
    indexed[0].save(file, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, disposal=1)
    return file.getvalue()


def _palette(agents: list[str]) -> list[str]:
    """Return the colours of pictures with those of their soft edges, the most needed first.

    With one palette for all frames, a frame of the animation holds only what has changed.
    """
    flat = [_PAPER, _GROUND, _TILE, _CARD, _INK, _SOFT, _TRACK, *agents, *KIND_COLOURS.values()]
    flat += [*NEED_COLOURS.values(), *_TONES.values()]
    flat += [_mixed(colour, _CARD, share) for colour in KIND_COLOURS.values() for share in (_BUSY, 0.5)]
    edges = [_mixed(text, _PAPER, share) for text in (_INK, _SOFT) for share in (0.3, 0.6)]
    edges += [_mixed(_CARD, ground, 0.5) for ground in (_GROUND, _TILE, _PAPER)]
    edges += [_mixed(colour, _CARD, 0.5) for colour in agents]
    edges += [_mixed(colour, _PAPER, 0.5) for colour in NEED_COLOURS.values()]
    edges += [_mixed(colour, _CARD, 0.25) for colour in agents]
    return list(dict.fromkeys([*flat, *edges]))[:256]


def require_pillow() -> None:
    """Check that pictures can be made; raises `UnavailableError`."""
    _pillow("Image")


def _pillow(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"PIL.{module}")
    except ImportError as error:
        raise UnavailableError("pictures need Pillow, which is missing: pip install 'townlet-core[view]'") from error


class _Painter:
    """Draws frames of one recording; what never changes is drawn once."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.scenario = recording.scenario
        self.image, self.draw, font = _pillow("Image"), _pillow("ImageDraw"), _pillow("ImageFont")
        self.fonts = {size: font.load_default(size * _FINE) for size in (10, 11, 12, 14)}
        self.size = picture_size(self.scenario)
        self.tile = tile_pixels(self.scenario)
        self.colours = agent_colours(self.scenario.num_agents)
        self.number_font = font.load_default(max(7, round(self.tile * 0.42)) * _FINE)
        self.ground = self._ground()

    def frame(self, frame: int) -> Image:
        """Return a frame as an RGB image."""
        canvas = self.ground.copy()
        pen = self.draw.Draw(canvas)
        for index, thing in enumerate(self.scenario.objects):
            is_busy = bool((self.recording.agents["using"][frame] == index).any())
            self._place(pen, thing.kind, thing.at, is_busy=is_busy)
        for agent in range(self.scenario.num_agents):
            self._link(pen, frame, agent)
        for agent in range(self.scenario.num_agents):
            self._person(pen, frame, agent)
        self._panel(pen, frame)
        small: Image = canvas.reduce(_FINE)
        return small

    def _ground(self) -> Image:
        width, height = self.size
        rows, columns = self.scenario.size
        canvas: Image = self.image.new("RGB", (width * _FINE, height * _FINE), _PAPER)
        pen = self.draw.Draw(canvas)
        far_x, far_y = MARGIN + columns * self.tile, MARGIN + rows * self.tile
        pen.rounded_rectangle(_fine(MARGIN - 4, MARGIN - 4, far_x + 4, far_y + 4), 8 * _FINE, fill=_GROUND)
        for row in range(rows):
            for column in range(row % 2, columns, 2):
                x, y = MARGIN + column * self.tile, MARGIN + row * self.tile
                pen.rectangle(_fine(x, y, x + self.tile, y + self.tile), fill=_TILE)
        left = far_x + MARGIN
        for need, colour in NEED_COLOURS.items():
            pen.ellipse(_fine(left, height - 21, left + 7, height - 14), colour)
            pen.text(_fine(left + 11, height - 17.5), need, _SOFT, self.fonts[11], anchor="lm")
            left += 64
        return canvas

    def _centre(self, y: float, x: float) -> tuple[float, float]:
        return MARGIN + (x + 0.5) * self.tile, MARGIN + (y + 0.5) * self.tile

    def _place(self, pen: Any, kind: str, at: tuple[int, int], *, is_busy: bool) -> None:
        colour = KIND_COLOURS[kind]
        x, y = MARGIN + at[1] * self.tile, MARGIN + at[0] * self.tile
        far = self.tile - 0.5
        fill = _mixed(colour, _CARD, _BUSY) if is_busy else _CARD
        edge = colour if is_busy else _mixed(colour, _CARD, 0.5)
        pen.rounded_rectangle(_fine(x, y, x + far, y + far), self.tile * 0.25 * _FINE, fill, edge, round(1.4 * _FINE))
        unit = self.tile * 0.72 / ICON_SIZE
        left, top = x + self.tile * 0.14, y + self.tile * 0.14
        width = max(1, round(2 * unit * _FINE))
        for shape, *numbers in ICONS[kind]:
            n = [float(number) * unit for number in numbers]
            if shape == "line":
                pen.line(_fine(*(n[i] + (top if i % 2 else left) for i in range(len(n)))), colour, width, joint="curve")
            elif shape == "rect":
                box = _fine(left + n[0], top + n[1], left + n[0] + n[2], top + n[1] + n[3])
                pen.rounded_rectangle(box, n[4] * _FINE, None, colour, width)
            else:
                pen.ellipse(_fine(left + n[0] - n[2], top + n[1] - n[2], left + n[0] + n[2], top + n[1] + n[2]),
                            None, colour, width)  # fmt: skip

    def _link(self, pen: Any, frame: int, agent: int) -> None:
        tables = self.recording.agents
        using, queue = int(tables["using"][frame, agent]), int(tables["queue"][frame, agent])
        index = using if using >= 0 else queue
        if not tables["present"][frame, agent] or index < 0:
            return
        here = self._centre(float(tables["y"][frame, agent]), float(tables["x"][frame, agent]))
        there = self._centre(*self.scenario.objects[index].at)
        if using >= 0:
            pen.line(_fine(*here, *there), self.colours[agent], 2 * _FINE)
            return
        for step in range(9):
            x, y = (a + (b - a) * step / 8 for a, b in zip(here, there, strict=True))
            pen.ellipse(_fine(x - 1, y - 1, x + 1, y + 1), self.colours[agent])

    def _person(self, pen: Any, frame: int, agent: int) -> None:
        tables = self.recording.agents
        if not tables["present"][frame, agent]:
            return
        x, y = self._centre(float(tables["y"][frame, agent]), float(tables["x"][frame, agent]))
        self._badge(pen, x, y, self.tile * 0.38, agent, self.number_font)
        tone = _TONES.get(int(tables["shift_state"][frame, agent]))
        if tone:
            x, y, radius = x + self.tile * 0.3, y + self.tile * 0.28, self.tile * 0.14
            pen.ellipse(_fine(x - radius, y - radius, x + radius, y + radius), tone, _CARD, _FINE)

    def _badge(self, pen: Any, x: float, y: float, radius: float, agent: int, font: Any) -> None:
        pen.ellipse(
            _fine(x - radius, y - radius, x + radius, y + radius), self.colours[agent], _CARD, round(1.3 * _FINE)
        )
        pen.text(_fine(x, y), str(agent), "#ffffff", font, anchor="mm")

    def _panel(self, pen: Any, frame: int) -> None:
        left = 2 * MARGIN + self.scenario.size[1] * self.tile
        pen.text(_fine(left, MARGIN), self.scenario.name[:24], _INK, self.fonts[14])
        pen.text(_fine(left + PANEL, MARGIN + 3), f"tick {frame}", _SOFT, self.fonts[11], anchor="ra")
        room = (self.size[1] - 2 * MARGIN - HEAD - FOOT) // ROW
        agents = self.scenario.num_agents
        shown = agents if agents <= room else room - 1
        for agent in range(shown):
            self._row(pen, frame, agent, left, MARGIN + HEAD + agent * ROW)
        if shown < agents:
            text = f"and {agents - shown} more"
            pen.text(_fine(left, MARGIN + HEAD + shown * ROW), text, _SOFT, self.fonts[11])

    def _row(self, pen: Any, frame: int, agent: int, left: int, top: int) -> None:
        tables = self.recording.agents
        self._badge(pen, left + 9, top + 11, 9, agent, self.fonts[10])
        if not tables["present"][frame, agent]:
            return
        for index, (need, colour) in enumerate(NEED_COLOURS.items()):
            y, share = top + 2 + 7 * index, float(tables[need][frame, agent])
            pen.rounded_rectangle(_fine(left + 25, y, left + 95, y + 4), 2 * _FINE, _TRACK)
            if share > 0.03:
                pen.rounded_rectangle(_fine(left + 25, y, left + 25 + 70 * share, y + 4), 2 * _FINE, colour)
        using, queue = int(tables["using"][frame, agent]), int(tables["queue"][frame, agent])
        if using >= 0:
            text = _DOES[self.scenario.objects[using].kind]
        elif queue >= 0:
            text = "in a queue"
        else:
            action = int(tables["action"][frame, agent])
            text = _ACTIONS[action] if action >= 0 else "begins"
        pen.text(_fine(left + 103, top + 11), text, _INK, self.fonts[12], anchor="lm")


def _fine(*numbers: float) -> list[float]:
    return [number * _FINE for number in numbers]


def _mixed(colour: str, ground: str, share: float) -> str:
    """Return `share` of a colour on a ground."""
    pairs = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(one * share + other * (1 - share)):02x}" for one, other in pairs)
