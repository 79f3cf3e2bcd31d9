import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from legacy_files import make_arrays, write_capture, write_catalogue, write_json, write_sample

from townlet_core.errors import DatasetError, MissingInputError, UsageError
from townlet_core.replay.files import read_document
from townlet_core.replay.legacy import LegacyDataset, is_legacy, open_legacy
from townlet_core.replay.legacy.catalogue import (
    CatalogueEntry,
    Checksum,
    catalogue_bytes,
    checksums_bytes,
    read_catalogue,
    read_checksums,
)
from townlet_core.replay.legacy.manifest import (
    LegacyManifest,
    ManifestEntry,
    manifest_bytes,
    parse_legacy_manifest,
)
from townlet_core.replay.legacy.metrics import MetricsFile, metrics_bytes, read_metrics

VERDICT = {"timesteps": 5, "reward_sum": 1.5, "mean_reward": 0.3, "done_count": 1}


def opened(manifest: Any, directory: Path, *, name: str = "m.json", **places: Any) -> LegacyDataset:
    path = directory / name
    path.write_text(json.dumps(manifest) if name.endswith(".json") else yaml.safe_dump(manifest))
    return open_legacy(path, working_dir=places.pop("working_dir", directory), **places)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    write_sample(tmp_path, "x")
    write_sample(tmp_path, "y", make_arrays(7, seed=1), meta_name="other.json")
    return tmp_path


FORMS = {
    "paths": (["x.npz", "x.npz"], "list"),
    "objects": ([{"sample": "x.npz"}, {"sample": "y.npz", "meta": "other.json", "agent_id": "bob"}], "list"),
    "wrapped": ({"metadata": {"a": 1}, "samples": ["x.npz", {"sample": "y.npz", "meta": "other.json"}]}, "wrapped"),
    "bare wrapped": ({"samples": ["x.npz"]}, "wrapped"),
    "curated": (
        [
            {"sample": "x.npz", "meta": "x.json", "metrics": VERDICT, "accepted": True},
            {"sample": "y.npz", "meta": "other.json", "metrics": VERDICT, "accepted": False},
        ],
        "curated",
    ),
}


