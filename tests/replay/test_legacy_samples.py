import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_files import RIVALRY, digest, feature_names, make_arrays, make_metadata, write_sample

from townlet_core.errors import DatasetError
from townlet_core.replay.legacy.sample import (
    REQUIRED,
    LegacySample,
    SampleFiles,
    check_sample,
    files_digest,
    load_sample,
    sample_bytes,
)


def files(path: Path, **fields: Any) -> SampleFiles:
    return SampleFiles(name=path.name, path=path, meta_path=path.with_suffix(".json"), **fields)


def load(path: Path, **fields: Any) -> LegacySample:
    return load_sample(files(path), **fields)


def test_a_sample_is_read_as_it_lies_in_its_files(tmp_path: Path) -> None:
    arrays = make_arrays(5)
    metadata = make_metadata(arrays)

    sample = load(write_sample(tmp_path, arrays=arrays, metadata=metadata))

    assert (sample.name, sample.num_steps, sample.map_shape) == ("x.npz", 5, (4, 5, 5))
    assert sample.feature_names == tuple(feature_names(24))
    assert sample.metadata == metadata
    assert sample.sha256 == digest(tmp_path / "x.npz")
    for name, kind in REQUIRED.items():
        assert sample.steps[name].dtype == kind
        np.testing.assert_array_equal(sample.steps[name], arrays[name])
        assert sample.arrays[name].dtype == arrays[name].dtype


@pytest.mark.parametrize("bootstrap", [False, True])
def test_values_may_have_one_entry_more_than_steps(bootstrap: bool, tmp_path: Path) -> None:
    sample = load(write_sample(tmp_path, arrays=make_arrays(5, bootstrap=bootstrap)))

    assert len(sample.steps["value_preds"]) == 5 + bootstrap


@pytest.mark.parametrize("flat", [("map",), ("features",), ("map", "features")])
def test_one_step_may_lack_the_axis_of_steps(flat: tuple[str, ...], tmp_path: Path) -> None:
    arrays = make_arrays(1)
    arrays |= {name: arrays[name][0] for name in flat}

    sample = load(write_sample(tmp_path, arrays=arrays))

    assert sample.num_steps == 1
    assert sample.steps["map"].shape == (1, 4, 5, 5)
    assert sample.steps["features"].shape == (1, 24)
    assert all(sample.arrays[name].shape == arrays[name].shape for name in flat)


@pytest.mark.parametrize("is_flat", [False, True])
def test_a_file_of_observations_alone_can_be_inspected(is_flat: bool, tmp_path: Path) -> None:
    arrays = {name: make_arrays(1)[name] for name in ("map", "features")}
    arrays = {name: array[0] if is_flat else array for name, array in arrays.items()}
    metadata = {"feature_names": [f"f{index}" for index in range(24)]}

    sample = load(write_sample(tmp_path, arrays=arrays, metadata=metadata))

    assert not sample.is_trainable
    assert (sample.num_steps, sample.map_shape, len(sample.feature_names)) == (1, (4, 5, 5), 24)


def test_other_widths_of_the_same_kind_of_number_are_taken(tmp_path: Path) -> None:
    arrays = make_arrays(3)
    arrays["actions"] = arrays["actions"].astype(np.uint8)
    arrays["features"] = arrays["features"].astype(">f8")

    sample = load(write_sample(tmp_path, arrays=arrays))

    assert sample.steps["actions"].dtype == np.int64
    assert sample.steps["features"].dtype == np.float32
    np.testing.assert_array_equal(sample.steps["features"], arrays["features"].astype(np.float32))


@pytest.mark.parametrize("missing", list(REQUIRED))
def test_a_missing_array_is_named(missing: str, tmp_path: Path) -> None:
    arrays = make_arrays()
    path = write_sample(
        tmp_path, arrays={name: array for name, array in arrays.items() if name != missing}, metadata={}
    )

    with pytest.raises(DatasetError, match=rf"x\.npz has no array '{missing}'.* training needs"):
        load(path)


