"""What may not be read is a refusal of the system (74), and nothing is said about its contents (65)."""

import errno
import os
from pathlib import Path

import pytest
from datasets import write_dataset
from legacy_files import write_capture

from townlet_core.checkpoint.manifest import read_file
from townlet_core.cli.main import main
from townlet_core.errors import ArtefactError, DatasetError, StorageError
from townlet_core.replay.files import dataset_guard
from townlet_core.replay.minari import description


def refuse(monkeypatch, name, code=errno.EACCES):
    """Let the system refuse to open files of that name, as it would for another user."""
    opened = os.open

    def open_(path, *arguments, **options):
        if Path(path).name == name:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", open_)


@pytest.mark.parametrize("name", ["dataset.json", "manifest.json", "episodes.json", "actions.npy"])
@pytest.mark.parametrize("command", [("validate",), ("summary",), ("export", "out", "--format", "minari")])
def test_a_file_of_a_dataset_that_may_not_be_read_ends_every_command_with_74(
    tmp_path, monkeypatch, capsys, name, command
):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "d")
    refuse(monkeypatch, name)
    assert main(["replay", command[0], "d", *command[1:]]) == 74
    said = capsys.readouterr().err
    assert f"{name}: Permission denied [EACCES]" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["rollout_sample_manifest.json", "rollout_sample_000.npz"])
def test_a_file_of_the_earlier_format_that_may_not_be_read_ends_with_74(tmp_path, monkeypatch, capsys, name):
    write_capture(tmp_path / "c")
    refuse(monkeypatch, name)
    assert main(["replay", "summary", str(tmp_path / "c")]) == 74
    assert f"{name}: Permission denied [EACCES]" in capsys.readouterr().err


def test_other_refusals_stay_faults_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "f").write_bytes(b"")
    for code, error in ((errno.EACCES, StorageError), (errno.EPERM, StorageError), (errno.EIO, ArtefactError)):
        with monkeypatch.context() as patch:
            refuse(patch, "f", code)
            with pytest.raises(error):
                read_file(tmp_path / "f", 10, ArtefactError)


def test_a_parser_that_is_refused_a_file_does_not_call_it_damaged(tmp_path):
    with pytest.raises(StorageError, match="cannot read x: Permission denied"), dataset_guard("x"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(DatasetError, match="x cannot be read"), dataset_guard("x"):
        raise OSError(errno.EIO, "Input/output error")


def test_the_files_of_minari_that_may_not_be_read_are_no_fault_of_theirs(tmp_path, monkeypatch):
    def refused(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(StorageError, match="main_data"):
        description.digest_of(tmp_path)
