"""NPZ archives of plain numbers: read with every size checked before it is allocated, and written to the same bytes.

Nothing is ever unpickled, mapped or extracted. What `numpy.load` would take on trust is looked at first: names, sizes,
compression, dtypes, and that a member has exactly the bytes that its header promises.
"""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from townlet_core.errors import DatasetError
from townlet_core.replay.column_file import npy_header
from townlet_core.replay.files import dataset_guard

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from townlet_core.arrays import Array

MAX_ARCHIVE_BYTES = 256 << 20
MAX_ARRAY_BYTES = 512 << 20
"""Of all arrays of an archive together."""
MAX_MEMBERS = 64
MAX_RATIO = 200
SMALL_BYTES = 16 << 20
"""A genuine array of zeros may shrink by any ratio; up to this size it is harmless."""

_MAX_HEADER = 10_000
_MAX_AXES = 8
_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,126})\.npy")
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR_BYTES = 20
_MAX_DIRECTORY = MAX_MEMBERS * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)


def read_npz(data: bytes, path: Path, *, names: Collection[str] | None = None) -> dict[str, Array]:
    """Return the arrays of an archive, read-only, in the dtypes and shapes that they have there.

    Args:
        data: its bytes.
        path: what errors call it.
        names: the arrays that are wanted; None for all. The headers of the others are checked too.

    Raises:
        DatasetError: it is not such an archive, or holds more than is allowed.
    """
    return {name: array for name, (_, array) in _members(data, path, names).items() if array is not None}


def npz_shapes(data: bytes, path: Path) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return dtype and shape of each array without reading any; raises `DatasetError` as `read_npz`."""
    return {name: spec for name, (spec, _) in _members(data, path, ()).items()}


_Spec = tuple[np.dtype[Any], tuple[int, ...]]


def _members(data: bytes, path: Path, names: Collection[str] | None) -> dict[str, tuple[_Spec, Array | None]]:
    with dataset_guard(path):
        count = _check_directory(data, path)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if len(archive.infolist()) != count:
                raise DatasetError(
                    f"{path} is damaged: it promises {count} members and lists {len(archive.infolist())}"
                )
            _check_members(archive.infolist(), len(data), path)
            found: dict[str, tuple[_Spec, Array | None]] = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as stream:
                    kind, shape, is_fortran, begin = _header(stream.read(_MAX_HEADER + 16), member, path)
                if names is not None and name not in names:
                    found[name] = (kind, shape), None
                    continue
                with archive.open(member) as stream:
                    content = stream.read(member.file_size)
                if len(content) != member.file_size:
                    raise DatasetError(f"{path}: {member.filename} ends after {len(content)} bytes")
                array = np.frombuffer(content, kind, math.prod(shape), begin)
                if kind.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
                    raise DatasetError(f"{path}: {member.filename} has truth values other than 0 and 1")
                found[name] = (kind, shape), array.reshape(shape, order="F" if is_fortran else "C")
            return found


def _check_directory(data: bytes, path: Path) -> int:
    """Return how many members the end of the archive promises; it is checked that their list has no more than that.

    `zipfile` makes an object for each entry before it can be asked how many there are.
    """
    end = data[-_END.size :]
    if len(end) < _END.size or end[:4] != b"PK\x05\x06":
        raise DatasetError(f"{path} is not a whole NPZ archive: it does not end like one")
    if data[:4] != b"PK\x03\x04":
        raise DatasetError(f"{path} is not a plain NPZ archive: it does not begin like one")
    _, disk, first_disk, here, count, size, _offset, comment = _END.unpack(end)
    if comment or disk or first_disk or here != count:
        raise DatasetError(f"{path} is not a plain NPZ archive: it has a comment or several volumes")
    before = data[-_END.size - _END64_LOCATOR_BYTES : -_END.size]
    if before[:4] == b"PK\x06\x07":
        raise DatasetError(f"{path} is written like an archive of more than 4 GiB")
    if count > MAX_MEMBERS or size > _MAX_DIRECTORY:
        raise DatasetError(f"{path} lists {count} members in {size} bytes; at most {MAX_MEMBERS} are read")
    return int(count)


def _check_members(members: list[zipfile.ZipInfo], num_bytes: int, path: Path) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if _NAME.fullmatch(name) is None or member.orig_filename != name:
            raise DatasetError(f"{path}: the member {member.orig_filename[:200]!r} is not a plain '<name>.npy'")
        if name in seen:
            raise DatasetError(f"{path} has two members called {name}")
        seen.add(name)
        if member.flag_bits & 0x1:
            raise DatasetError(f"{path}: {name} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DatasetError(f"{path}: {name} is compressed in another way than 'deflate'")
    total = sum(member.file_size for member in members)
    if total > MAX_ARRAY_BYTES:
        raise DatasetError(f"{path} holds {total:,} bytes of arrays; at most {MAX_ARRAY_BYTES:,} are read")
    if total > max(SMALL_BYTES, MAX_RATIO * num_bytes):
        raise DatasetError(f"{path} has {num_bytes:,} bytes and claims to hold {total:,}: more than {MAX_RATIO} to 1")


def _header(data: bytes, member: zipfile.ZipInfo, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Return dtype, shape, whether it is in Fortran order, and where the numbers begin."""
    stream = io.BytesIO(data)
    with dataset_guard(f"{path}: {member.filename}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about headers of Python 2, or of nobody
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise DatasetError(f"{path}: {member.filename} is of the unknown version {version}")
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, kind = read(stream, max_header_size=_MAX_HEADER)
    if kind.kind not in "biuf" or kind.hasobject or kind.subdtype is not None:
        raise DatasetError(f"{path}: {member.filename} holds {kind}; only numbers and truth values are read")
    if len(shape) > _MAX_AXES or any(type(size) is not int or size < 0 for size in shape):
        raise DatasetError(f"{path}: {member.filename} has the shape {str(shape)[:200]}")
    begin, expected = stream.tell(), math.prod(shape) * kind.itemsize
    if expected != member.file_size - begin:
        raise DatasetError(
            f"{path}: {member.filename} has {member.file_size - begin:,} bytes of numbers, and its header, "
            f"{kind} of shape {shape}, promises {expected:,}"
        )
    return kind, tuple(shape), bool(is_fortran), begin


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """Return an archive of `arrays` in their order; equal arrays give equal bytes, whenever it is written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3
            member.external_attr = 0o644 << 16
            little = np.ascontiguousarray(array).reshape(array.shape)
            little = little.astype(array.dtype.newbyteorder("<"), copy=False)
            archive.writestr(member, npy_header(little.shape, little.dtype) + little.tobytes())
    return buffer.getvalue()
