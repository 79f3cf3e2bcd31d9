"""A1, the collapse probe: a clone whose critic knows nothing, and shares its layers, is lost without protection."""

import json

import pytest

from townlet_core import TrainingOrchestrator
from townlet_core.cli.main import main
from townlet_core.config.load import load_config

CARTPOLE = {
    "environment.name": "gymnasium:CartPole-v1",
    "environment.num_worlds": 8,
    "training.device": "cpu",
    "tracking.progress": "off",
}
SHARED = {"shared_hidden": [64, 64], "hidden": []}
UNPROTECTED = {
    **SHARED,
    "num_updates": 12,
    "num_steps": 256,
    "num_epochs": 10,
    "gamma": 0.99,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
}
# With a cap of 10 updates the critic knows too little: the actor, once it learns, is lost all the same, only later.
PROTECTED = {
    **UNPROTECTED,
    "critic_warmup_updates": 30,
    "actor_ramp_updates": 10,
    "reference_kl_coef": 0.5,
    "protection_schedule": "constant",
    "num_updates": 30 + UNPROTECTED["num_updates"],
}


def train(run, strategy, settings, *, begin=None, **options):
    config = load_config(
        None,
        options={
            **CARTPOLE,
            "training.strategy": strategy,
            "training.runs_dir": run.parent,
            f"strategies.{strategy}": settings,
            **options,
        },
    ).config
    return TrainingOrchestrator(config, run_dir=run, initial_policy=begin).run()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The clone of a policy that balances the pole to the end: (its run, its return)."""
    home = tmp_path_factory.mktemp("clone")
    train(home / "expert", "ppo", {"total_steps": 40_000})
    dataset = home / "demonstrations"
    captured = ["capture", "--policy", str(home / "expert"), "--episodes", "40", "--out", str(dataset)]
    assert main(captured) == 0
    result = train(home / "run", "bc", {**SHARED, "dataset": dataset, "num_epochs": 10})
    return home / "run", result.rollout_return_mean


def returns(run):
    """Return the mean return of the policy after each update."""
    lines = (json.loads(line) for line in (run / "telemetry.jsonl").read_text().splitlines())
    return [line["evaluation_return_mean"] for line in lines]


def handed_over(tmp_path, clone, settings):
    evaluated = {"training.evaluate_every": 1, "training.evaluate_episodes": 8}
    train(tmp_path / "run", "ppo", settings, begin=clone, **evaluated)
    return returns(tmp_path / "run")


def test_a1_a_clone_that_is_not_protected_is_lost(tmp_path, clone):
    run, cloned = clone
    assert cloned > 475
    assert min(handed_over(tmp_path, run, UNPROTECTED)) < 0.5 * cloned


def test_a1_a_clone_that_is_protected_stays(tmp_path, clone):
    run, cloned = clone
    assert min(handed_over(tmp_path, run, PROTECTED)) > 0.95 * cloned
