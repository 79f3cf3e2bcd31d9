import re
import sys

import pytest
from hostile_files import marker_of, tree_of
from hostile_native import CORPUS, ROWS, first_rows, good, read_all

from townlet_core.errors import DatasetError, MissingInputError

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
