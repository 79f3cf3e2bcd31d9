import json
from pathlib import Path
from typing import Any

import pytest
from datasets import write_dataset
from legacy_files import RIVALRY, make_arrays, write_capture, write_catalogue, write_json, write_sample

from townlet_core.cli.main import main
from townlet_core.errors import DatasetError, ExitCode, MissingInputError, UsageError
from townlet_core.replay.convert import ConvertOptions, convert, detect_format
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.legacy import open_legacy


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["replay", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_format_is_found_out(tmp_path: Path) -> None:
    write_dataset(tmp_path / "native")
    write_capture(tmp_path / "capture")
    (tmp_path / "door" / "data").mkdir(parents=True)
    (tmp_path / "door" / "data" / "main_data.hdf5").write_bytes(b"")
    (tmp_path / "nothing").mkdir()

    assert detect_format(tmp_path / "native") == "native"
    assert detect_format(tmp_path / "capture") == "legacy"
    assert detect_format(tmp_path / "capture" / "rollout_sample_000.npz") == "legacy"
    assert detect_format(write_catalogue(tmp_path / "catalogue")) == "legacy"
    assert detect_format(tmp_path / "door") == detect_format(tmp_path / "door" / "data") == "minari"
    with pytest.raises(DatasetError, match="no dataset that is known"):
        detect_format(tmp_path / "nothing")
    with pytest.raises(MissingInputError):
        detect_format(tmp_path / "gone")


def test_a_capture_is_imported_and_exported_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_capture(tmp_path / "capture")

    code, out, err = run(capsys, "import", tmp_path / "capture", tmp_path / "native")
    assert (code, err) == (0, "")
    assert out == f"3 episodes from legacy to native\nwritten to {tmp_path / 'native'}\n"
    assert Dataset(tmp_path / "native").num_episodes == 3

    code, out, _ = run(
        capsys, "export", tmp_path / "native", tmp_path / "back", "--format", "legacy", "--form", "wrapped", "--json"
    )
    assert code == 0
    assert json.loads(out) == {
        "source": str(tmp_path / "native"),
        "path": str(tmp_path / "back" / "rollout_sample_manifest.json"),
        "source_format": "native",
        "format": "legacy",
        "num_episodes": 3,
    }
    assert open_legacy(tmp_path / "back").manifest.form == "wrapped"


def test_a_manifest_is_converted_to_another_form_with_a_catalogue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_capture(tmp_path / "capture")
    options = ("--to", "legacy", "--form", "curated", "--catalogue", "night", "--prefix", "n")

    code, out, _ = run(capsys, "convert", tmp_path / "capture", tmp_path / "out", *options)

    assert (code, out.splitlines()[0]) == (0, "3 samples from legacy to legacy")
    legacy = open_legacy(tmp_path / "out", dataset="night")
    assert legacy.manifest.form == "curated"
    assert (tmp_path / "out" / "n_manifest.json").is_file()


@pytest.mark.filterwarnings("always::townlet_core.errors.TownletWarning")
def test_what_the_user_should_know_is_a_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(tmp_path, "x", make_arrays(3, features=36), actions=())
    write_sample(tmp_path, "y", make_arrays(3, features=24))
    path = write_json(tmp_path / "m.json", ["x.npz", "y.npz"])

    code, _, err = run(capsys, "import", path, tmp_path / "out", "--features", "shared")

    assert code == 0
    assert "warning: 24 features are kept; 12 are left out" in err
    assert "action ids are named by no table" in err


@pytest.mark.filterwarnings("always::townlet_core.errors.TownletWarning")
def test_a_name_in_a_file_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [*RIVALRY, "\x1b[2Jgone", "\u202e", "é"]
    write_sample(tmp_path, "x", make_arrays(3, features=5), feature_names=names)
    write_sample(tmp_path, "y", make_arrays(3, features=2))
    path = write_json(tmp_path / "m.json", ["x.npz", "y.npz"])

    _, _, warned = run(capsys, "import", path, tmp_path / "out")
    code, _, failed = run(capsys, "import", path, tmp_path / "other", "--features", "\x1b[2Jgone")

    assert code == ExitCode.BAD_DATA
    for text in (warned, failed):
        assert "\\x1b[2Jgone" in text
        assert "\x1b" not in text
    assert "\\u202e, é" in warned or "é, \\u202e" in warned


def test_features_and_roots_are_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sample(tmp_path / "far", "x")
    path = write_json(tmp_path / "near" / "m.json", [str(tmp_path / "far" / "x.npz")])
    chosen = ("--features", "rivalry_max, feature_01")

    code, _, err = run(capsys, "import", path, tmp_path / "out", *chosen)
    assert code == ExitCode.BAD_DATA
    assert f"--root {tmp_path / 'far'}" in err

    code, _, _ = run(capsys, "import", path, tmp_path / "out", *chosen, "--root", tmp_path / "far")
    assert code == 0
    names = Dataset(tmp_path / "out").manifest.feature_names
    assert names == {"observation.features": ("rivalry_max", "feature_01")}


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("import", "gone", "out"), ExitCode.MISSING_INPUT, "gone"),
        (("import", "capture", "capture"), ExitCode.USAGE, "not empty"),
        (("import", "native", "out"), ExitCode.USAGE, "already"),
        (("import", "capture", "out", "--action-names", "a,b"), ExitCode.USAGE, "'action_names' has no meaning"),
        (("import", "capture", "out", "--format", "minari"), ExitCode.MISSING_INPUT, "Minari"),
        (("export", "native", "out", "--format", "legacy"), ExitCode.BAD_DATA, "rivalry_max"),
        (("export", "native", "out", "--format", "minari", "--form", "list"), ExitCode.USAGE, "'form' has no meaning"),
        (("export", "capture", "out", "--format", "legacy"), ExitCode.MISSING_INPUT, "not a dataset"),
        (("convert", "capture", "out", "--to", "legacy", "--features", "x"), ExitCode.USAGE, "'features'"),
        (("convert", "native", "out", "--to", "native"), ExitCode.USAGE, "townlet replay curate"),
        (("convert", "capture", "out"), ExitCode.USAGE, "--to"),
    ],
)
def test_each_mistake_has_its_exit_code_and_leaves_nothing(
    arguments: Any, code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "native")
    write_capture(tmp_path / "capture")

    found, out, err = run(capsys, *arguments)

    assert (found, out) == (code, "")
    assert text in err
    assert not list((tmp_path / "out").glob("**/*"))