@pytest.mark.parametrize("name", ["m.json", "m.yaml", "m.yml"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_manifest_is_read_from_json_and_yaml(form: str, name: str, samples: Path) -> None:
    document, kind = FORMS[form]

    legacy = opened(document, samples, name=name)

    assert legacy.manifest.form == kind
    entries = document["samples"] if isinstance(document, dict) else document
    assert [sample.num_steps for sample in legacy] == [7 if "y.npz" in str(entry) else 5 for entry in entries]
    assert is_legacy(samples / name)


def test_what_a_manifest_says_about_a_sample_is_kept(samples: Path) -> None:
    entry = {
        "sample": "y.npz",
        "meta": "other.json",
        "agent_id": "bob",
        "frame_count": 7,
        "metrics": VERDICT,
        "accepted": False,
        "reviewer": {"name": "eve"},
    }

    manifest = opened([entry], samples).manifest

    assert manifest.samples == (
        ManifestEntry(
            sample="y.npz",
            meta="other.json",
            agent_id="bob",
            frame_count=7,
            metrics=VERDICT,
            accepted=False,
            others={"reviewer": {"name": "eve"}},
        ),
    )
    assert opened({"samples": ["x.npz"], "metadata": {"k": [1]}}, samples).manifest.metadata == {"k": [1]}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (7, "neither a list"),
        (None, "neither a list"),
        ([], "names 0 samples"),
        ({"samples": []}, "names 0 samples"),
        ({"samples": {}}, "an object must have"),
        ({"samples": ["x.npz"], "metadata": 3}, "an object must have"),
        ({"sample": "x.npz"}, "an object must have"),
        ([3], "sample 0 is a int"),
        (["x.npz", {}], "sample 1 has no 'sample'"),
        ([{"sample": 3}], "'sample' is '3'; expected a path"),
        ([{"sample": "x.npz", "meta": []}], "'meta' is"),
        ([{"sample": "x.npz", "accepted": "no"}], "'accepted' is 'no'; expected true or false"),
        ([{"sample": "x.npz", "accepted": 0}], "'accepted' is '0'"),
        ([{"sample": "x.npz", "frame_count": True}], "'frame_count' is 'True'"),
        ([{"sample": "x.npz", "metrics": 3}], "'metrics' is"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_place(document: Any, problem: str, samples: Path) -> None:
    with pytest.raises(DatasetError, match=rf"m\.json.*{problem}"):
        opened(document, samples)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ("gone.npz", "sample 'gone.npz' is missing"),
        ({"sample": "x.npz", "meta": "gone.json"}, "meta 'gone.json' is missing"),
        ({"sample": "y.npz"}, "metadata of 'y.npz', 'y.json' is missing"),
        ({"sample": "x.npz", "dto": "gone.json"}, "dto 'gone.json' is missing"),
    ],
)
def test_a_missing_file_is_named_and_never_skipped(entry: Any, named: str, samples: Path) -> None:
    with pytest.raises(DatasetError, match=rf"m\.json.*{named}"):
        opened(["x.npz", entry], samples)


def test_metadata_of_the_same_stem_is_looked_for_beside_the_sample_only(samples: Path) -> None:
    deep = samples / "deep"
    write_sample(deep, "z")
    (deep / "z.json").rename(samples / "z.json")

    with pytest.raises(DatasetError, match=r"'z\.json' is missing; looked for .*deep/z\.json$"):
        opened(["deep/z.npz"], samples)


def test_paths_are_relative_to_the_manifest_else_to_the_working_directory_or_absolute(samples: Path) -> None:
    deep = samples / "manifests"
    deep.mkdir()
    write_sample(deep, "x", make_arrays(3))

    legacy = opened(["x.npz", "manifests/x.npz", str(samples / "x.npz")], deep, working_dir=samples)

    assert [sample.num_steps for sample in legacy] == [3, 3, 5]


def test_a_path_out_of_the_roots_is_refused_until_its_directory_is_added(samples: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()

    with pytest.raises(DatasetError, match=rf"lies outside of .*--root {samples}"):
        opened([str(samples / "x.npz")], inside)
    assert len(opened([str(samples / "x.npz")], inside, roots=(samples,))) == 1
    with pytest.raises(DatasetError, match=r"'\.\.'"):
        opened(["../x.npz"], inside)


def test_a_sample_that_is_named_twice_is_noted(samples: Path) -> None:
    assert opened(["x.npz"], samples).notes == ()
    assert "2 times" in opened(["x.npz", "./x.npz"], samples).notes[0]


def test_a_single_sample_can_be_opened(samples: Path) -> None:
    legacy = open_legacy(samples / "x.npz")

    assert is_legacy(samples / "x.npz")
    assert [sample.name for sample in legacy] == ["x.npz"]


def test_what_the_user_names_may_be_a_link(samples: Path, tmp_path: Path) -> None:
    write_json(samples / "m.json", ["x.npz"])
    link = tmp_path / "link.json"
    link.symlink_to(samples / "m.json")

    assert len(list(open_legacy(link))) == 1


def test_nothing_at_the_path_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nothing"):
        open_legacy(tmp_path / "nothing.json")
    assert not is_legacy(tmp_path / "nothing.json")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(DatasetError, match="none of"):
        open_legacy(tmp_path / "x.txt")
    assert not is_legacy(tmp_path / "x.txt")


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize("prefix", ["rollout_sample", "night"])
def test_a_capture_directory_is_read_with_both_forms_of_metrics(prefix: str, is_wrapped: bool, tmp_path: Path) -> None:
    directory = write_capture(tmp_path, prefix=prefix, is_wrapped=is_wrapped)

    legacy = open_legacy(directory)

    assert is_legacy(directory)
    assert [sample.num_steps for sample in legacy] == [4, 5, 6]
    assert legacy.metrics is not None
    assert legacy.metrics.samples[f"{prefix}_001.npz"] == {"timesteps": 5, "reward_sum": 1.5}
    assert legacy.metrics.metadata == ({"ticks": 100} if is_wrapped else None)
    assert open_legacy(directory / f"{prefix}_manifest.json").metrics == legacy.metrics


def test_a_capture_without_its_metrics_is_named_and_its_manifest_still_opens(tmp_path: Path) -> None:
    directory = write_capture(tmp_path)
    (directory / "rollout_sample_metrics.json").unlink()

    with pytest.raises(DatasetError, match=r"rollout_sample_metrics\.json, are missing; to do without, name"):
        open_legacy(directory)
    assert open_legacy(directory / "rollout_sample_manifest.json").metrics is None


def test_of_several_captures_the_usual_one_is_meant_or_one_has_to_be_named(tmp_path: Path) -> None:
    write_capture(tmp_path, 1, prefix="a")
    write_capture(tmp_path, 2, prefix="b")
    with pytest.raises(DatasetError, match=r"several captures.*a_manifest\.json, b_manifest\.json"):
        open_legacy(tmp_path)

    write_capture(tmp_path, 3)
    legacy = open_legacy(tmp_path)

    assert len(legacy) == 3
    assert "a_manifest.json, b_manifest.json" in legacy.notes[0]


def test_a_directory_of_something_else_is_no_capture(tmp_path: Path) -> None:
    write_sample(tmp_path)

    assert not is_legacy(tmp_path)
    with pytest.raises(DatasetError, match="is no capture"):
        open_legacy(tmp_path)


@pytest.mark.parametrize("metrics", [[], {"x.npz": 3}, {"metadata": {}, "samples": []}, {"metadata": 3, "samples": {}}])
def test_what_are_no_metrics_is_refused(metrics: Any, tmp_path: Path) -> None:
    write_json(write_capture(tmp_path) / "rollout_sample_metrics.json", metrics)

    with pytest.raises(DatasetError, match=r"metrics\.json"):
        open_legacy(tmp_path)


def test_a_catalogue_opens_the_data_set_that_is_named_or_the_only_active_one(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path)

    legacy = open_legacy(path)
    assert legacy.catalogue is not None
    assert (legacy.catalogue.status, legacy.catalogue.others) == ("active", {"reviewed_by": "somebody"})
    assert all(found.sha256 for found in legacy.files)
    assert [sample.num_steps for sample in legacy] == [4, 5]
    assert legacy.notes == ()
    assert is_legacy(tmp_path)
    assert len(open_legacy(tmp_path, dataset="new")) == 2

    deprecated = open_legacy(path, dataset="old")
    assert deprecated.notes == ("the data set 'old' is marked as deprecated: too few",)
    with pytest.raises(UsageError, match=r"no data set 'nwe'; did you mean 'new'.*old .deprecated., new"):
        open_legacy(path, dataset="nwe")


def test_a_catalogue_of_several_active_data_sets_needs_a_name(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path)
    catalogue = json.loads(path.read_text())
    catalogue["old"]["status"] = "active"
    write_json(path, catalogue)

    with pytest.raises(UsageError, match="--dataset NAME"):
        open_legacy(path)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_sample_that_does_not_match_its_checksum_is_refused(suffix: str, tmp_path: Path) -> None:
    path = write_catalogue(tmp_path)
    changed = tmp_path / "captures" / "new" / f"rollout_sample_001{suffix}"
    changed.write_bytes(changed.read_bytes() + b" ")

    legacy = open_legacy(path)

    assert legacy.load(0).num_steps == 4
    with pytest.raises(DatasetError, match=r"rollout_sample_001\.npz.*do not match the SHA-256"):
        legacy.load(1)


@pytest.mark.parametrize("samples", [{}, None])
def test_checksums_stand_in_their_file_or_in_the_catalogue(samples: Any, tmp_path: Path) -> None:
    from_file = open_legacy(write_catalogue(tmp_path / "a", samples=samples))
    from_catalogue = open_legacy(write_catalogue(tmp_path / "b", checksums=None))

    assert all(found.sha256 for legacy in (from_file, from_catalogue) for found in legacy.files)
    nowhere = open_legacy(write_catalogue(tmp_path / "c", checksums=None, samples=samples))
    assert "no checksums" in nowhere.notes[0]


def edit(path: Path, change: Any) -> None:
    document = json.loads(path.read_text())
    change(document)
    write_json(path, document)


def test_checksums_that_contradict_each_other_or_leave_a_sample_out_are_refused(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path)
    checksums = tmp_path / "checksums" / "new.json"
    edit(checksums, lambda d: d["rollout_sample_000"].update(sha256="0" * 64))
    with pytest.raises(DatasetError, match="different checksums for 'rollout_sample_000'"):
        open_legacy(path)

    edit(path, lambda d: d["new"].update(samples={}))
    edit(checksums, lambda d: d.pop("rollout_sample_000"))
    with pytest.raises(DatasetError, match=r"no checksum for the sample 'rollout_sample_000\.npz'"):
        open_legacy(path)


def test_checksums_of_samples_that_the_manifest_does_not_name_are_noted(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path)
    edit(tmp_path / "captures" / "new" / "rollout_sample_manifest.json", lambda entries: entries.pop())

    assert "checksums for 1 samples" in open_legacy(path).notes[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"status": "retired"}, "'status' is 'retired'; expected 'active' or 'deprecated'"),
        ({"tags": "x"}, "'tags' must be a list"),
        ({"samples": []}, "versions.json"),
        ({"samples": {"x": 3}}, "'x' must be an object with"),
        ({"samples": {"x": {"sample": "x.npz", "sha256": "12"}}}, "no SHA-256"),
        ({"captures_dir": 3}, "'captures_dir' is '3'"),
        ({"captures_dir": "versions.json"}, "is not a directory"),
        ({"captures_dir": "gone"}, "captures_dir 'gone' is missing"),
        ({"manifest": "gone.json"}, "manifest 'gone.json' is missing"),
        ({"checksums": "gone.json"}, "'gone.json' is missing"),
        ({"checksums": "../x.json"}, "'..'"),
        ({"captures_dir": "/etc"}, "lies outside"),
    ],
)
def test_a_damaged_catalogue_is_refused_with_the_place(change: Any, problem: str, tmp_path: Path) -> None:
    path = write_catalogue(tmp_path, **change)

    with pytest.raises(DatasetError, match=problem) as caught:
        open_legacy(path, dataset="new")
    assert "versions.json" in str(caught.value)


