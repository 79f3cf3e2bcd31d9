"""Reading an HDF5 file that comes from outside: hard links only, numbers only, sizes checked before memory is taken.

HDF5 can name other files (external and soft links, external storage, virtual datasets), and can claim any size for an
array of which nothing is stored. None of that is followed or believed here.
"""

from __future__ import annotations

import io
import math
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.errors import DatasetError, TownletError
from townlet_core.replay.minari.description import missing_extra

try:
    import h5py
except ImportError as _error:
    raise missing_extra(_error) from _error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from townlet_core.arrays import Array

MAX_EPISODE_BYTES = 1 << 30
_MAX_CHUNK_BYTES = 256 << 20
_MAX_RATIO, _ALWAYS_FINE_BYTES = 1100, 16 << 20  # DEFLATE packs no more than 1032 to 1
_MAX_TEXT = 1 << 16


class Node:
    """A group or an array of the file.

    Attributes:
        place: file and path in it, for messages.
    """

    def __init__(self, item: Any, place: str, budget: list[int]) -> None:
        self._item, self.place, self._budget = item, place, budget

    def __contains__(self, name: str) -> bool:
        return isinstance(self._item, h5py.Group) and self._item.get(name, getlink=True) is not None

    def child(self, name: str) -> Node:
        """Return a member of a group; raises `DatasetError` where there is none, or it lies elsewhere."""
        place = f"{self.place}/{name}"
        if not isinstance(self._item, h5py.Group):
            raise DatasetError(f"{self.place} is not a group")
        if "/" in name or name in (".", ""):
            raise DatasetError(f"{self.place}: '{name}' cannot be the name of a member")
        link = self._item.get(name, getlink=True)
        if link is None:
            raise DatasetError(f"{place} is missing")
        if not isinstance(link, h5py.HardLink):
            raise DatasetError(f"{place} is a link to somewhere else; links are not followed")
        return Node(self._item[name], place, self._budget)

    def names(self) -> list[str]:
        """Return the names of a group's members; none for an array."""
        return list(self._item) if isinstance(self._item, h5py.Group) else []

    @property
    def is_array(self) -> bool:
        """Whether it holds values."""
        return isinstance(self._item, h5py.Dataset)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an array; `(0,)` of anything else."""
        return tuple(self._item.shape or ()) if self.is_array else (0,)

    @property
    def is_text(self) -> bool:
        """Whether it is an array of strings."""
        return self.is_array and h5py.check_string_dtype(self._item.dtype) is not None

    @property
    def is_numeric(self) -> bool:
        """Whether it is an array of numbers."""
        return self.is_array and self._item.dtype.kind in "biuf"

    def attributes(self) -> dict[str, Any]:
        """Return the attributes that are one number or text, or an array of numbers."""
        found: dict[str, Any] = {}
        for name in self._item.attrs:
            kind = self._item.attrs.get_id(name)
            if kind.dtype.kind in "biuf" or (h5py.check_string_dtype(kind.dtype) and kind.shape == ()):
                found[name] = self._item.attrs[name]
        return found

    def read(self) -> Array:
        """Return an array of numbers; raises `DatasetError`."""
        self._require_here()
        if not self.is_numeric:
            raise DatasetError(f"{self.place} is of type {self._item.dtype}, and numbers are expected")
        self._take(math.prod(self.shape) * self._item.dtype.itemsize)
        return np.asarray(self._item[()])

    def texts(self) -> list[str]:
        """Return an array of strings with one axis, if it is short; raises `DatasetError`."""
        self._require_here()
        texts: list[str] = []
        for index in range(self.shape[0] if len(self.shape) == 1 else 0):
            text = self._item[index]
            texts.append(text.decode() if isinstance(text, bytes) else str(text))
            self._take(len(texts[-1]) + 64, stored=False)
        return texts

    def read_pictures(self, shape: tuple[int, ...]) -> Array:
        """Return pictures that lie as JPEG, (rows, *shape) uint8; raises `DatasetError`."""
        try:
            from PIL import Image
        except ImportError as error:
            raise missing_extra(error) from error
        self._require_here()
        rows = self.shape[0] if self.shape else 0
        self._take(rows * math.prod(shape), stored=False)
        pictures = np.empty((rows, *shape), np.uint8)
        for index in range(rows):
            packed = np.asarray(self._item[index], np.uint8).tobytes()
            with Image.open(io.BytesIO(packed), formats=["JPEG"]) as picture:
                mode = {(): "L", (3,): "RGB"}.get(shape[2:])
                if picture.size != (shape[1], shape[0]) or picture.mode != mode:
                    size = f"{picture.size[1]} x {picture.size[0]} {picture.mode}"
                    raise DatasetError(f"{self.place}[{index}] is a picture of {size}, and its space {shape}")
                pictures[index] = np.asarray(picture)
        return pictures

    def _require_here(self) -> None:
        if not self.is_array:
            raise DatasetError(f"{self.place} is a group, and an array is expected")
        if self._item.is_virtual or self._item.external:
            raise DatasetError(f"{self.place} keeps its values in another file; those are not read")
        chunk = math.prod(self._item.chunks or ()) * self._item.dtype.itemsize
        if self._item.chunks and chunk > _MAX_CHUNK_BYTES:
            raise DatasetError(f"{self.place} lies in pieces of {chunk} bytes, more than {_MAX_CHUNK_BYTES}")

    def _take(self, num_bytes: int, *, stored: bool = True) -> None:
        self._budget[0] -= num_bytes
        if self._budget[0] < 0:
            raise DatasetError(f"{self.place}: its episode has more than {MAX_EPISODE_BYTES} bytes")
        if stored and num_bytes > max(_ALWAYS_FINE_BYTES, _MAX_RATIO * self._item.id.get_storage_size()):
            raise DatasetError(f"{self.place} claims {num_bytes} bytes, and far fewer are stored")


@contextmanager
def told(place: str) -> Iterator[None]:
    """Turn whatever h5py raises over a damaged file into a `DatasetError` that names `place`."""
    try:
        yield
    except TownletError:
        raise
    except (Exception, MemoryError) as error:  # what h5py raises is not documented
        raise DatasetError(f"{place} cannot be read: {type(error).__name__}: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file for reading; raises `DatasetError`."""
    with told(str(path)):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DatasetError(f"{path} is not a regular file")
        file = h5py.File(path, "r")
    try:
        yield file
    finally:
        file.close()


def open_episode(file: Any, path: Path, number: int) -> Node:
    """Return the group of an episode of an open file; raises `DatasetError`."""
    return Node(file, str(path), [MAX_EPISODE_BYTES]).child(f"episode_{number}")


def leaf_nodes(space: spaces.Space[Any], node: Node) -> Iterator[tuple[spaces.Space[Any], Node]]:
    """Yield the leaves of a space, in the order of `townlet_core.spaces.flatten_space`, each with its array."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from leaf_nodes(part, node.child(key))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from leaf_nodes(part, node.child(f"_index_{index}"))
    else:
        yield space, node


def is_picture(space: spaces.Space[Any]) -> bool:
    """Return whether Minari keeps values of this space as JPEG, unless it was told otherwise."""
    return (
        isinstance(space, spaces.Box)
        and len(space.shape) in {2, 3}
        and min(space.shape[:2]) >= 32
        and space.dtype == np.uint8
        and bool((space.low == 0).all() and (space.high == 255).all())
    )
