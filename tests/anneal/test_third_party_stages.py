"""Any strategy can be a stage: what anneal gives it follows from the settings that it has."""

import importlib
import subprocess
import sys

import pytest
from annealing import anneal, ppo

PLUGIN = """
from townlet_core.plugins import StrategyEntry, hookimpl
TOWNLET_PLUGIN_API = (1, 0)

@hookimpl
def townlet_strategies():
    return [StrategyEntry(name="nudge", strategy=f"{__package__}.parts:Nudge", settings=f"{__package__}.parts:Settings",
                          result="townlet_core.dto.base:TrainingResultBase")]
"""

PARTS = """
from pydantic import Field
from townlet_core.config.base import Settings as Base
from townlet_core.config.base import settings_from
from townlet_core.dto.base import ArtefactReference, TrainingResultBase

SEEN = []

class Settings(Base):
    num_epochs: int = Field(default=1, description="[passes]")
    reference_kl_coef: float = Field(default=0.0, description="[1]")
    learning_rate: float = Field(default=0.5, description="[1]")

class Nudge:
    def run(self, context, **options):
        SEEN.append((options, context.continuation, context.anneal_context, context.run.path.name))
        settings_from(Settings, context.config.strategies.get("nudge"), options, path="strategies.nudge")
        digest = context.initial_policy.save(context.run.policy_dir)
        reference = ArtefactReference(path="policy", digest=digest, kind="last")
        return TrainingResultBase(strategy="nudge", duration_sec=0.0, artefact=reference)
"""


@pytest.fixture
def parts(shelf):
    package = shelf.install("townlet-of-mine", PLUGIN)
    (shelf.path / package / "parts.py").write_text(PARTS)
    return importlib.import_module(f"{package}.parts")


def test_a_strategy_of_somebody_else_is_a_stage_like_any_other(tmp_path, parts):
    nudge = {"cycle": 1, "mode": "nudge", "epochs": 7, "bc_weight": 0.5, "options": {}}
    result, _ = anneal(tmp_path, [ppo(0, 1), nudge, ppo(2, 1)], margin=1000.0, reference_kl_coef=0.4, hold_repeats=0)
    assert [(stage.mode, stage.verdict) for stage in result.stages] == [
        ("ppo", "PASS"),
        ("nudge", "PASS"),
        ("ppo", "HOLD"),
    ]
    ((options, continuation, anneal_context, directory),) = parts.SEEN
    assert options == {"num_epochs": 7, "reference_kl_coef": 0.2}
    assert continuation is None, "what PPO saved is its own"
    assert (anneal_context.cycle, anneal_context.stage, directory) == (1, "nudge", "002-nudge")
    assert result.stages[0].digest == result.stages[1].digest == result.stages[2].initial_digest


def test_an_entry_may_say_itself_what_it_would_be_given(tmp_path, parts):
    own = {"num_epochs": 2, "reference_kl_coef": 9.0}
    nudge = {"cycle": 1, "mode": "nudge", "epochs": 7, "bc_weight": 0.5, "options": own}
    anneal(tmp_path, [ppo(0, 1), nudge], margin=1000.0)
    assert parts.SEEN[0][0] == own


def test_in_the_town_guardrails_are_held_against_random_actions_where_there_is_no_clone(tmp_path):
    rails = [{"metric": "faint_events", "tolerance": 0.0}, {"metric": "energy_mean", "direction": "lower"}]
    town = {"environment.name": "town", "environment.max_episode_steps": 8, "environment.num_worlds": 2}
    once = {"hold_repeats": 0, "more_episodes": 1}
    result, _ = anneal(tmp_path, [ppo(0, 1)], guardrails=rails, margin=1000.0, **once, **town)
    (stage,) = result.stages
    assert [check.name for check in stage.checks] == ["score beside the random", "faint_events", "energy_mean", "gain"]
    assert [baseline.name for baseline in result.baselines] == ["random", "scripted"]
    assert result.score_name == "reward_mean"
    assert [check.verdict for check in stage.checks] == ["PASS", "PASS", "PASS", "HOLD"]
    told = "not surely better than random: by +0 to +0; beside scripted +0 (+0 to +0)"
    assert stage.checks[-1].reason == told, "so early in a day nothing has happened"
    assert "--against random --suite suites/anneal-8.yaml" in stage.checks[0].command
    assert (stage.loss_flag, stage.queue_flag, stage.intensity_flag) == (None, None, None), "there is no baseline yet"


def test_anneal_itself_needs_no_torch():
    statement = (
        "import sys, townlet_strategies_anneal.plugin, townlet_strategies_anneal.settings\n"
        "import townlet_strategies_anneal.strategy\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", statement], check=True, timeout=60)
