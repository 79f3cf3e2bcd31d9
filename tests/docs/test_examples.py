"""What the documentation shows is what happens: its examples are run, page by page, each in a directory of its own.

A ``console`` block is a session: every line after ``$ `` is run, and the lines after it are compared with what it says,
numbers and hashes apart, except in a line of counts such as ``6 taken, 7 changed``; a line ``...`` stands for any
lines. Where an expected line begins with ``error:`` the command has to fail. A ``python``, ``toml`` or ``yaml`` block
whose first line is a comment with a file's name becomes that file; other ``python`` blocks are run. Blocks of another
language (``sh``, ``text``) are for reading.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documented_output import masked, matches

from townlet_core.dto.ppo import PPOTrainingResultDTO

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./-]+\.(?:py|toml|yaml))")
SESSIONS = [page for page in PAGES if page.parent.name != "reference"]
RUN = ("console", "python")


def blocks(page):
    return [(language, text) for language, text in FENCE.findall(page.read_text(encoding="utf-8"))]


@pytest.fixture
def session(tmp_path):
    """Run a command as a reader would, who has this environment active; what is installed goes to a directory."""
    site = tmp_path / ".site"
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(site),
        "PIP_TARGET": str(site),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_QUIET": "2",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }

    def session(command):
        return subprocess.run(
            command,
            shell=True,
            executable="/bin/bash",
            cwd=tmp_path,
            env=environ,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
        )

    return session


def exchanges(text):
    """Yield each command of a session with the lines that are to follow it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        while command.endswith("\\"):
            more, _, expected = expected.partition("\n")
            command = f"{command}\n{more}"
        yield command, expected


def check(session, command, expected):
    done = session(command)
    fails = any(line.startswith("error:") for line in expected.splitlines())
    assert (done.returncode != 0) == fails, f"$ {command}\n{done.stdout}"
    assert matches(masked(expected), masked(done.stdout)), f"$ {command}\n{done.stdout}\ninstead of\n{expected}"


@pytest.mark.parametrize(
    "page",
    [page for page in SESSIONS if any(language in RUN for language, _ in blocks(page))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_example_of_a_page_does_what_the_page_says(page, session, tmp_path):
    for language, text in blocks(page):
        named = FILE.match(text)
        if named:
            file = tmp_path / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        elif language == "console":
            for command, expected in exchanges(text):
                check(session, command, expected)
        elif language == "python":
            (tmp_path / "example.py").write_text(text)
            check(session, "python example.py", "...")


def test_the_pages_that_teach_have_examples_that_run():
    for name in ("README.md", "docs/tutorial/first-run.md", "docs/how-to/write-a-strategy-plugin.md"):
        assert any(language == "console" for language, _ in blocks(ROOT / name)), name


def test_the_index_claims_no_more_than_is_run():
    text = " ".join((ROOT / "docs" / "index.md").read_text(encoding="utf-8").split())
    assert (
        "every session and every Python example of the tutorial, the how-to pages, the README and CONTRIBUTING" in text
    )
    assert "The reference pages are generated from the code or compared with it, and not run" in text
    promised = {"README.md", "CONTRIBUTING.md", "tutorial", "how-to"}
    with_examples = {page for page in PAGES if any(language in RUN for language, _ in blocks(page))}
    assert {page for page in with_examples if not promised & {page.name, page.parent.name}} - {*SESSIONS} == {
        ROOT / "docs" / "reference" / "dataset-format.md",
        ROOT / "docs" / "reference" / "hooks.md",
    }


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/first-run.md"])
def test_a_page_that_shows_how_to_resume_says_what_that_comes_to(name):
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert "--resume" in text
    assert "in the middle of its episodes, and ends with" in text
    assert "explanation/exact-runs.md" in text, "that page says where this is not so, and how a result tells"
    assert "same result" not in text
    page = " ".join((ROOT / "docs" / "explanation" / "exact-runs.md").read_text(encoding="utf-8").split())
    assert "weights then differ from those of an uninterrupted run, and the result says so: `num_resumes`" in page
    assert {"num_resumes", "episodes_restarted"} <= PPOTrainingResultDTO.model_fields.keys()


def test_every_link_between_pages_leads_somewhere():
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_first_two_commands_of_the_readme_are_make_train_and_make_test():
    commands = [
        line.removeprefix("$ ")
        for language, text in blocks(ROOT / "README.md")
        if language in {"sh", "console"}
        for line in text.splitlines()
        if line.strip()
    ]
    assert [command.split("#")[0].strip() for command in commands[:2]] == ["make train", "make test"]


@pytest.mark.parametrize(
    ("expected", "got", "equal"),
    [
        ("a 1\nb", "a 2.5\nb", True),
        ("a 1\n...\nb", "a 2\nx\ny\nb", True),
        ("a\n...", "a", True),
        ("a", "a\nb", False),
        ("a\nb", "a", False),
        ("sha256 0123456789ab", "sha256 ba9876543210", True),
        ("return", "retorn", False),
        ("6 taken, 7 changed, 4 left out", "6 taken, 7 changed, 4 left out", True),
        ("6 taken, 7 changed, 4 left out", "7 taken, 6 changed, 4 left out", False),
    ],
)
def test_the_comparison_masks_numbers_and_nothing_else(expected, got, equal):
    assert matches(masked(expected), masked(got)) == equal
