import json
import os
from pathlib import Path

import pytest

from townlet_core.errors import DatasetError, UsageError
from townlet_core.replay import files
from townlet_core.replay.files import dataset_guard, parse_json, path_problem, read_document, read_json, standard_places


def find(name: object, source: Path, **places: object) -> Path:
    return standard_places(source, **places).find(name, what="sample", source=source)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "x.npz").write_bytes(b"beside")
    (directory / "m.json").write_text("[]")
    return directory / "m.json"


def test_a_name_is_found_beside_the_file_that_says_it_before_the_working_directory(
    manifest: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.npz").write_bytes(b"")
    (elsewhere / "y.npz").write_bytes(b"")

    assert find("x.npz", manifest, working_dir=elsewhere) == manifest.parent / "x.npz"
    assert find("y.npz", manifest, working_dir=elsewhere) == elsewhere / "y.npz"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../x.npz", "'..'"),
        ("a/../../x.npz", "'..'"),
        ("a\\x.npz", "backslash"),
        ("C:x.npz", "colon"),
        ("x.npz\0.json", "NUL"),
        ("~/x.npz", "'~'"),
        ("~root/x.npz", "'~'"),
        ("", "empty"),
        (".", "names no file"),
        ("/", "names no file"),
        ("x" * 2000, "longer"),
        (None, "NoneType"),
        (["x.npz"], "list"),
        (7, "int"),
    ],
)
def test_a_text_that_is_no_plain_path_is_refused_before_anything_is_opened(
    name: object, problem: str, manifest: Path
) -> None:
    assert problem in path_problem(name)
    with pytest.raises(DatasetError, match="the sample"):
        find(name, manifest, working_dir=manifest.parent)


def test_a_dot_in_a_name_is_no_way_up(manifest: Path) -> None:
    assert path_problem("a..b/..c/x..npz") == ""
    assert find("./x.npz", manifest) == manifest.parent / "x.npz"


