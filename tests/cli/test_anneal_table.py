"""What `townlet train` prints of an anneal run."""

import pytest

from townlet_core.cli.anneal_table import stage_lines
from townlet_core.cli.promote import state_text
from townlet_core.cli.train import _streak

SCORE = {"mean": -0.027356371, "low": -0.0308999, "high": -0.02441111, "num_episodes": 1000}


def stage(number, verdict, **fields):
    known = {"number": number, "mode": "ppo", "cycle": 1_000_000, "bc_weight": 0.125, "attempt": 0, "repeat": 0}
    return {**known, "score": SCORE, "verdict": verdict, "reason": "score beside the clone: worse " * 4, **fields}


SUMMARY = {
    "baselines": [{"name": "scripted", "score": SCORE}],
    "best_stage": 1,
    "stages": [
        stage(1, "PASS", mode="plugin:somebody-else:a-long-name"),
        stage(2, "HOLD", repeat=1, tries=2),
        stage(103, "FAIL", attempt=2, repeat=1, tries=12, score=None),
    ],
}


def test_a_table_fits_into_80_columns_and_says_why_a_stage_did_not_pass():
    lines = stage_lines(SUMMARY)
    assert max(map(len, lines)) <= 80
    cells = [line.split() for line in lines]
    assert cells[0][:3] == ["STAGE", "CYCLE", "WEIGHT"]
    assert cells[1][0] == "scripted"
    assert cells[2][-2:] == ["PASS", "best"]
    assert cells[3][3:5] + cells[3][-1:] == ["0.125", "2", "HOLD"]
    assert cells[4][3:] == ["0.125", "12", "-", "-", "-", "-", "FAIL"]
    told = " ".join(" ".join(line.split()) for line in lines[5:])
    assert told == " ".join(f"stage {number}: {'score beside the clone: worse ' * 4}".strip() for number in (2, 103))


def test_all_scores_are_of_the_same_episodes_and_what_took_more_is_said():
    first = {**SCORE, "mean": -0.5, "num_episodes": 8}
    longer = {**SCORE, "mean": -0.25, "num_episodes": 32}
    stages = [
        stage(1, "PASS", score=first, common_score=first),
        stage(2, "PASS", score=longer, common_score=first),
        stage(3, "PASS", score=longer, common_score=first),
        stage(4, "FAIL", score=None, common_score=None, reason="not finite"),
    ]
    _, *lines = stage_lines({"baselines": [], "best_stage": 1, "stages": stages})
    assert [line.split()[5:9:3] for line in lines[:4]] == [["-0.5", "8"]] * 3 + [["-", "-"]]
    told = " ".join(line.strip() for line in lines[4:])
    assert told.startswith("scores are of the 8 episodes that all stages have; judged was stage 2 on 32, stage 3 on 32")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"promotion_streak": None, "promotion_note": "there is no policy"}, "not recorded: there is no policy"),
        ({"promotion_streak": 1, "promotion_ready": False}, "1 in a row passed"),
        (
            {"promotion_streak": 2, "promotion_ready": True},
            "2 in a row passed; 'townlet promote' can make one the champion",
        ),
    ],
)
def test_what_became_of_the_streak_is_said(fields, told):
    assert _streak(fields) == told


@pytest.mark.parametrize(
    ("streak", "required", "told"),
    [
        (1, 2, "candidate, 1 of 2 passed in a row"),
        (2, 2, "candidate, 2 of 2 passed in a row"),
        (3, 2, "candidate, 3 passed in a row (2 needed)"),
        (3, None, "candidate, 3 passed in a row"),
    ],
)
def test_a_streak_that_is_longer_than_it_has_to_be_is_no_share(streak, required, told):
    assert state_text("candidate", streak, required) == told
