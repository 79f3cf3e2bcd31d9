"""Some policies, and a row of operations on releases that are made of them."""

import os

import pytest
from datasets import HASTY, HastyFileSystem
from recording_file_system import Killed, RecordingFileSystem
from released_policies import comparison, saved_policies

from townlet_core.services.promotion import PromotionService


class Story:
    """Operations on releases, one line of the log each.

    Attributes:
        policies: directory of the policies.
        digests: of the policies.
    """

    def __init__(self, policies):
        self.policies = policies
        self.digests = saved_policies(policies, 4)

    def recorded(self, service, number, verdict="PASS"):
        return service.record_verdict(
            self.policies / str(number), verdict, by="test", evidence_file=b'{"of": %d}' % number
        )

    def promoted(self, service, number):
        evidence = comparison(self.digests[number], service.status().champion or "scripted")
        return service.promote(self.policies / str(number), evidence, by="test", evidence_file=b"{}")

    def steps(self):
        """Return every operation, in an order in which each is possible."""
        return [
            lambda service: self.recorded(service, 2, "FAIL"),
            lambda service: self.recorded(service, 0),
            lambda service: self.recorded(service, 1),
            lambda service: self.promoted(service, 1),
            lambda service: service.swap(self.policies / "3", by="test", reason="by hand"),
            lambda service: service.rollback("previous", by="test"),
        ]


class QuickRecorder(RecordingFileSystem, HastyFileSystem):
    """Remembers every call, and does not wait for the device; a test may have it killed in the middle of a line."""

    tears = False

    def write(self, descriptor, data):
        if self.tears and self.paths[descriptor].endswith("events.jsonl"):
            super().write(descriptor, data[: len(data) // 2])
            raise Killed
        return super().write(descriptor, data)


def service_at(root, *, filesystem=HASTY, **options):
    """Return a service whose clock stands still."""
    return PromotionService(releases_dir=root, clock=lambda: 1_000_000.0, filesystem=filesystem, **options)


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path / "policies")


@pytest.fixture
def service():
    return service_at


@pytest.fixture
def recorder(tmp_path):
    root = tmp_path / "disk"
    root.mkdir()
    return QuickRecorder(root)


@pytest.fixture
def killed():
    return Killed


@pytest.fixture
def store(tmp_path, story, service):
    """A store in which every operation was done."""
    root = tmp_path / "releases"
    for step in story.steps():
        assert step(service(root)).done
    return root


@pytest.fixture
def contents():
    """Return what a directory holds, by relative path, of a file its size and beginning; the lock apart."""

    def contents(root):
        found = {}
        for path in sorted(path for path in root.rglob("*") if path.name != ".lock"):
            found[os.path.relpath(path, root)] = None
            if path.is_file():
                with path.open("rb") as file:
                    found[os.path.relpath(path, root)] = path.stat().st_size, file.read(1 << 20)
        return found

    return contents