def test_an_absolute_path_is_read_only_within_a_root_and_the_error_says_how_to_add_one(
    manifest: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "data-evil"  # its text begins like that of the root
    outside.mkdir()
    (outside / "x.npz").write_bytes(b"")
    name = str(outside / "x.npz")

    with pytest.raises(DatasetError, match=rf"lies outside of .*--root {outside}"):
        find(name, manifest, working_dir=manifest.parent)
    assert find(name, manifest, roots=(outside,), working_dir=manifest.parent) == outside / "x.npz"
    assert find(str(manifest.parent / "x.npz"), manifest) == manifest.parent / "x.npz"


def test_a_root_is_no_place_to_look_for_relative_names(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "y.npz").write_bytes(b"")

    with pytest.raises(DatasetError, match=r"'y.npz' is missing; looked for .*data/y.npz"):
        find("y.npz", manifest, roots=(tmp_path,), working_dir=manifest.parent)


def test_a_directory_that_is_a_link_out_of_the_root_leads_nowhere(manifest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.npz").write_bytes(b"")
    (manifest.parent / "inside").symlink_to(outside)

    with pytest.raises(DatasetError, match="lies outside"):
        find("inside/x.npz", manifest, working_dir=manifest.parent)
    assert find("inside/x.npz", manifest, roots=(outside,), working_dir=manifest.parent) == outside / "x.npz"


def test_further_bases_are_no_further_roots(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "y.npz").write_bytes(b"")
    places = standard_places(manifest, working_dir=manifest.parent).below(tmp_path)

    with pytest.raises(DatasetError, match="lies outside"):
        places.find("y.npz", what="sample", source=manifest)


@pytest.mark.parametrize("target", ["x.npz", "/etc/hostname"])
def test_a_file_that_is_a_link_is_not_followed(target: str, manifest: Path) -> None:
    (manifest.parent / "link.json").symlink_to(target)

    found = find("link.json", manifest)

    with pytest.raises(DatasetError, match="cannot be read"):
        read_json(found)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")

    with pytest.raises(DatasetError, match="not a regular file"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(DatasetError, match=r"not a regular file|cannot be read"):
        read_json(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "not JSON"),
        (b"{", r"x.json:1: not JSON"),
        (b"[1,\n2,,]", r"x.json:2: not JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        (b"[" * 100_000, "nested"),
        (b"[" * 34 + b"]" * 34, "nested more than 32"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested more than 32"),
        (b"[NaN]", "nan is not a finite number"),
        (b"[-Infinity]", "-inf is not a finite number"),
        (b"[1e999]", "inf is not a finite number"),
        (b"[" + b"9" * 5000 + b"]", "ValueError"),
        (b'"\xff"', "not UTF-8"),
        (b'["\\ud800"]', "half of a character"),
        (b'{"\\udfff": 1}', "half of a character"),
    ],
)
def test_json_that_is_damaged_or_hostile_is_refused_by_name(text: bytes, problem: str) -> None:
    with pytest.raises(DatasetError, match=problem) as caught:
        parse_json(text, Path("x.json"))
    assert str(caught.value).startswith("x.json")


def test_json_of_the_allowed_depth_is_read() -> None:
    assert parse_json(b"[" * 33 + b"]" * 33, Path("x.json")) is not None
    assert parse_json('﻿["é"]'.encode(), Path("x.json")) == ["é"]


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"",', b"1,"])
def test_json_of_very_many_values_is_refused_before_they_are_made(piece: bytes) -> None:
    with pytest.raises(DatasetError, match="more than 1,000,000 values"):
        parse_json(b"[" + piece * 1_100_000 + b"?", Path("x.json"))  # what follows would be the error if it were parsed


def test_a_document_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 10)
    monkeypatch.setattr(files, "MAX_YAML_BYTES", 10)
    for name in ("x.json", "x.yaml"):
        (tmp_path / name).write_text('["a", "b"]')
        assert read_document(tmp_path / name) == ["a", "b"]
        (tmp_path / name).write_text('["a", "b"] ')
        with pytest.raises(DatasetError, match="at most 10"):
            read_document(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x [*x]\n", "alias stands within"),
        ("a: *x\n", "undefined alias"),
        (
            "\n".join(["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]),
            "aliases make it more than 200,000 values",
        ),
        ("\n".join(["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 40)]), "nested more than 32"),
        ("a: !!python/object/apply:os.system ['true']\n", "tag"),
        ("a: 1\na: 2\n", "second time"),
        ("[" * 50 + "]" * 50, "nested"),
        ("- .nan\n", "not a finite number"),
        ("1: x\n", "not text"),
        ("a: [1\n", "x.yaml"),
        ("\x07", "x.yaml"),
    ],
)
def test_yaml_that_is_damaged_or_hostile_is_refused_by_name(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)

    with pytest.raises(DatasetError, match=problem) as caught:
        read_document(tmp_path / "x.yaml")
    assert str(tmp_path / "x.yaml") in str(caught.value)


def test_yaml_and_json_of_the_same_values_are_the_same(tmp_path: Path) -> None:
    values = [{"sample": "x.npz", "accepted": False, "frame_count": 3, "agent_id": "7"}]
    (tmp_path / "x.json").write_text(json.dumps(values))
    (tmp_path / "x.yml").write_text('- sample: x.npz\n  accepted: false\n  frame_count: 3\n  agent_id: "7"\n')

    assert read_document(tmp_path / "x.json") == read_document(tmp_path / "x.yml") == values


def test_an_alias_is_written_out(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &x {b: [1]}\nc: [*x, *x]\n")

    assert read_document(tmp_path / "x.yaml") == {"a": {"b": [1]}, "c": [{"b": [1]}, {"b": [1]}]}


def test_the_guard_names_the_file_and_the_cause_and_lets_interrupts_through() -> None:
    for error in (MemoryError(), RecursionError("deep"), ValueError("odd"), EOFError()):
        with (
            pytest.raises(DatasetError, match=rf"x.npz cannot be read: {type(error).__name__}"),
            dataset_guard("x.npz"),
        ):
            raise error
    for passing in (KeyboardInterrupt(), UsageError("ours")):
        with pytest.raises(type(passing)), dataset_guard("x.npz"):
            raise passing
