"""One byte that was changed anywhere in a store is found and named, and nothing hostile is followed or written to."""

import json
import os
import shutil

import pytest

from townlet_core.cli.main import main
from townlet_core.config.promotion import PromotionConfig
from townlet_core.errors import DataError, MissingInputError
from townlet_core.releases.verify import verify


def test_every_flipped_byte_is_found_and_its_file_is_named(tmp_path, story, service):
    store = tmp_path / "small"
    promotes_at_once = service(store, settings=PromotionConfig(required_passes=1))
    assert story.recorded(promotes_at_once, 0).done
    assert story.promoted(promotes_at_once, 0).done
    clean = verify(store)
    assert (clean.problems, clean.leftovers) == ((), ())
    missed, flipped = [], 0
    for path in sorted(path for path in store.rglob("*") if path.is_file() and path.name != ".lock"):
        whole, name = path.read_bytes(), path.relative_to(store).as_posix()
        for position in range(len(whole)):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
            problems = verify(store).problems
            flipped += 1
            if not any(_names(problem, name) for problem in problems):
                missed.append((name, position, problems))
        path.write_bytes(whole)
    assert missed == []
    assert flipped > 3_000
    assert verify(store) == clean


def _names(problem, name):
    return problem.path == name or name.startswith(f"{problem.path}/")


def test_every_truncation_of_the_log_is_found(store):
    log = store / "events.jsonl"
    whole = log.read_bytes()
    for length in range(0, len(whole), 11):
        log.write_bytes(whole[:length])
        assert any(problem.path == "events.jsonl" for problem in verify(store).problems)


def test_a_cut_log_is_refused_and_nothing_is_written(store, story, service, contents):
    log = store / "events.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        log.write_bytes(b"".join(lines[:kept]))
        before = contents(store)
        for step in story.steps():
            with pytest.raises(DataError, match=r"lines were lost"):
                step(service(store))
        assert contents(store) == before
    (store / "status.json").unlink()
    assert service(store).status().events == len(lines) - 1  # somebody has looked, and lets them be forgotten


def replaced(name, data):
    def replace(store):
        (store / name).unlink(missing_ok=True)
        (store / name).write_bytes(data)

    return replace


def edited(edit):
    """Return a change of the log's lines, as parsed, whose chain is made to fit again."""

    def change(store):
        import hashlib

        lines = [json.loads(line) for line in (store / "events.jsonl").read_bytes().splitlines()]
        edit(lines)
        previous, written = "0" * 64, b""
        for line in lines:
            text = json.dumps({**line, "previous": previous}, separators=(",", ":")).encode()
            previous = hashlib.sha256(text).hexdigest()
            written += text + b"\n"
        (store / "events.jsonl").write_bytes(written)
        (store / "status.json").unlink()

    return change


def linked(name, target):
    def link(store):
        path = store / name
        elsewhere = store.parent / target
        path.rename(elsewhere)
        path.symlink_to(elsewhere)

    return link


def pipe(store):
    (store / "status.json").unlink()
    os.mkfifo(store / "status.json")


def enormous(store):
    with (store / "events.jsonl").open("r+b") as log:
        log.truncate(1 << 40)


HOSTILE = {
    "foreign file": replaced("notes.txt", b"mine"),
    "log of junk": replaced("events.jsonl", b"\xff" * 4096 + b"\n"),
    "log of empty lines": replaced("events.jsonl", b"\n" * 50),
    "log of nesting": replaced("events.jsonl", b"[" * 60_000 + b"\n" + b"{}\n"),
    "log of a huge line": replaced("events.jsonl", b"x" * (1 << 20)),
    "enormous log": enormous,
    "junk as status": replaced("status.json", b"junk"),
    "number as status": replaced("status.json", b"NaN"),
    "status that is a pipe": pipe,
    "status that is a link": linked("status.json", "elsewhere"),
    "log that is a link": linked("events.jsonl", "elsewhere"),
    "bundles that are a link": linked("bundles", "elsewhere"),
    "evidence that is a link": linked("evidence", "elsewhere"),
    "the same event twice": edited(lambda lines: lines.insert(2, lines[2])),
    "events in another order": edited(lambda lines: lines.reverse()),
    "a release that climbs": edited(lambda lines: lines[1].update(release="../../outside")),
    "a streak that was not": edited(lambda lines: lines[1].update(streak=7)),
    "a promotion without evidence": edited(lambda lines: lines[3].update(evidence=None)),
    "a promotion of another": edited(lambda lines: lines[3].update(release="1" * 64)),
    "a verdict that is none": edited(lambda lines: lines[0].update(verdict="MAYBE")),
    "a field that is none": edited(lambda lines: lines[0].update(more=1)),
    "a text that steers terminals": edited(lambda lines: lines[0].update(by="\x1b[2J")),
}


@pytest.mark.parametrize("attack", HOSTILE, ids=str)
def test_a_hostile_store_is_one_clear_error_and_nothing_is_written(store, story, service, contents, attack, capsys):
    HOSTILE[attack](store)
    before = contents(store)
    for step in story.steps():
        with pytest.raises(DataError, match=str(store)):
            step(service(store))
    assert verify(store).problems
    assert main(["releases", "--releases", str(store)]) == 65
    told = capsys.readouterr()
    assert told.err.startswith("error: ")
    assert "\x1b" not in told.err
    assert main(["releases", "verify", "--releases", str(store)]) == 65
    assert contents(store) == before


def test_a_directory_that_is_something_else_is_left_alone(tmp_path, story, service, contents):
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"letter\.txt does not belong to releases"):
        story.steps()[0](service(home))
    assert contents(home) == {"letter.txt": (4, b"dear")}
    with pytest.raises(DataError, match="is not a directory"):
        story.steps()[0](service(home / "letter.txt"))


@pytest.mark.parametrize("kind", ["extra file", "link in place of a file", "bundle is gone", "link in place of it"])
def test_what_is_wrong_with_a_bundle_is_named(store, kind):
    bundle = min((store / "bundles").iterdir())
    if kind == "extra file":
        (bundle / "run.sh").write_text("rm -rf")
    elif kind == "link in place of a file":
        shutil.copy(bundle / "policy.json", store.parent / "copy")
        (bundle / "policy.json").unlink()
        (bundle / "policy.json").symlink_to(store.parent / "copy")
    else:
        bundle.rename(store.parent / "moved")
        if kind == "link in place of it":
            bundle.symlink_to(store.parent / "moved")
    (problem,) = verify(store).problems
    assert problem.path.startswith(f"bundles/{bundle.name}")


def test_evidence_that_is_gone_or_changed_is_named(store):
    first, second, *_ = sorted((store / "evidence").iterdir())
    first.unlink()
    second.write_bytes(b"{}" * 2)
    assert {problem.path for problem in verify(store).problems} == {f"evidence/{one.name}" for one in (first, second)}


def test_there_is_nothing_to_verify_where_there_is_no_store(tmp_path):
    with pytest.raises(MissingInputError, match="no releases yet"):
        verify(tmp_path / "nowhere")
