import re
import sys

import pytest
from hostile_files import marker_of, tree_of
from hostile_legacy import CORPUS, good, good_catalogue, npz, read_all

from townlet_core.errors import DatasetError, MissingInputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="named pipes, devices and links of POSIX")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_what_the_corpus_is_made_from_is_good(root):
    read_all(good(root))
    read_all(good_catalogue(root))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", CORPUS)
def test_a_hostile_recording_gives_one_error_that_names_the_file(root, name):
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


def test_every_flipped_byte_of_an_archive_is_an_error_or_changes_no_number(root):
    path = good(root)
    whole = npz()
    for place in range(len(whole)):
        (root / "a.npz").write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            read_all(path)
        except DatasetError as error:
            assert "a.npz" in str(error)  # noqa: PT017  (most flips are errors, not all)
