"""No dead knobs: real runs, through the public API, read every field of every settings model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annealing import CLONE, anneal, balanced_poles, ppo
from gymnasium import spaces
from pydantic import BaseModel

from townlet_core.config.base import Settings
from townlet_core.config.describe import section_model
from townlet_core.config.load import load_config
from townlet_core.config.root import SimulationConfig
from townlet_core.environments.build import make_environment
from townlet_core.plugins.registry import Registry
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.writer import DatasetWriter
from townlet_core.services.promotion import PromotionService
from townlet_core.services.rollout import Rollout
from townlet_core.services.scripts import make_script

SHORT = ["strategies.ppo.num_steps=8", "strategies.ppo.num_minibatches=2", "tracking.progress=off"]
RUNS = {
    "sync": ["environment.name=gymnasium:CartPole-v1"],
    "workers": ["environment.name=gymnasium:CartPole-v1", "environment.vectorization=workers"],
    "entry_point": ["environment.name=gymnasium:CartPole-v1", "environment.vectorization=entry_point"],
    "town": [
        f"environment.scenario={Path(__file__).parents[1] / 'fixtures' / 'scenarios' / 'short_day.yaml'}",
        "environment.town={day_ticks: 10, social_stage: C2, variant: full, map_dtype: float32}",
        "environment.town.social_reward_schedule=[{cycle: 0, stage: C3}]",
        "environment.town.needs={hunger_decay: 0.03, faint_hunger: 0.15}",
        "strategies.ppo.num_steps=16",
        "strategies.ppo.blend_share=0.2",
        "environment.town.ties.rival_threshold=0",
        "environment.town.rewards.shaping=0.1",
        "environment.town.perturbations={enabled: true, price_spike: 9, blackout: 9, outage: 9, arranged_meet: 9}",
    ],
    "continuous": [
        "environment.name=gymnasium:Pendulum-v1",
        "strategies.ppo.normalize_rewards=true",
        "training.evaluate_every=1",
        "training.evaluate_episodes=1",
        "training.capture_rollouts=true",
    ],
}


class Reads:
    """Which fields were read as attributes: (class name, field). Dumps and comparisons do not count."""

    def __init__(self):
        self.seen = set()

    def watch(self, monkeypatch):
        seen = self.seen

        def getattribute(settings, name):
            model = type(settings)
            if name in model.__pydantic_fields__:
                seen.add((model.__name__, name))
            return BaseModel.__getattribute__(settings, name)

        monkeypatch.setattr(Settings, "__getattribute__", getattribute, raising=False)
        return self

    def unread(self, *models):
        return sorted(
            f"{model.__name__}.{name}" for model, name in fields(models) if (model.__name__, name) not in self.seen
        )


def fields(models):
    for model in models:
        for name, field in model.model_fields.items():
            yield model, name
            section = section_model(field.annotation)
            if section is not None:
                yield from fields([section])


def test_the_watch_sees_a_field_that_nobody_reads(monkeypatch):
    class Knobs(Settings):
        used: int = 1
        dead: int = 2

    reads = Reads().watch(monkeypatch)
    settings = Knobs()
    assert settings.used == 1
    assert settings == settings.model_copy()
    assert settings.model_dump() == {"used": 1, "dead": 2}
    assert reads.unread(Knobs) == ["Knobs.dead"]


def live_a_scripted_day():
    """What takes a competent citizen: meals that are cooked and eaten, queues, cooldowns."""
    config = load_config(None).config
    environment = make_environment(config.environment, num_worlds=2)
    rollout = Rollout(environment, make_script("scripted", environment), seeds=0, purpose="act")
    for _ in range(config.environment.town.day_ticks):
        rollout.step()


def clone_something(path):
    """Two short runs of behaviour cloning, over choices and over continuous actions."""
    from townlet_core.orchestrator import TrainingOrchestrator

    rng = np.random.default_rng(0)
    for space in (spaces.Discrete(2), spaces.Box(-1.0, 1.0, (1,), np.float32)):
        kind = type(space).__name__
        with DatasetWriter(
            path / f"data-{kind}",
            observation_spaces={"observation": spaces.Box(-1.0, 1.0, (2,), np.float32)},
            action_space=space,
        ) as writer:
            for group in range(4):
                taken = rng.integers(0, 2, 20) if kind == "Discrete" else rng.random((20, 1), np.float32)
                steps = {"observation": rng.random((20, 2), np.float32), "actions": taken}
                steps["rewards"] = np.ones(20, np.float32)
                writer.add(Trajectory(steps=steps, ending="terminated", group=group))
        sets = ["tracking.progress=off", "strategies.bc.num_epochs=2", "strategies.bc.batch_size=8"]
        options = {"training.runs_dir": path / kind, "training.strategy": "bc"}
        options |= {"strategies.bc.dataset": path / f"data-{kind}", "strategies.bc.value_coef": 0.5}
        TrainingOrchestrator(load_config(None, sets=sets, options=options).config).run()


def learn_from_recordings(dataset, path):
    """A short run of PPO on what another run has captured."""
    from townlet_core.orchestrator import TrainingOrchestrator

    options = {"training.runs_dir": path, "strategies.ppo.dataset": dataset, "strategies.ppo.data_mode": "replay"}
    options["strategies.ppo.total_steps"] = 8
    TrainingOrchestrator(load_config(None, sets=SHORT, options=options).config).run()


def anneal_something(path):
    """Three short schedules: with every rule, with the flags of the earlier format, with a guardrail in the town."""
    rules = {"min_gain": 1e9, "entropy_floor": -1e6, "kl_cap": 1e6, "hold_repeats": 1}
    schedule = [{**CLONE, "options": {"value_coef": 0.1}}, ppo(1, 1, 0.5)]
    dataset = balanced_poles(path / "poles")
    anneal(path / "rules", schedule, dataset=dataset, **rules)
    flags = {"promotion.guardrails": "legacy", "entropy_floor": 1e6, "retries": 1}
    anneal(path / "flags", schedule, dataset=dataset, **flags)
    town = {"environment.name": "town", "environment.max_episode_steps": 10}
    anneal(path / "town", [ppo(0, 1)], guardrails=[{"metric": "faint_events", "confirm": False}], **town)


def compare_for_a_promotion(run):
    """A verdict on a run, from a few episodes beside chance."""
    from townlet_core.orchestrator.promotion import champion_comparison

    service = PromotionService.from_config(load_config(None, sets=["promotion.episodes=2"]).config)
    service = replace(service, releases_dir=run.parent / "releases")
    evidence, _ = champion_comparison(service, run, registry=Registry.discover({}))
    assert service.record_verdict(run, evidence.verdict, by="test", evidence=evidence).done


@pytest.mark.timeout(240)
def test_real_runs_read_every_field(monkeypatch, tmp_path):
    pytest.importorskip("torch", reason="PPO trains with torch")
    from townlet_core.orchestrator import TrainingOrchestrator
    from townlet_strategies_anneal.settings import AnnealSettings, Guardrail, ScheduleEntry
    from townlet_strategies_bc.settings import BCSettings
    from townlet_strategies_ppo.settings import PPOSettings

    reads = Reads().watch(monkeypatch)
    for name, sets in RUNS.items():
        options = {"training.runs_dir": tmp_path / name, "strategies.ppo.total_steps": 128}
        config = load_config(None, sets=[*SHORT, *sets], options=options).config
        TrainingOrchestrator(config).run()
    clone_something(tmp_path)
    (capture,) = (tmp_path / "continuous").glob("*/capture")
    learn_from_recordings(capture, tmp_path / "replay")
    anneal_something(tmp_path / "anneal")
    (run,) = (tmp_path / "sync").iterdir()
    compare_for_a_promotion(run)
    live_a_scripted_day()
    models = (SimulationConfig, BCSettings, PPOSettings, AnnealSettings, ScheduleEntry, Guardrail)
    assert reads.unread(*models) == []