def changed(name: str, change: Any) -> dict[str, Any]:
    arrays = make_arrays(5)
    return arrays | {name: change(arrays[name])}


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        (changed("actions", lambda a: a.astype(np.float32)), r"'actions' is float32; whole numbers are expected"),
        (
            changed("dones", lambda a: a.astype(np.int8)),
            r"'dones' is int8; truth values are expected: write it as bool",
        ),
        (changed("rewards", lambda a: a.astype(np.int64)), r"'rewards' is int64; floating-point numbers"),
        (changed("map", lambda a: a.astype(np.uint8)), r"'map' is uint8"),
        (changed("map", lambda a: a.reshape(5, -1)), r"'map' has the shape \(5, 100\); expected \(T,C,H,W\)"),
        (changed("features", lambda a: a.reshape(5, 1, -1)), r"'features' has the shape"),
        (changed("rewards", lambda a: a[:, None]), r"'rewards' has the shape \(5, 1\); expected one number"),
        (changed("rewards", lambda a: a[:4]), r"'rewards' has 4 steps, and 'actions' has 5"),
        (changed("features", lambda a: a[:4]), r"'features' has 4 steps"),
        (changed("map", lambda a: a[0]), r"'map' has 1 steps"),
        (changed("dones", lambda a: np.append(a, True)), r"'dones' has 6 steps"),
        (changed("value_preds", lambda a: np.append(a, a)), r"'value_preds' has 12 steps.*one more, the bootstrap"),
        (changed("value_preds", lambda a: a[:4]), r"'value_preds' has 4 steps"),
        ({name: array[:0] for name, array in make_arrays().items()}, r"has no steps"),
    ],
)
def test_what_breaks_the_format_is_named_with_file_and_array(arrays: Any, problem: str, tmp_path: Path) -> None:
    path = write_sample(tmp_path, arrays=arrays, metadata=make_metadata(make_arrays()))

    with pytest.raises(DatasetError, match=rf"x\.npz.*{problem}"):
        load(path)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ([], "list; the metadata of a sample is an object"),
        ({}, "'feature_names' must be a list"),
        ({"feature_names": "rivalry_max"}, "'feature_names' must be a list"),
        ({"feature_names": [*feature_names(23), 7]}, "'feature_names' must be a list of names"),
        ({"feature_names": [*feature_names(23), ""]}, "'feature_names' must be a list of names"),
        ({"feature_names": feature_names(23)}, "has 23 names, and 'features' has 24 columns"),
        ({"feature_names": [*feature_names(23), "feature_00"]}, "'feature_00' twice"),
        ({"feature_names": [f"f{index}" for index in range(24)]}, "lacks 'rivalry_max' and 'rivalry_avoid_count'"),
        ({"feature_names": ["x", *feature_names(24)[1:]]}, "lacks 'rivalry_max', which"),
    ],
)
def test_metadata_that_does_not_fit_is_named_with_file_and_key(metadata: Any, problem: str, tmp_path: Path) -> None:
    path = write_sample(tmp_path, metadata={"placeholder": 1})
    path.with_suffix(".json").write_text(json.dumps(metadata))

    with pytest.raises(DatasetError, match=rf"x\.json.*{problem}"):
        load(path)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_missing_file_is_named(suffix: str, tmp_path: Path) -> None:
    path = write_sample(tmp_path)
    path.with_suffix(suffix).unlink()

    with pytest.raises(DatasetError, match=rf"x\{suffix} is missing"):
        load(path)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_checksum_is_over_both_files(suffix: str, tmp_path: Path) -> None:
    path = write_sample(tmp_path)
    promised = files(path, sha256=digest(path))
    assert load_sample(promised).sha256 == promised.sha256

    changed = path.with_suffix(suffix)
    changed.write_bytes(changed.read_bytes() + b" ")

    with pytest.raises(DatasetError, match="do not match the SHA-256"):
        load_sample(promised)


def test_only_the_arrays_that_are_wanted_are_read(tmp_path: Path) -> None:
    sample = load(write_sample(tmp_path), names=("actions",))

    assert set(sample.arrays) == {"actions"}
    assert (sample.num_steps, sample.map_shape, sample.is_trainable) == (5, (4, 5, 5), True)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.booleans(), st.booleans(), st.dictionaries(st.text(min_size=1, max_size=5), json_values))
def test_a_sample_is_read_again_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, steps: int, is_flat: bool, bootstrap: bool, unknown: Any
) -> None:
    arrays = make_arrays(steps, bootstrap=bootstrap, features=24 + steps) | {"extra": np.arange(3, dtype=np.int16)}
    if is_flat and steps == 1:
        arrays |= {name: arrays[name][0] for name in ("map", "features")}
    directory = tmp_path_factory.mktemp("sample")
    first = load(write_sample(directory, arrays=arrays, metadata=unknown | make_metadata(arrays)))

    check_sample(first, Path("y.npz"))
    archive, meta = sample_bytes(first)
    (directory / "y.npz").write_bytes(archive)
    (directory / "y.json").write_bytes(meta)
    second = load(directory / "y.npz")

    assert second.metadata == first.metadata
    assert second.sha256 == files_digest(archive, meta)
    assert sample_bytes(second) == (archive, meta)
    assert second.arrays.keys() == first.arrays.keys()
    for name, array in first.arrays.items():
        assert (second.arrays[name].dtype, second.arrays[name].shape) == (array.dtype, array.shape)
        assert second.arrays[name].tobytes() == array.tobytes()


def test_what_is_to_be_written_is_checked_as_what_is_read(tmp_path: Path) -> None:
    sample = load(write_sample(tmp_path))
    broken = LegacySample(name="x", arrays=sample.arrays, metadata={"feature_names": list(RIVALRY)})

    with pytest.raises(DatasetError, match=r"y\.npz.*2 names"):
        check_sample(broken, Path("y.npz"))
