"""Where a run begins, and what it goes on from: settings, a policy, its own checkpoint, an earlier stage's."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
from training import Records, context_for

from townlet_core.config.base import settings_from
from townlet_core.environments import limits
from townlet_core.errors import CheckpointError, ConfigError, DataError, RunInterrupted
from townlet_core.policy.artefact import load_artefact
from townlet_core.runs.layout import RunDirectory
from townlet_core.services.capture import RolloutCaptureService
from townlet_core.tracking.jsonl import TelemetryLog
from townlet_strategies_ppo.experience import LiveExperience
from townlet_strategies_ppo.settings import PPOSettings
from townlet_strategies_ppo.strategy import PPOStrategy, _Run

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.context import TrainingContext
    from townlet_core.policy.artefact import PolicyArtefact
    from townlet_core.policy.base import PolicyStep
    from townlet_core.policy.numpy_policy import NumpyPolicy

CARTPOLE = "gymnasium:CartPole-v1"
UPDATE = 16 * 4  # agent-steps


class StopAfter:
    """Asks for a stop when a number of records were made."""

    def __init__(self, records: list[Any], count: int) -> None:
        self.records, self.count = records, count

    @property
    def requested(self) -> bool:
        return len(self.records) >= self.count


def context(path: Path | None, *, updates: int = 2, name: str = CARTPOLE, **settings: Any) -> TrainingContext:
    settings = {"num_epochs": 1, "hidden": (64, 64), "total_steps": updates * UPDATE} | settings
    return context_for(path, name=name, num_worlds=4, settings=settings)


def stopped(path: Path, *, after: int = 1, initial: PolicyArtefact | None = None, **settings: Any) -> TrainingContext:
    """Return the context in which to resume a run that was stopped."""
    made = replace(context(path, **settings), initial_policy=initial)
    assert isinstance(made.trackers, Records)
    with pytest.raises(RunInterrupted):
        PPOStrategy().run(replace(made, stop=StopAfter(made.trackers, after)))
    return replace(made, resume=True, initial_policy=None)


def run_of(made: TrainingContext) -> _Run:
    typed = settings_from(PPOSettings, made.config.strategies["ppo"], {}, path="strategies.ppo")
    environment = made.resolver.environment(made.config.environment)
    return _Run(
        made, typed, LiveExperience(environment, made.services.rollout, num_steps=typed.num_steps, seed=made.seed)
    )


@pytest.fixture(scope="module")
def small_policy(tmp_path_factory: pytest.TempPathFactory) -> PolicyArtefact:
    """A policy of a network that is not the default one."""
    made = context(
        tmp_path_factory.mktemp("small") / "run", hidden=(8,), activation="relu", normalize_observations=True
    )
    PPOStrategy().run(made)
    assert made.run is not None
    return load_artefact(made.run.policy_dir)


class Full(Records):
    """A tracker that ends the run in its first update."""

    def log(self, record):
        raise OSError("no space left")


def test_a_run_that_began_from_a_policy_is_resumed_with_its_network(tmp_path, small_policy) -> None:
    again = stopped(tmp_path / "run", initial=small_policy)
    run = run_of(again)
    assert run._begin().update == 1
    assert run.learner.network.spec == small_policy.spec
    assert PPOStrategy().run(again).num_resumes == 0
    assert load_artefact(tmp_path / "run" / "policy").spec == small_policy.spec


def test_a_run_that_ended_in_its_first_update_is_resumed_from_the_policy_that_it_began_from(
    tmp_path, small_policy
) -> None:
    begun = replace(context(tmp_path / "run"), initial_policy=small_policy, trackers=Full())
    with pytest.raises(OSError, match="no space left"):
        PPOStrategy().run(begun)
    again = replace(begun, resume=True, initial_policy=None, trackers=Records())
    run = run_of(again)
    assert run._begin().update == 0
    weights = run.learner.artefact(strategy="", environment="", config_digest="").weights
    assert all(np.array_equal(weights[name], small_policy.weights[name]) for name in weights)
    assert run.learner.normalizer["observation"].count == small_policy.normalizer["observation"].count
    assert PPOStrategy().run(again).epoch == 2


def test_the_first_checkpoint_stands_before_the_first_update(tmp_path) -> None:
    seen = []

    class Watch(Records):
        def log(self, record):
            seen.extend(made.run.checkpoints().steps())

    made = context(tmp_path / "run", updates=1)
    PPOStrategy().run(replace(made, trackers=Watch()))
    assert seen == [0]
    assert made.run.checkpoints().steps() == [0, 1]


def changed_arrays(files, change):
    arrays = safetensors.numpy.load(files["state.safetensors"])
    change(arrays)
    return files | {"state.safetensors": safetensors.numpy.save(arrays)}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda arrays: arrays.pop("second"), "'second' is missing"),
        (lambda arrays: arrays.update({"rewards.mean": np.zeros(())}), "'rewards.mean' is not part of this run"),
        (lambda arrays: arrays.update(first=arrays["first"][1:]), "'first' is float32"),
        (lambda arrays: arrays.update(first=arrays["first"].astype(np.float64)), "'first' is float64"),
    ],
)
def test_a_checkpoint_with_other_arrays_than_the_run_has_is_refused(tmp_path, change, told) -> None:
    again = stopped(tmp_path / "run")
    store = again.run.checkpoints()
    loaded = store.load_newest()
    store.save(loaded.step, changed_arrays(loaded.files, change))
    with pytest.raises(CheckpointError, match=told):
        PPOStrategy().run(again)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda spec: b"{", "no readable spec.json"),
        (lambda spec: spec.replace(b'"n": 2', b'"n": 3').replace(b'"n":2', b'"n":3'), "does not fit the environment"),
    ],
)
def test_a_checkpoint_of_a_network_that_cannot_be_read_or_does_not_fit_is_refused(tmp_path, change, told) -> None:
    again = stopped(tmp_path / "run")
    store = again.run.checkpoints()
    loaded = store.load_newest()
    assert change(loaded.files["spec.json"]) != loaded.files["spec.json"]
    store.save(loaded.step, loaded.files | {"spec.json": change(loaded.files["spec.json"])})
    with pytest.raises(DataError, match=told):
        PPOStrategy().run(again)


def test_resuming_a_run_without_a_checkpoint_begins_its_telemetry_anew(tmp_path) -> None:
    path = tmp_path / "run"
    RunDirectory.create(path)
    with TelemetryLog(path / "telemetry.jsonl") as telemetry:
        for epoch in (1, 2, 3):
            telemetry.log({"epoch": epoch})
        made = replace(context(None), run=RunDirectory(path), telemetry=telemetry, trackers=telemetry, resume=True)
        PPOStrategy().run(made)
    assert [json.loads(line)["epoch"] for line in (path / "telemetry.jsonl").read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"hidden": (16,)}, r"hidden: \(16,\) is set, and the policy has \(8,\)"),
        ({"shared_hidden": (4,)}, r"shared_hidden: \(4,\) is set, and the policy has \(\)"),
        ({"encoder": "mine"}, "encoder: 'mine' is set, and the policy has 'flatten'"),
        ({"encoder_options": {"a": 1}}, "encoder_options: {'a': 1} is set, and the policy has {}"),
        ({"initial_log_std": 1.0}, "initial_log_std: 1.0 is set, and the policy has 'its own'"),
    ],
)
def test_a_setting_that_asks_for_another_network_than_the_policy_has_is_an_error(small_policy, settings, told) -> None:
    with pytest.raises(ConfigError, match=told):
        PPOStrategy().run(replace(context(None, **settings), initial_policy=small_policy))


def test_settings_that_differ_in_several_ways_are_listed_at_once(tmp_path, small_policy) -> None:
    plain = context(tmp_path / "run")
    PPOStrategy().run(plain)
    policy = load_artefact(plain.run.policy_dir)
    wrong = context(None, activation="relu", normalize_observations=True, hidden=(8,))
    with pytest.raises(ConfigError) as error:
        PPOStrategy().run(replace(wrong, initial_policy=policy))
    assert [line.split(":")[0].strip() for line in str(error.value).splitlines()[1:]] == [
        "hidden",
        "activation",
        "normalize_observations",
    ]
    right = context(None, activation="relu", normalize_observations=True, hidden=(8,))
    PPOStrategy().run(replace(right, initial_policy=small_policy))


def test_a_continuation_keeps_weights_optimiser_normalisers_and_counters(tmp_path) -> None:
    settings = {"normalize_observations": True, "normalize_rewards": True, "hidden": (8,)}
    first = context(tmp_path / "first", **settings)
    PPOStrategy().run(first)
    files = first.run.checkpoints().load_newest().files
    run = run_of(replace(context(None, updates=3, **settings), continuation=files))
    state = run._begin()
    kept = run.learner.checkpoint()
    assert kept["state.safetensors"] == files["state.safetensors"]
    assert (state.update, state.agent_steps, state.num_resumes) == (2, 2 * UPDATE, 0)
    result = PPOStrategy().run(replace(context(tmp_path / "second", updates=3, **settings), continuation=files))
    assert (result.epoch, result.agent_steps, result.num_resumes) == (3, 3 * UPDATE, 0)
    assert RunDirectory(tmp_path / "second").checkpoints().steps() == [2, 3]
    with pytest.raises(ConfigError, match="total_steps is 128, and the checkpoint of the earlier stage has made 128"):
        PPOStrategy().run(replace(context(None, **settings), continuation=files))


def test_a_continuation_takes_the_weights_of_a_policy_that_is_given_too(tmp_path, small_policy) -> None:
    same = {"hidden": (8,), "activation": "relu", "normalize_observations": True}
    first = context(tmp_path / "first", **same, learning_rate=1e-4)
    PPOStrategy().run(first)
    files = first.run.checkpoints().load_newest().files
    both = replace(context(None, updates=3, **same), continuation=files, initial_policy=small_policy)
    run = run_of(both)
    run._begin()
    assert run.learner.optimizer.num_steps == 4
    assert run.learner.normalizer["observation"].mean == pytest.approx(small_policy.normalizer["observation"].mean)
    weights = run.learner.artefact(strategy="", environment="", config_digest="").weights
    assert all(np.array_equal(weights[name], small_policy.weights[name]) for name in weights)
    other = context(tmp_path / "other")
    PPOStrategy().run(other)
    with pytest.raises(ConfigError, match="have different networks"):
        run_of(replace(both, continuation=other.run.checkpoints().load_newest().files))


THREADS = """
import sys
import torch
from townlet_core import TrainingOrchestrator
from townlet_core.config.load import load_config

