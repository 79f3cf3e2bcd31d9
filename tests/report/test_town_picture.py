"""Pictures have the size that is promised, and an animation every 4th tick and the last one."""

import io
import sys

import pytest
from PIL import Image
from report_recordings import made_up

from townlet_core.errors import UnavailableError, UsageError
from townlet_core.report.town_look import agent_colours
from townlet_core.report.town_picture import picture_size, tile_pixels, town_gif, town_png


def test_a_picture_has_the_size_that_follows_from_the_scenario(recording):
    with Image.open(io.BytesIO(town_png(recording, 3))) as picture:
        assert picture.format == "PNG"
        assert picture.size == picture_size(recording.scenario) == (8 * 60 + 190 + 30, 6 * 60 + 20)


def test_a_picture_shows_each_agent_in_its_colour_where_it_stands(recording):
    tile = tile_pixels(recording.scenario)
    with Image.open(io.BytesIO(town_png(recording, 30))) as picture:
        for agent, colour in enumerate(agent_colours(3)):
            x, y = 10 + (agent + 0.5) * tile, 10 + (3 + 0.5) * tile
            seen = picture.convert("RGB").getpixel((round(x - tile * 0.25), round(y)))
            assert seen == tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_agent_has_a_colour_of_its_own_on_which_white_digits_can_be_read():
    colours = agent_colours(64)
    assert len(set(colours)) == 64
    assert min(1.05 / (luminance(colour) + 0.05) for colour in colours) >= 3


def test_an_animation_holds_every_fourth_tick_and_the_last_one():
    with Image.open(io.BytesIO(town_gif(made_up(frames=23)))) as animation:
        assert animation.n_frames == 7  # 0, 4, ..., 20, 22
        assert animation.info["loop"] == 0
        assert animation.size == picture_size(made_up().scenario)


def test_more_agents_than_there_is_room_for_are_counted():
    recording = made_up(frames=2, agents=20)
    with Image.open(io.BytesIO(town_png(recording, 1))) as picture:
        assert picture.size == picture_size(recording.scenario)


def test_a_tick_that_is_not_there_is_an_error_that_says_which_are(recording):
    with pytest.raises(UsageError, match="no tick 41: the recording goes from 0 to 40"):
        town_png(recording, 41)


def test_without_pillow_the_error_says_what_to_install(recording, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnavailableError, match=r"pip install 'townlet-core\[view\]'"):
        town_png(recording, 0)
