"""Damaged and hostile directories are refused by name, and the newest good checkpoint is found behind them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from townlet_core.checkpoint import manifest
from townlet_core.checkpoint.atomic import write_directory
from townlet_core.checkpoint.manifest import is_plain_name, read_directory
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.errors import ArtefactError, CheckpointError, MissingInputError

GOOD = {"weights.bin": bytes(range(64)), "state.json": b'{"step": 1}', "empty": b""}


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save(1, GOOD)
    store.save(2, {**GOOD, "state.json": b'{"step": 2}'})
    return store


def damages(data):
    """Yield every truncation of `data`, and `data` with every bit flipped."""
    for length in range(len(data)):
        yield f"cut to {length}", data[:length]
    for position in range(len(data)):
        for bit in range(8):
            yield (
                f"bit {bit} of byte {position}",
                data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :],
            )


@pytest.mark.parametrize("name", ["weights.bin", "state.json", "manifest.json"])
def test_every_truncation_and_every_flipped_bit_falls_back_to_the_previous_checkpoint(store, name):
    path = store.root / "000000000002" / name
    whole = path.read_bytes()
    missed = []
    for damage, data in damages(whole):
        path.write_bytes(data)
        loaded = store.load_newest()
        if (
            loaded.step != 1
            or loaded.files != GOOD
            or len(loaded.skipped) != 1
            or str(path.parent) not in loaded.skipped[0]
        ):
            missed.append(damage)
    assert missed == []
    path.write_bytes(whole)
    assert store.load_newest().step == 2


def test_longer_and_missing_files_are_named_with_the_reason(store):
    directory = store.root / "000000000002"
    with (directory / "weights.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"weights.bin is damaged: it has 65 bytes"):
        read_directory(directory, error=CheckpointError)
    (directory / "weights.bin").unlink()
    with pytest.raises(ArtefactError, match=r"weights.bin is missing"):
        read_directory(directory, error=ArtefactError)
    with pytest.raises(MissingInputError, match="does not exist"):
        read_directory(directory / "nowhere")


def test_when_nothing_is_intact_every_reason_is_told(store):
    for path in store.root.glob("*/weights.bin"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError) as error:
        store.load_newest()
    assert all(f"{step:012d}" in str(error.value) for step in (1, 2))


def test_a_lost_checkpoint_that_the_pointer_names_is_told(store):
    (store.root / "000000000002").rename(store.root / "elsewhere")
    loaded = store.load_newest()
    assert loaded.step == 1
    assert loaded.skipped == (f"{store.root / '000000000002'} is missing, though it was completed",)


@pytest.mark.parametrize("pointer", [b"", b"junk", b"\xff" * 100, b"000000000001\n", None])
def test_the_pointer_is_a_hint_only(store, pointer):
    (store.root / "newest").unlink()
    if pointer is not None:
        (store.root / "newest").write_bytes(pointer)
    assert store.load_newest().step == 2


def test_no_checkpoint_at_all_is_none(tmp_path):
    assert CheckpointStore(tmp_path / "nothing").load_newest() is None


def test_a_damaged_checkpoint_is_no_fallback_for_those_that_are_saved_later(store):
    (store.root / "000000000002" / "weights.bin").write_bytes(b"")
    again = CheckpointStore(store.root)
    assert again.load_newest().step == 1
    again.save(3, GOOD)
    assert again.steps() == [1, 3]


def test_a_damaged_checkpoint_that_is_saved_again_is_kept(store):
    (store.root / "000000000002" / "weights.bin").write_bytes(b"")
    again = CheckpointStore(store.root)
    assert again.load_newest().step == 1
    again.save(2, GOOD)
    assert again.steps() == [1, 2]
    assert again.load_newest().step == 2


def test_checkpoints_of_a_future_that_was_left_are_deleted(store):
    again = CheckpointStore(store.root)
    again.save(7, GOOD)
    again.save(3, GOOD)
    assert again.steps() == [2, 3]
    assert again.load_newest().step == 3


def test_leftovers_are_removed_by_the_writer_and_left_alone_by_readers(store):
    torn = store.root / ".000000000003.77-0.tmp"
    torn.mkdir()
    (torn / "weights.bin").write_bytes(b"half")
    aside = store.root / ".000000000001.previous"
    (store.root / "000000000001").rename(aside)
    reader = CheckpointStore(store.root)
    assert reader.load_newest().step == 2
    assert reader.steps() == [1, 2]
    assert torn.is_dir()
    CheckpointStore(store.root).save(3, GOOD)
    assert sorted(path.name for path in store.root.iterdir()) == ["000000000002", "000000000003", "newest"]


BAD_NAMES = [
    *(
        "../outside",
        "..",
        ".",
        "",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:x",
        "~",
        "~root",
        "nul\0byte",
        ".hidden",
        "a\n",
        "é",
    ),
    *("a" * 129, "manifest.json", "MANIFEST.JSON", "ends.", "-dash", " space", "a b"),
]


def claim(path, name, data=b"secret"):
    """Write a manifest that names `name`, whatever that is."""
    entry = {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.mkdir(exist_ok=True)
    (path / "manifest.json").write_text(json.dumps({"schema_version": 1, "files": [entry]}))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_manifest_reaches_nothing_but_plain_names_in_its_directory(tmp_path, name):
    (tmp_path / "outside").write_bytes(b"secret")
    claim(tmp_path / "d", name)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        read_directory(tmp_path / "d", error=CheckpointError)
    with pytest.raises(ValueError, match="not a plain file name"):
        write_directory(tmp_path / "e", {name: b""})
    assert not (tmp_path / "e").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text())
def test_a_plain_name_names_a_file_of_the_directory_itself(tmp_path, name):
    if is_plain_name(name):
        assert (tmp_path / name).parent == tmp_path
        assert (tmp_path / name).name == name
        assert os.path.normpath(tmp_path / name) == str(tmp_path / name)


@pytest.mark.parametrize("kind", ["link", "directory", "pipe", "manifest link"])
def test_only_regular_files_are_read_and_no_link_is_followed(tmp_path, kind):
    (tmp_path / "secret").write_bytes(b"secret")
    directory = tmp_path / "d"
    claim(directory, "f", b"" if kind == "pipe" else b"secret")
    if kind == "link":
        (directory / "f").symlink_to(tmp_path / "secret")
    elif kind == "directory":
        (directory / "f").mkdir()
    elif kind == "pipe":
        os.mkfifo(directory / "f")
    else:
        (directory / "f").write_bytes(b"secret")
        (directory / "manifest.json").rename(tmp_path / "m")
        (directory / "manifest.json").symlink_to(tmp_path / "m")
    with pytest.raises(ArtefactError):
        read_directory(directory, error=ArtefactError)


def manifest_of_size(size):
    return f'{{"schema_version": 1, "files": [{{"name": "f", "bytes": {size}, "sha256": "{"0" * 64}"}}]}}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "{}", "[" * 100_000, "\xed\xa0\x80", " " * (manifest.MAX_MANIFEST_BYTES + 1)),
        '{"schema_version": 2, "files": []}',
        '{"schema_version": "1", "files": []}',
        '{"schema_version": 1, "files": [], "more": 1}',
        '{"schema_version": 1, "files": [{"name": "f"}]}',
        *map(manifest_of_size, (-1, "NaN", "1e9999", "9" * 5000, "1.5", "true", '"1"')),
    ],
    ids=range(18),
)
def test_a_hostile_manifest_is_one_kind_of_error(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin1"))
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        read_directory(tmp_path, error=CheckpointError)


def test_names_that_differ_only_in_case_are_refused(tmp_path):
    with pytest.raises(ValueError, match="differ in nothing but case"):
        write_directory(tmp_path / "d", {"a": b"", "A": b""})


def test_sizes_are_checked_before_anything_is_read(tmp_path):
    write_directory(tmp_path / "d", {"a": b"x" * 600, "b": b"x" * 600})
    (tmp_path / "d" / "a").unlink()
    with pytest.raises(CheckpointError, match="holds 1200 bytes, more than the 1000 allowed"):
        read_directory(tmp_path / "d", error=CheckpointError, max_bytes=1000)


def test_a_claimed_size_allocates_nothing(tmp_path):
    claim(tmp_path / "d", "f")
    text = (tmp_path / "d" / "manifest.json").read_text().replace('"bytes": 6', f'"bytes": {1 << 40}')
    (tmp_path / "d" / "manifest.json").write_text(text)
    (tmp_path / "d" / "f").write_bytes(b"secret")
    with pytest.raises(CheckpointError, match="it has 6 bytes instead of 1099511627776"):
        read_directory(tmp_path / "d", error=CheckpointError, max_bytes=1 << 41)


def test_the_manifest_depends_on_nothing_but_the_contents(tmp_path):
    write_directory(tmp_path / "x", {"a": b"1", "b": b"2"})
    write_directory(tmp_path / "y", {"b": b"2", "a": b"1"})
    assert (tmp_path / "x" / "manifest.json").read_bytes() == (tmp_path / "y" / "manifest.json").read_bytes()


def test_checkpoints_need_no_numpy():
    code = "import sys; sys.modules['numpy'] = None; import townlet_core.checkpoint.store, townlet_core.runs.listing"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
