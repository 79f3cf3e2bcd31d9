import re
import sys

import pytest
from datasets import OBSERVATION_SPACES, make_trajectory, write_dataset
from hostile_files import marker_of, tree_of
from hostile_native import CORPUS, ROWS, first_rows, good, read_all

from townlet_core.errors import DatasetError, MissingInputError
from townlet_core.replay.dataset import Dataset

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="named pipes, devices and links of POSIX")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_what_the_corpus_is_made_from_is_good(root):
    path = good(root)
    read_all(path)
    assert first_rows(path) == ROWS


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_dataset_gives_one_error_that_names_the_file(root, name):
    case = CORPUS[name]
    path = case.write(root)
    before = tree_of(root.parent)
    with pytest.raises(MissingInputError if case.is_absent else DatasetError) as caught:
        read_all(path)
    assert case.file in str(caught.value)
    assert re.search(case.words, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 2000
    assert tree_of(root.parent) == before
    assert not marker_of(root).exists()


@pytest.fixture
def tiny(root):
    # One episode of two steps, and no column that can be done without.
    without = dict.fromkeys(
        ("observation.map", "final.observation.map", "action_mask", "log_probs", "values", "bootstrap_values")
    )
    return write_dataset(
        root / "data",
        [make_trajectory(2, rows=without)],
        observation_spaces={"observation.features": OBSERVATION_SPACES["observation.features"]},
        event_kinds=(),
    ).path


def test_any_flipped_byte_is_an_error_or_another_digest(tiny):
    # Only what `dataset.json` says in words can change without an error: its digest is what others keep of a dataset.
    digest = Dataset(tiny).digest
    for file in sorted(tiny.rglob("*.*")):
        whole = file.read_bytes()
        for place in range(len(whole)):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            try:
                dataset = Dataset(tiny)
                dataset.require_intact()
            except DatasetError:
                continue
            assert file.name == "dataset.json", place
            assert dataset.digest != digest
        file.write_bytes(whole)
    read_all(tiny)


def test_any_truncation_is_an_error(tiny):
    for file in sorted(tiny.rglob("*.*")):
        whole = file.read_bytes()
        # Without the line break at its end, `dataset.json` says the same.
        for size in range(len(whole) - (file.name == "dataset.json")):
            file.write_bytes(whole[:size])
            with pytest.raises(DatasetError, match=re.escape(file.name)):
                Dataset(tiny).require_intact()
        file.write_bytes(whole)
    read_all(tiny)
