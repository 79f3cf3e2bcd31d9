import io
import os
import pickle
import resource
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from townlet_core.errors import DatasetError
from townlet_core.replay import npz
from townlet_core.replay.npz import npz_bytes, npz_shapes, read_npz

PATH = Path("x.npz")
KINDS = ("?", "i1", "u1", "<i2", ">i4", "<i8", "<u8", "<f2", "<f4", ">f8")


def zipped(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **options)
    return buffer.getvalue()


def header(text: str, content: bytes = b"", *, version: tuple[int, int] = (1, 0)) -> bytes:
    line = text.encode() + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(line))
    return b"\x93NUMPY" + bytes(version) + length + line + content


GOOD = npz_bytes({"a": np.arange(6, dtype=np.int64).reshape(2, 3), "b": np.ones(4, np.float32)})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_numpy_writes_is_read_as_it_is(data: Any) -> None:
    kind = np.dtype(data.draw(st.sampled_from(KINDS)))
    array = data.draw(arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
    order = data.draw(st.sampled_from("CF"))
    buffer = io.BytesIO()
    data.draw(st.sampled_from([np.savez, np.savez_compressed]))(buffer, a=np.asarray(array, order=order), b=array)

    found = read_npz(buffer.getvalue(), PATH)

    assert list(found) == ["a", "b"]
    for other in found.values():
        assert (other.dtype, other.shape) == (array.dtype, array.shape)
        assert other.tobytes() == array.tobytes()
        assert not other.flags.writeable


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_written_is_read_equal_by_us_and_by_numpy(data: Any) -> None:
    kind = np.dtype(data.draw(st.sampled_from(KINDS)))
    array = data.draw(arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))

    written = npz_bytes({"a": array})

    for found in (read_npz(written, PATH)["a"], np.load(io.BytesIO(written))["a"]):
        assert (found.dtype, found.shape) == (array.dtype.newbyteorder("<"), array.shape)
        assert found.astype(array.dtype).tobytes() == array.tobytes()


def test_equal_arrays_give_equal_bytes_whenever_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(12.0).reshape(3, 4)
    first = npz_bytes({"a": array})
    monkeypatch.setattr("time.time", lambda: 2e9)

    assert npz_bytes({"a": np.asfortranarray(array)}) == npz_bytes({"a": array.astype(">f8")}) == first


def test_only_the_arrays_that_are_wanted_are_made() -> None:
    assert list(read_npz(GOOD, PATH, names=("b",))) == ["b"]
    assert npz_shapes(GOOD, PATH) == {"a": (np.dtype("<i8"), (2, 3)), "b": (np.dtype("<f4"), (4,))}


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


def many_members(count: int) -> bytes:
    return zipped({f"m{index}.npy": npy(np.zeros(1)) for index in range(count)})


def counted(data: bytes, count: int) -> bytes:
    """Replace the number of members that the end of an archive tells."""
    return data[:-14] + struct.pack("<HH", count, count) + data[-10:]


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    """Replace bytes at an offset from the first entry of the list of members."""
    at = data.index(b"PK\x01\x02") + offset
    return data[:at] + value + data[at + len(value) :]


