"""`townlet config migrate`, and runs with what it writes."""

import json

import pytest
from legacy_files import write_capture

from townlet_core.cli.main import main
from townlet_core.config.document import read_document

SHORT = (
    "--set",
    "tracking.progress=off",
    "--set",
    "strategies.ppo.total_steps=60",
    "--set",
    "environment.num_worlds=2",
)
MANIFEST = "old/rollout_sample_manifest.json"
OLD = "training: {{source: {source}, {more}}}\nppo: {{num_mini_batches: 1, num_epochs: 1, gamma: 0.9}}\n"


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Return a function that runs the program in an empty directory: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    ("source", "more", "strategy"),
    [
        ("rollout", "rollout_ticks: 8", "ppo"),
        ("replay", f"replay_manifest: {MANIFEST}, rollout_ticks: 4", "ppo"),
        ("bc", f"bc: {{manifest: {MANIFEST}, epochs: 2, batch_size: 4}}", "bc"),
    ],
)
def test_a_run_starts_with_what_is_written(run, tmp_path, source, more, strategy):
    write_capture(tmp_path / "old", 3)
    (tmp_path / "old.yaml").write_text(OLD.format(source=source, more=more))
    code, out, _ = run("config", "migrate", "old.yaml", "--out", "new.yaml")
    assert code == 0
    assert "next      townlet train new.yaml" in out
    assert run("config", "show", "new.yaml")[0] == 0
    code, _, err = run("train", "new.yaml", "--run-dir", "run", *SHORT)
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["strategy"] == strategy


def test_what_became_of_the_keys_fits_into_80_columns_and_steers_no_terminal(run, tmp_path):
    long = "x" * 900
    text = (
        f"training: {{source: bc, bc: {{manifest: '{long}'}}, '{long}': 1, \"bad\\e[2Jkey\\n\": 2,\n"
        "  social_reward_schedule: [{cycle: 100000, stage: C1}, {cycle: 200000, stage: C3}]}\n"
        "rewards: {clip: {no_positive_within_death_ticks: 10}}\n"
    )
    (tmp_path / "old.yaml").write_text(text)
    code, out, _ = run("config", "migrate", "old.yaml", "--out", "new.yaml")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "unknown   training.bad\\x1b[2Jkey\\n (line 1)" in out
    assert "2 taken, 2 changed, 0 left out, 2 unknown" in out
    assert read_document(tmp_path / "new.yaml").values["strategies"]["bc"]["dataset"] == long


def test_without_a_file_to_write_the_configuration_alone_is_on_stdout(run, tmp_path):
    (tmp_path / "old.yaml").write_text("training: {source: rollout, nonsense: 1}\n")
    code, out, err = run("config", "migrate", "old.yaml")
    assert code == 0
    (tmp_path / "new.yaml").write_text(out)
    assert run("config", "show", "new.yaml")[0] == 0
    assert "unknown   training.nonsense (line 1)" in err


def test_json_has_the_configuration_and_every_key(run, tmp_path):
    (tmp_path / "old.yaml").write_text("training:\n  source: replay\n  rollout_ticks: 5\n  spam: 1\n")
    code, out, err = run("config", "migrate", "old.yaml", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["config"]["strategies"] == {"ppo": {"data_mode": "replay", "num_steps": 5}}
    assert report["counts"] == {"taken": 1, "changed": 1, "left out": 0, "unknown": 1}
    assert [(key["key"], key["line"], key["now"]) for key in report["keys"]][1] == (
        "training.rollout_ticks",
        3,
        {"strategies.ppo.num_steps": 5},
    )
    assert "strategies.ppo.dataset" in report["missing"][0]
    assert report["out"] is None


def test_nothing_is_replaced_without_force_and_the_old_file_never(run, tmp_path):
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("training: {source: rollout}\n")
    new.write_text("precious\n")
    code, _, err = run("config", "migrate", "old.yaml", "--out", "new.yaml")
    assert code == 64
    assert "--force" in err
    assert new.read_text() == "precious\n"
    assert run("config", "migrate", "old.yaml", "--out", "new.yaml", "--force")[0] == 0
    assert "data_mode: rollout" in new.read_text()
    assert run("config", "migrate", "old.yaml", "--out", "old.yaml", "--force")[0] == 64
    assert old.read_text() == "training: {source: rollout}\n"
    assert run("config", "migrate", "old.yaml", "--out", tmp_path, "--force")[0] == 64
    code, _, err = run("config", "migrate", "old.yaml", "--out", "none/new.yaml")
    assert (code, "(its directory does not exist, and is not made here)" in err) == (74, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.yaml", "old.yaml"]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"training: {source: nowhere}", 78, "old.yaml:1: training.source: 'nowhere' given"),
        (b"training: {anneal_schedule: [{bc_weight: 5}]}", 78, "anneal_schedule[0].bc_weight (old.yaml:1): 5 given"),
        (b"just text", 78, "must be a mapping"),
        (b"training: {source: !!python/name:os.system x}", 78, "the tag"),
        (b"\xff\xfe\x00", 78, "not UTF-8"),
        (b"a: 1\n" * 300_000, 78, "larger than"),
        (
            b"a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [" + b"*a, " * 100 + b"]\nc: [" + b"*b, " * 100 + b"]",
            78,
            "ali",
        ),
        (None, 66, "there is no file old.yaml"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_writes_nothing(run, tmp_path, content, code, message):
    if content is not None:
        (tmp_path / "old.yaml").write_bytes(content)
    done, out, err = run("config", "migrate", "old.yaml", "--out", "new.yaml")
    assert (done, out) == (code, "")
    assert message in err
    assert not (tmp_path / "new.yaml").exists()


def test_a_schedule_in_json_is_refused_by_the_name_of_the_file(run, tmp_path):
    (tmp_path / "old.json").write_text('{"training": {"anneal_schedule": [{"bc_weight": 5}]}}')
    code, _, err = run("config", "migrate", "old.json")
    assert code == 78
    assert "training.anneal_schedule[0].bc_weight (old.json): 5 given; must be a number from 0 to 1" in err


def test_who_trains_with_an_earlier_configuration_is_told_what_turns_it_into_one_of_today(run, tmp_path):
    (tmp_path / "old one.yaml").write_text("training: {source: bc, seed: 1}\n")
    code, _, err = run("train", "old one.yaml")
    assert code == 78
    assert "training.source (old one.yaml:1): there is no such key" in err
    assert "townlet config migrate 'old one.yaml' --out NEW" in err
    (tmp_path / "new.yaml").write_text("training: {sed: 1}\n")
    for arguments in (("new.yaml",), ("--set", "training.source=bc")):
        code, _, err = run("train", *arguments)
        assert (code, "migrate" in err) == (78, False)
