"""The kernel kills promotions, rollbacks and verdicts at each call that writes: releases are as before or as after."""

import shutil
import subprocess
import sys

import pytest
from released_policies import comparison

from townlet_core.releases.verify import verify

# Names of the same call on different processors; a name that the processor lacks is none of its calls.
WRITE_CALLS = {
    "?mkdir,?mkdirat": {"record": 1},
    "write": {"promote": 4, "rollback": 3},
    "fsync": {"promote": 5, "rollback": 3},
    "?rename,?renameat,?renameat2": {"record": 3, "promote": 2, "rollback": 1},
}
"""With each, how many of them each operation makes at least."""
OPERATE = """
import sys
from pathlib import Path
from townlet_core.dto.promotion import PromotionEvidence
from townlet_core.services.promotion import PromotionService
operation, root, policy, evidence = sys.argv[1:]
service = PromotionService(releases_dir=Path(root), clock=lambda: 1_000_000.0)
if operation == "record":
    service.record_verdict(Path(policy), "PASS", by="test", evidence_file=b"of this kill")
elif operation == "promote":
    comparison = PromotionEvidence.model_validate_json(evidence)
    service.promote(Path(policy), comparison, by="test", evidence_file=b"of this kill")
else:
    service.rollback("previous", by="test")
"""


@pytest.mark.system("strace")
@pytest.mark.parametrize(
    ("calls", "operation"), [(calls, operation) for calls, least in WRITE_CALLS.items() for operation in least]
)
def test_a_kill_at_every_system_call_that_writes_is_recovered_from(tmp_path, story, service, calls, operation):
    kept, root, kills = tmp_path / "kept", tmp_path / "releases", 0
    steps = story.steps()
    for step in {"record": steps[:1], "promote": steps[:3], "rollback": steps[:5]}[operation]:
        step(service(kept))
    policy, before = story.policies / "1", service(kept).status()
    evidence = comparison(story.digests[1], "scripted").model_dump_json()
    operate = [sys.executable, "-c", OPERATE, operation, root, policy, evidence]
    while True:
        shutil.copytree(kept, root)
        inject = f"inject={calls}:signal=KILL:when={kills + 1}"
        strace = ["strace", "-qq", "-o", tmp_path / "log", "-e", f"trace={calls}", "-e", inject]
        done = subprocess.run([*strace, *operate], capture_output=True, check=False, timeout=60)
        report, status = verify(root), service(root).status()
        assert report.problems == ()
        assert status.events - before.events in ((1,) if done.returncode == 0 else (0, 1))
        if status.events == before.events:
            assert status == before
        service(root).record_verdict(story.policies / "2", "HOLD", by="test", evidence_file=b"goes on")
        assert verify(root).problems == ()
        shutil.rmtree(root)
        if done.returncode == 0:
            break
        kills += 1
        assert done.returncode in (-9, 137), done.stderr
        assert kills < 40
    assert kills >= WRITE_CALLS[calls][operation]