def test_progress_is_told(tmp_path: Path) -> None:
    write_capture(tmp_path / "capture")
    told: list[tuple[int, int]] = []

    convert(tmp_path / "capture", tmp_path / "native", to="native", on_progress=lambda *done: told.append(done))
    assert told == [(number, 6) for number in range(1, 7)]
    told.clear()
    convert(tmp_path / "native", tmp_path / "back", to="legacy", on_progress=lambda *done: told.append(done))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_two_steps_leave_nothing_between(tmp_path: Path) -> None:
    pytest.importorskip("minari")
    native = write_dataset(tmp_path / "native", event_kinds=(), feature_names={"observation.features": (*RIVALRY, "x")})
    convert(native.path, tmp_path / "minari", to="minari", options=ConvertOptions(minari_id="town/test-v0"))

    with pytest.raises(DatasetError, match="features"):  # Minari does not keep their names
        convert(tmp_path / "minari", tmp_path / "legacy", to="legacy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["minari", "native"]
    done = convert(tmp_path / "minari", tmp_path / "again", to="native")
    assert (done.source_format, done.num_episodes) == ("minari", native.num_episodes)


def test_an_option_without_meaning_is_refused() -> None:
    with pytest.raises(UsageError, match="'minari_id' has no meaning from 'native' to 'legacy'"):
        convert("x", Path("y"), to="legacy", source_format="native", options=ConvertOptions(minari_id="x-v0"))


def native_for(to: str, path: Path) -> Dataset:
    """Write a dataset that the other format can take."""
    if to == "minari":
        return write_dataset(path / "native")
    write_capture(path / "capture")
    convert(path / "capture", path / "native", to="native")
    return Dataset(path / "native")


@pytest.mark.parametrize("to", ["legacy", "minari"])
def test_what_is_damaged_is_not_exported_to_get_new_digests(tmp_path: Path, to: Any) -> None:
    file = native_for(to, tmp_path).shards[-1].path / "actions.npy"
    data = bytearray(file.read_bytes())
    data[-8] ^= 1  # the last action becomes another one that exists
    file.write_bytes(data)

    with pytest.raises(DatasetError, match=r"actions\.npy is damaged: its contents do not match"):
        convert(tmp_path / "native", tmp_path / "out", to=to)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["legacy", "minari"])
def test_an_export_says_how_many_bytes_it_has_verified(tmp_path: Path, to: Any) -> None:
    size = native_for(to, tmp_path).num_bytes
    seen: list[tuple[int, int]] = []
    convert(tmp_path / "native", tmp_path / "out", to=to, on_verify=lambda *counts: seen.append(counts))
    assert seen[-1] == (size, size)
