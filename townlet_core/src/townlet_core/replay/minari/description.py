"""What a Minari dataset says about itself: where it lies, `metadata.json`, and its spaces in Minari's JSON."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from townlet_core.checkpoint.filesystem import storage_error
from townlet_core.checkpoint.manifest import read_file
from townlet_core.errors import ConfigError, DatasetError, MissingInputError, UnavailableError
from townlet_core.spaces import space_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gymnasium import spaces

METADATA_NAME, DATA_NAME = "metadata.json", "main_data.hdf5"
_MAX_METADATA_BYTES = 16 << 20
_MAX_DEPTH = 16
_ID = re.compile(r"(?:[-_\w]+/)*[-_\w]+-v\d+")
_HASH_CHUNK = 1 << 20


def missing_extra(error: ImportError) -> UnavailableError:
    """Return what to raise where a package of the extra cannot be imported."""
    return UnavailableError(
        f'Minari datasets need a package that is missing ({error}): pip install "townlet-core[minari]"'
    )


class Metadata(BaseModel):
    """The fields of `metadata.json` that are read; Minari adds others at will.

    Attributes:
        data_format: how the episodes are stored.
        total_episodes: E.
        observation_space: JSON text.
        action_space: JSON text.
        jpeg_encoding: whether pictures lie as JPEG; older versions always did that.
        env_spec: JSON text about the environment, of which only the name is taken.
        algorithm_name: who acted.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    data_format: Literal["hdf5"] = "hdf5"
    total_episodes: Annotated[int, Field(ge=0, le=2**40)]
    observation_space: str
    action_space: str
    jpeg_encoding: bool = True
    env_spec: str | None = None
    algorithm_name: str | None = None

    @property
    def environment(self) -> str:
        """Name of the environment as Townlet writes it; empty if unknown."""
        try:
            name = json.loads(self.env_spec or "{}").get("id")
        except (ValueError, AttributeError, RecursionError):
            return ""
        return f"gymnasium:{name}"[:4096] if isinstance(name, str) else ""


def data_directory(source: Path | str) -> Path:
    """Return the directory of the files of a Minari dataset.

    Args:
        source: that directory, the one above it, or the id of a dataset in Minari's local storage.

    Raises:
        MissingInputError: there is none.
        UnavailableError: an id was given, and Minari is missing.
    """
    path = Path(source)
    candidates = [path, path / "data"]
    if isinstance(source, str) and not path.exists() and _ID.fullmatch(source):
        try:
            from minari.storage.datasets_root_dir import get_dataset_path
        except ImportError as error:
            raise missing_extra(error) from error
        candidates.append(get_dataset_path(source) / "data")
    for candidate in candidates:
        if (candidate / METADATA_NAME).is_file():
            return candidate
    raise MissingInputError(f"{source} is not a Minari dataset: there is no {METADATA_NAME} in {candidates[-1]}")


def read_metadata(directory: Path) -> Metadata:
    """Return what the dataset says about itself; raises `DatasetError`."""
    path = directory / METADATA_NAME
    data = read_file(path, _MAX_METADATA_BYTES, DatasetError)
    try:
        return Metadata.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        hint = {
            "data_format": " (write it again with data_format='hdf5')",
            "observation_space": " (it would have to be asked from the environment, and none is built here)",
            "action_space": " (it would have to be asked from the environment, and none is built here)",
        }.get(place, "")
        raise DatasetError(f"{path}: {place}{': ' if place else ''}{problem['msg']}{hint}") from error


def parse_space(text: str, path: Path, field: str) -> spaces.Space[Any]:
    """Return the space in Minari's JSON `text`, the `field` of the file `path`; raises `DatasetError`."""
    try:
        return space_from_json(_translated(json.loads(text), 0))
    except (ConfigError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        raise DatasetError(f"{path}: {field}: {reason}") from error


def _translated(data: Any, depth: int) -> dict[str, Any]:
    """Return the JSON of a space as `townlet_core.spaces` writes it from Minari's, which nests arrays."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    kind = data["type"]
    if kind == "Dict":
        return {
            "type": kind,
            "spaces": [[key, _translated(part, depth + 1)] for key, part in data["subspaces"].items()],
        }
    if kind == "Tuple":
        return {"type": kind, "spaces": [_translated(part, depth + 1) for part in data["subspaces"]]}
    if kind == "Box":
        bounds = {name: list(_flat(data[name])) if data["shape"] else data[name] for name in ("low", "high")}
        return {**data, **bounds}
    if kind == "MultiDiscrete":
        nvec, start = list(_flat(data["nvec"])), data.get("start")
        starts = [0] * len(nvec) if start is None else list(_flat(start))
        return {**data, "nvec": nvec, "start": starts, "shape": _shape_of(data["nvec"])}
    if kind == "Discrete":
        return {"start": 0, "dtype": "int64", **data}
    return dict(data)  # MultiBinary is written alike; what is unknown is refused by its name


def _flat(data: Any) -> Iterator[Any]:
    if isinstance(data, list):
        for part in data:
            yield from _flat(part)
    else:
        yield data


def _shape_of(data: Any) -> list[int]:
    return [len(data), *(_shape_of(data[0]) if data else [])] if isinstance(data, list) else []


def digest_of(directory: Path) -> str:
    """Return the SHA-256 over the data file followed by `metadata.json`; raises `DatasetError`, `StorageError`."""
    digest = hashlib.sha256()
    path = directory / DATA_NAME
    try:
        with path.open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
        digest.update((directory / METADATA_NAME).read_bytes())
    except PermissionError as error:
        raise storage_error("read", path, error) from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
