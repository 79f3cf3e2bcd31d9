"""Processes that move the champion at once: one wins, the others are told, and the log has every event once."""

import json
import subprocess
import sys

import pytest
from released_policies import comparison

from townlet_core.errors import RunLockedError
from townlet_core.releases.verify import verify
from townlet_core.runs.lock import RunLock

RACER = """
import sys
from pathlib import Path
from townlet_core.dto.promotion import PromotionEvidence
from townlet_core.errors import TownletError
from townlet_core.services.promotion import PromotionService
service = PromotionService(releases_dir=Path(sys.argv[1]))
evidence = PromotionEvidence.model_validate_json(sys.argv[3])
print("ready", flush=True)
head = sys.stdin.readline().strip()
try:
    service.promote(Path(sys.argv[2]), evidence, by=sys.argv[4], expected_head=head)
except TownletError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def test_of_concurrent_promotions_one_wins_and_the_others_are_told(tmp_path, story, service):
    root = tmp_path / "releases"
    for number in (0, 1):
        story.recorded(service(root), number)
    head = service(root).status().head
    racers = []
    for number in range(6):
        policy = number % 2
        evidence = comparison(story.digests[policy], "scripted").model_dump_json()
        command = [sys.executable, "-c", RACER, root, story.policies / str(policy), evidence, f"racer {number}"]
        racers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 6
    for racer in racers:
        racer.stdin.write(f"{head}\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=60)[0] for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert sorted(codes) == [0, 73, 73, 73, 73, 73]
    assert all(("changed by another process" in text or "in use by" in text) for text in told if text)
    events = [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["verdict", "candidate", "promoted"]
    assert events[-1]["by"] == f"racer {codes.index(0)}"
    assert verify(root).problems == ()


JUDGE = """
import sys
from pathlib import Path
from townlet_core.services.promotion import PromotionService
service = PromotionService(releases_dir=Path(sys.argv[1]))
for number in range(8):
    document = f"{number} {sys.argv[3]}".encode()
    service.record_verdict(Path(sys.argv[2]), "FAIL", by=sys.argv[3], evidence_file=document)
"""


def test_verdicts_of_concurrent_runs_wait_for_each_other(tmp_path, story):
    root = tmp_path / "releases"
    judges = [
        subprocess.Popen([sys.executable, "-c", JUDGE, root, story.policies / str(number), f"judge {number}"])
        for number in range(3)
    ]
    assert [judge.wait(timeout=120) for judge in judges] == [0, 0, 0]
    report = verify(root)
    assert (report.events, report.problems, report.leftovers) == (24, (), ())


def test_a_promotion_does_not_wait_for_who_holds_the_lock(tmp_path, story, service):
    root = tmp_path / "releases"
    for number in (0, 1):
        story.recorded(service(root), number)
    with RunLock(root, clock=lambda: 0.0), pytest.raises(RunLockedError, match="in use by process"):
        story.promoted(service(root), 1)
    assert service(root).status().champion is None