torch.set_num_threads(3)
sets = ["environment.name=gymnasium:CartPole-v1", "strategies.ppo.total_steps=64", "strategies.ppo.num_steps=8"]
config = load_config(None, sets=[*sets, "training.device=cpu", f"training.runs_dir={sys.argv[1]}"]).config
print(TrainingOrchestrator(config).run().device, torch.get_num_threads())
"""


def test_torch_has_as_many_threads_after_a_run_as_before(tmp_path) -> None:
    command = [sys.executable, "-c", THREADS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "3"]


class Counting:
    """Acts as a policy does, and counts how often it was asked."""

    def __init__(self, policy: NumpyPolicy) -> None:
        self.noise_size, self.values, self.policy, self.asked = policy.noise_size, policy.values, policy, 0

    def act(self, *given: Any) -> PolicyStep:
        self.asked += 1
        return self.policy.act(*given)


class CountingRollouts(RolloutCaptureService):
    def start(self, environment, policy, **named):
        rollout = super().start(environment, policy, **named)
        rollout.policy = Counting(policy)
        return rollout


def test_a_rollout_service_that_puts_somebody_before_the_policy_is_left_to_it(tmp_path) -> None:
    made = context(tmp_path / "run")
    run = run_of(replace(made, services=replace(made.services, rollout=CountingRollouts())))
    result = run.train()
    assert isinstance(run.experience, LiveExperience)
    assert run.experience._rollout is not None
    assert run.experience._rollout.policy.asked == 2 * 16
    assert result.policy_digest == PPOStrategy().run(context(tmp_path / "plain")).policy_digest


def test_what_is_kept_of_each_decision_has_to_fit_into_memory_too(monkeypatch) -> None:
    run = run_of(context(None))
    run._begin()
    run._start()
    buffer = run.experience.buffer
    arrays = [*buffer.observations.values(), buffer.actions, buffer.agent_mask, buffer.terminations, buffer.truncations]
    arrays += [buffer.log_probs, buffer.values, buffer.bootstrap_values, buffer.rewards]
    kept = buffer.rewards.size * 2 * 4  # CartPole has two actions
    needed = sum(array.nbytes for array in arrays) + kept
    monkeypatch.setattr(limits, "available_memory", lambda: needed)
    run._start()
    monkeypatch.setattr(limits, "available_memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match="lower num_steps"):
        run._start()