HOSTILE = {
    "nothing": (b"", "does not end like one"),
    "text": (b"hello" * 10, "does not end like one"),
    "truncated": (GOOD[:-1], "does not end like one"),
    "more after the end": (GOOD + b"!", "does not end like one"),
    "a comment": (GOOD[:-2] + b"\x01\x00", "comment"),
    "pickled objects": (zipped({"a.npy": npy(np.array([Evil()], object))}), "only numbers"),
    "a pickle for an array": (zipped({"a.npy": pickle.dumps(Evil())}), "a.npy"),
    "text array": (zipped({"a.npy": npy(np.array(["x"]))}), "only numbers"),
    "dates": (zipped({"a.npy": npy(np.zeros(1, "M8[s]"))}), "only numbers"),
    "complex": (zipped({"a.npy": npy(np.zeros(1, complex))}), "only numbers"),
    "records": (zipped({"a.npy": npy(np.zeros(1, [("x", "f4")]))}), "only numbers"),
    "another file": (zipped({"a.npy": npy(np.zeros(1)), "run.sh": b"echo"}), "not a plain '<name>.npy'"),
    "a path": (zipped({"../a.npy": npy(np.zeros(1))}), "not a plain"),
    "an absolute path": (zipped({"/a.npy": npy(np.zeros(1))}), "not a plain"),
    "a name with a NUL": (patched(zipped({"a_b.npy": npy(np.zeros(1))}), 47, b"\0"), "not a plain"),
    "an empty name": (zipped({".npy": npy(np.zeros(1))}), "not a plain"),
    "a name that goes on after a NUL": (
        zipped({"a.npy_x.npy": npy(np.zeros(1))}).replace(b"a.npy_x", b"a.npy\0x"),
        "not a plain",
    ),
    "encrypted": (patched(GOOD, 8, b"\x01\x00"), r"x\.npz: a\.npy is encrypted$"),
    "bzip2": (zipped({"a.npy": npy(np.zeros(1))}, method=zipfile.ZIP_BZIP2), "another way"),
    "lzma": (zipped({"a.npy": npy(np.zeros(1))}, method=zipfile.ZIP_LZMA), "another way"),
    "many members": (many_members(65), "lists 65"),
    "more members than it says": (counted(GOOD, 1), "promises 1 members and lists 2"),
    "very many more members than it says": (counted(many_members(2000), 2), "lists 2 members in [0-9]{6} bytes"),
    "a wrong checksum": (patched(GOOD, 16, b"\0\0\0\0"), "CRC"),
    "empty member": (zipped({"a.npy": b""}), "a.npy"),
    "no magic": (zipped({"a.npy": b"\x93NUMPX\x01\x00" + b"x" * 100}), "a.npy"),
    "version 3": (zipped({"a.npy": header("{}", version=(3, 0))}), "unknown version"),
    "version 9": (zipped({"a.npy": header("{}", version=(9, 0))}), "a.npy"),
    "code for a header": (zipped({"a.npy": header("__import__('os').mkdir('pwned')")}), "a.npy"),
    "deep header": (zipped({"a.npy": header("(" * 5000 + ")" * 5000)}), "a.npy"),
    "long header": (zipped({"a.npy": header("{'descr': '<f4', " + " " * 20_000 + "}")}), "a.npy"),
    "endless header": (zipped({"a.npy": b"\x93NUMPY\x02\x00" + b"\xff" * 4}), "a.npy"),
    "huge shape": (
        zipped({"a.npy": header("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000,)}")}),
        "promises 40,000,000,000",
    ),
    "overflowing shape": (
        zipped({"a.npy": header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62}, 4)}}")}),
        "promises",
    ),
    "negative shape": (
        zipped({"a.npy": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}", b"1234")}),
        "shape",
    ),
    "truth for a shape": (
        zipped({"a.npy": header("{'descr': '|u1', 'fortran_order': False, 'shape': (True,)}", b"1")}),
        "shape",
    ),
    "many axes": (zipped({"a.npy": npy(np.zeros((1,) * 9))}), "shape"),
    "numbers missing": (zipped({"a.npy": npy(np.zeros(4))[:-1]}), "has 31 bytes .* promises 32"),
    "numbers left over": (zipped({"a.npy": npy(np.zeros(4)) + b"x"}), "has 33 bytes .* promises 32"),
    "truth values of 2": (
        zipped({"a.npy": header("{'descr': '|b1', 'fortran_order': False, 'shape': (2,)}", b"\x01\x02")}),
        "truth values",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_that_is_damaged_or_hostile_is_refused_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, problem = HOSTILE[name]

    with pytest.raises(DatasetError, match=problem) as caught:
        read_npz(data, PATH)

    assert str(caught.value).startswith("x.npz")
    assert not list(tmp_path.iterdir())


def test_two_members_of_one_name_are_refused() -> None:
    with pytest.raises(DatasetError, match="two members"):
        read_npz(GOOD.replace(b"b.npy", b"a.npy"), PATH)


def test_an_archive_that_is_written_like_a_giant_one_is_refused() -> None:
    locator = b"PK\x06\x07" + bytes(16)

    with pytest.raises(DatasetError, match="4 GiB"):
        read_npz(GOOD[:-22] + locator + GOOD[-22:], PATH)


def test_a_bomb_is_refused_before_it_grows() -> None:
    bomb = zipped({"a.npy": npy(np.zeros(200_000_000, np.uint8))})
    assert len(bomb) < 300_000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DatasetError, match="more than 200 to 1"):
        read_npz(bomb, PATH)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1024 if sys.platform != "darwin" else 1) < 50_000_000


def test_genuine_zeros_may_shrink_as_far_as_they_will() -> None:
    zeros = np.zeros((1000, 4, 11, 11), np.float32)
    data = npz_bytes({"map": zeros})
    assert zeros.nbytes / len(data) > npz.MAX_RATIO

    assert np.array_equal(read_npz(data, PATH)["map"], zeros)


def test_all_arrays_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(member.file_size for member in zipfile.ZipFile(io.BytesIO(GOOD)).infolist())
    monkeypatch.setattr(npz, "MAX_ARRAY_BYTES", size)
    assert len(read_npz(GOOD, PATH)) == 2

    monkeypatch.setattr(npz, "MAX_ARRAY_BYTES", size - 1)
    with pytest.raises(DatasetError, match="at most"):
        read_npz(GOOD, PATH)


def test_a_member_that_grows_beyond_what_is_listed_is_cut_and_refused() -> None:
    data = zipped({"a.npy": npy(np.zeros(1000))})
    shorter = struct.pack("<L", 8000)
    lying = patched(data, 24, shorter)

    with pytest.raises(DatasetError, match=r"a\.npy"):
        read_npz(lying, PATH)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_changes_nothing(place: int, change: int) -> None:
    data = bytearray(GOOD)
    data[place] ^= change
    try:
        found = read_npz(bytes(data), PATH)
    except DatasetError:
        return
    # Only what is no number may have changed: dates, flags, the names of the arrays.
    assert {array.tobytes() for array in found.values()} == {a.tobytes() for a in read_npz(GOOD, PATH).values()}