def test_a_captures_directory_that_is_a_link_is_no_way_out(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path / "root")
    moved = tmp_path / "outside"
    shutil.move(tmp_path / "root" / "captures" / "new", moved)
    (tmp_path / "root" / "captures" / "new").symlink_to(moved)

    with pytest.raises(DatasetError, match="lies outside"):
        open_legacy(path, working_dir=tmp_path / "root")


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
values = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | texts
objects = st.dictionaries(texts, values | st.lists(values, max_size=2), max_size=3)
entries = st.builds(
    ManifestEntry,
    sample=texts,
    meta=st.none() | texts,
    dto=st.none() | texts,
    agent_id=st.none() | texts,
    frame_count=st.none() | st.integers(0, 99),
    metrics=st.none() | objects,
    accepted=st.none() | st.booleans(),
    others=st.dictionaries(st.sampled_from(["x", "é", "a b"]), values, max_size=2),
)
manifests = st.builds(
    LegacyManifest, samples=st.lists(entries, min_size=1, max_size=4).map(tuple), metadata=st.none() | objects
)
checksum_objects = st.dictionaries(
    texts,
    st.builds(
        Checksum, sample=texts, meta=st.none() | texts, sha256=st.text("0123456789abcdef", min_size=64, max_size=64)
    ),
    max_size=3,
)
catalogue_entries = st.builds(
    CatalogueEntry,
    manifest=texts,
    checksums=st.none() | texts,
    captures_dir=st.none() | texts,
    created=st.none() | texts,
    tags=st.lists(texts, max_size=2).map(tuple),
    samples=checksum_objects,
    notes=st.none() | texts,
    status=st.sampled_from(["active", "deprecated"]),
    others=st.dictionaries(st.sampled_from(["x", "é"]), texts, max_size=2),
)


