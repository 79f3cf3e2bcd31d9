"""Misspelt keys: all refused, and the right key is suggested."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townlet_core.config.load import load_config
from townlet_core.config.problems import ConfigProblems
from townlet_core.config.sections import every_path
from townlet_strategies_ppo.settings import PPOSettings

STRATEGIES = {"ppo": PPOSettings}
PATHS = [path for path in every_path(STRATEGIES) if path != "strategies.ppo"]
NAMES = {path.rpartition(".")[2] for path in PATHS}
LETTERS = "abcdefghijklmnopqrstuvwxyz_"
EDITS = ["delete", "insert", "replace", "swap", "double", "hyphen"]


def misspelt(name, edit, place, letter):
    """Return `name` with one slip of the fingers at `place`."""
    place %= len(name)
    head, here, tail = name[:place], name[place], name[place + 1 :]
    return {
        "delete": head + tail,
        "insert": head + letter + here + tail,
        "replace": head + letter + tail,
        "swap": head + tail[:1] + here + tail[1:],
        "double": head + here + here + tail,
        "hyphen": name.replace("_", "-"),
    }[edit]


def refusal(path):
    with pytest.raises(ConfigProblems) as caught:
        load_config(None, sets=[f"{path}=1"], strategies=STRATEGIES)
    return str(caught.value)


def typos(*, count, seed):
    """Yield (right path, misspelt path), every path in turn."""
    chance = random.Random(seed)
    found = 0
    while found < count:
        for path in PATHS:
            section, dot, name = path.rpartition(".")
            wrong = misspelt(name, chance.choice(EDITS), chance.randrange(100), chance.choice(LETTERS))
            if wrong and wrong not in NAMES:
                found += 1
                yield path, f"{section}{dot}{wrong}"


def test_typos_of_every_key_are_refused_and_the_right_key_is_suggested():
    pairs = list(typos(count=600, seed=1))
    assert {right for right, _ in pairs} == set(PATHS)
    missed = []
    for right, wrong in pairs:
        text = refusal(wrong)
        suggested = re.search(r"did you mean '([^']*)'", text)
        if suggested is None or suggested[1] != right:
            missed.append((wrong, text))
    assert len(missed) <= 0.05 * len(pairs), missed


@given(
    path=st.sampled_from(PATHS), edit=st.sampled_from(EDITS), place=st.integers(0, 100), letter=st.sampled_from(LETTERS)
)
def test_a_misspelt_key_is_never_accepted(path, edit, place, letter):
    section, dot, name = path.rpartition(".")
    wrong = misspelt(name, edit, place, letter)
    if wrong and wrong not in NAMES:
        assert f"{section}{dot}{wrong} (--set): there is no such key" in refusal(f"{section}{dot}{wrong}")


@pytest.mark.parametrize("path", [path for path in PATHS if "." in path])
def test_a_key_without_its_section_is_found_where_it_lives(path):
    assert f"did you mean '{path}'?" in refusal(path.rpartition(".")[2])