@settings(max_examples=40, deadline=None)
@given(manifests)
def test_a_manifest_is_read_again_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, manifest: LegacyManifest
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.json"
    path.write_bytes(manifest_bytes(manifest))

    again = parse_legacy_manifest(read_document(path), path)

    assert again == manifest
    assert manifest_bytes(again) == manifest_bytes(manifest)
    assert parse_legacy_manifest(manifest.to_json(), path) == manifest


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(texts, catalogue_entries, min_size=1, max_size=3), checksum_objects)
def test_a_catalogue_and_checksums_are_read_again_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, catalogue: Any, checksums: Any
) -> None:
    directory = tmp_path_factory.mktemp("c")
    (directory / "versions.json").write_bytes(catalogue_bytes(catalogue))
    (directory / "sums.json").write_bytes(checksums_bytes(checksums))

    assert read_catalogue(directory / "versions.json") == catalogue
    assert read_checksums(directory / "sums.json") == checksums


@settings(max_examples=30, deadline=None)
@given(st.builds(MetricsFile, samples=st.dictionaries(texts, objects, max_size=3), metadata=st.none() | objects))
def test_metrics_are_read_again_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, metrics: MetricsFile
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.json"
    path.write_bytes(metrics_bytes(metrics))

    assert read_metrics(path) == metrics
