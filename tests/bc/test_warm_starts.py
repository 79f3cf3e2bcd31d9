"""What one strategy trained, the other goes on with; and runs through the orchestrator and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bc_data import demonstrations
from bc_runs import clone, context_for
from gymnasium import spaces

from townlet_core import TrainingOrchestrator
from townlet_core.config.load import load_config
from townlet_core.errors import ArtefactError, ConfigError, MissingInputError
from townlet_core.policy.artefact import load_artefact
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.writer import DatasetWriter
from townlet_strategies_bc.strategy import BCStrategy

if TYPE_CHECKING:
    from pathlib import Path

CARTPOLE = "environment.name=gymnasium:CartPole-v1"
SHORT = ["strategies.bc.num_epochs=2", "strategies.bc.evaluate_episodes=0", "tracking.progress=off"]
NO_LEARNING = ["strategies.ppo.total_steps=64", "strategies.ppo.num_steps=8", "strategies.ppo.learning_rate=1e-30"]


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """A dataset of CartPole's spaces."""
    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.build import make_environment

    environment = make_environment(EnvironmentConfig.model_validate({"name": "gymnasium:CartPole-v1"}))
    path, rng = tmp_path_factory.mktemp("cartpole") / "d", np.random.default_rng(0)
    with DatasetWriter(
        path, observation_spaces=environment.observation_spaces, action_space=environment.action_space
    ) as writer:
        for group in range(10):
            seen = rng.normal(0, 0.1, (100, 4)).astype(np.float32)
            steps = {
                "observation": seen,
                "actions": (seen[:, 2] + 0.3 * seen[:, 3] > 0).astype(np.int64),
                "rewards": np.ones(100, np.float32),
                "terminations": np.zeros(100, bool),
                "truncations": np.arange(100) == 99,
            }
            writer.add(Trajectory(steps=steps, ending="truncated", group=group))
    environment.close()
    return path


def run(path: Path, *sets: str, strategy: str = "bc", initial: Path | None = None, **options: Any):
    config = load_config(None, sets=[CARTPOLE, *SHORT, *sets]).config
    orchestrator = TrainingOrchestrator(config, run_dir=path, initial_policy=initial)
    result = orchestrator.run(strategy, **options)
    return result, load_artefact(path / "policy")


def test_ppo_begins_with_the_cloned_weights(tmp_path, cartpole):
    _, cloned = run(tmp_path / "bc", f"strategies.bc.dataset={cartpole}")
    result, trained = run(tmp_path / "ppo", *NO_LEARNING, strategy="ppo", initial=tmp_path / "bc")
    assert result.strategy == "ppo"
    for name, weight in cloned.weights.items():
        np.testing.assert_allclose(trained.weights[name], weight, atol=1e-20)


def test_cloning_begins_with_the_weights_that_ppo_trained(tmp_path, cartpole):
    _, trained = run(tmp_path / "ppo", *NO_LEARNING, "strategies.ppo.normalize_observations=true", strategy="ppo")
    result, cloned = run(
        tmp_path / "bc",
        f"strategies.bc.dataset={cartpole}",
        "strategies.bc.learning_rate=1e-30",
        initial=tmp_path / "ppo" / "policy",
    )
    for name, weight in trained.weights.items():
        np.testing.assert_allclose(cloned.weights[name], weight, atol=1e-20)
    np.testing.assert_array_equal(cloned.normalizer["observation"].mean, trained.normalizer["observation"].mean)
    assert cloned.spec.normalize_observations
    assert (trained.document.critic_trained, cloned.document.critic_trained) == (True, False)
    assert result.loss == pytest.approx(np.log(2), abs=0.1)


def test_a_run_that_began_from_a_policy_is_resumed_without_it(tmp_path, cartpole):
    from bc_runs import StopAfter, train_once

    from townlet_core.errors import RunInterrupted

    small = clone(tmp_path / "small", cartpole, hidden=(8,), activation="relu").artefact
    begun = replace(context_for(tmp_path / "run", cartpole, hidden=(64, 64)), initial_policy=small)
    with pytest.raises(RunInterrupted):
        train_once(begun, stop=StopAfter(5))
    train_once(replace(begun, initial_policy=None), resume=True)
    assert load_artefact(tmp_path / "run" / "policy").spec == small.spec


def test_a_policy_of_other_spaces_or_another_network_is_refused(tmp_path, cartpole):
    other = clone(tmp_path / "other", demonstrations(tmp_path / "d").path).artefact
    with pytest.raises(ArtefactError, match="the policy to start from does not fit the dataset"):
        BCStrategy().run(replace(context_for(None, cartpole, hidden=(64, 64)), initial_policy=other))
    own = clone(tmp_path / "own", cartpole, hidden=(8,)).artefact
    with pytest.raises(ConfigError, match=r"hidden: \(16,\) is set, and the policy has \(8,\)"):
        BCStrategy().run(replace(context_for(None, cartpole), initial_policy=own))


def test_a_later_stage_goes_on_with_weights_and_optimiser_and_counts_its_own_passes(tmp_path, cartpole):
    first = clone(tmp_path / "first", cartpole, num_epochs=3, patience=None)
    files = first.run.checkpoints().load_newest().files
    second = clone(tmp_path / "second", cartpole, num_epochs=2, learning_rate=1e-30, context={"continuation": files})
    assert second.result.num_epochs_done == 2
    assert second.result.steps == first.result.num_epochs_done * first.records[0]["updates"] + sum(
        record["updates"] for record in second.records[: second.result.epoch]
    )
    assert second.records[0]["policy_digest"] == first.records[-1]["policy_digest"]
    third = clone(
        tmp_path / "third",
        cartpole,
        num_epochs=1,
        learning_rate=1e-30,
        context={"continuation": files, "initial_policy": second_policy(tmp_path, cartpole)},
    )
    assert third.records[0]["policy_digest"] != first.records[-1]["policy_digest"]


def test_a_later_stage_may_have_another_dataset(tmp_path):
    first = clone(tmp_path / "first", demonstrations(tmp_path / "a").path, num_epochs=1)
    files = first.run.checkpoints().load_newest().files
    other = demonstrations(tmp_path / "b", seed=1)
    second = clone(tmp_path / "second", other.path, num_epochs=1, context={"continuation": files})
    assert second.result.dataset_digest == other.digest != first.result.dataset_digest


def second_policy(tmp_path, cartpole):
    return clone(tmp_path / "elsewhere", cartpole, num_epochs=1, seed=7).artefact


def test_run_bc_takes_the_demonstrations_and_settings_by_name(tmp_path, cartpole):
    config = load_config(None, sets=[CARTPOLE, *SHORT]).config
    orchestrator = TrainingOrchestrator(config, run_dir=tmp_path / "run")
    result = orchestrator.run_bc(manifest=cartpole, hidden=(8,))
    assert (result.strategy, result.manifest) == ("bc", str(cartpole))
    assert load_artefact(tmp_path / "run" / "policy").spec.actor_hidden == (8,)


def test_a_run_without_a_dataset_leaves_nothing_behind(tmp_path):
    for sets, error in ((SHORT, ConfigError), ([*SHORT, "strategies.bc.dataset=/no/where"], MissingInputError)):
        orchestrator = TrainingOrchestrator(load_config(None, sets=sets).config, run_dir=tmp_path / error.__name__)
        with pytest.raises(error):
            orchestrator.run_bc()
    assert not (tmp_path / "ConfigError").exists()


def test_the_command_clones_reports_and_resumes_nothing_twice(tmp_path, cartpole):
    def townlet(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "townlet_core", "train", *arguments],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    sets = [f"strategies.bc.dataset={cartpole}", "strategies.bc.num_epochs=3", "strategies.bc.evaluate_episodes=2"]
    options = [part for value in sets for part in ("--set", value)]
    done = townlet("--strategy", "bc", "--env", "gymnasium:CartPole-v1", "--run-dir", "run", *options)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert {"accuracy", "gate", "rollout", "policy"} <= lines.keys()
    assert "| acc " in done.stderr
    assert "samples/s" in done.stderr
    again = townlet("--resume", "--run-dir", "run", "--json")
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert result["num_epochs_done"] == 3
    assert lines["accuracy"].startswith(f"{result['accuracy']:.4f}")
    shown = subprocess.run(
        [sys.executable, "-m", "townlet_core", "evaluate", "run", "--episodes", "2", "--json"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr


# -- the earlier format -----------------------------------------------------------------------------------------------


def write_legacy(path, samples=4, steps=60):
    """Write a curated manifest of samples whose action follows from the first feature; return its path."""
    path.mkdir()
    rng = np.random.default_rng(0)
    names = ["energy", "hunger", "rivalry_max", "rivalry_avoid_count"]
    entries = []
    for number in range(samples + 1):
        features = rng.normal(size=(steps, len(names))).astype(np.float32)
        actions = (features[:, 0] > 0).astype(np.int64)
        ids = actions if number % 2 else 1 - actions  # every file numbers its actions by itself
        lookup = {'{"kind": "wait"}': int(number % 2 == 0), '{"kind": "noop"}': int(number % 2 == 1)}
        rejected = number == samples
        np.savez(
            path / f"s{number}.npz",
            map=np.zeros((steps, 1, 3, 3), np.float32),
            features=features,
            actions=1 - ids if rejected else ids,
            old_log_probs=np.zeros(steps, np.float32),
            value_preds=np.zeros(steps + 1, np.float32),
            rewards=np.ones(steps, np.float32),
            dones=np.arange(steps) == steps - 1,
        )
        (path / f"s{number}.json").write_text(json.dumps({"feature_names": names, "action_lookup": lookup}))
        entries.append({"sample": f"s{number}.npz", "meta": f"s{number}.json", "metrics": {}, "accepted": not rejected})
    manifest = path / "manifest.json"
    manifest.write_text(json.dumps(entries))
    return manifest


def test_a_manifest_of_the_earlier_format_is_imported_once_and_cloned(tmp_path):
    manifest = write_legacy(tmp_path / "legacy")
    cloned = clone(tmp_path / "run", manifest, num_epochs=30, batch_size=32, held_out_fraction=0.25)
    result = cloned.result
    assert (result.num_train_groups, result.num_held_out_groups) == (3, 1), "what was not accepted is on no side"
    assert result.accuracy > 0.9
    assert sorted(result.actions) == ['{"kind": "noop"}', '{"kind": "wait"}']
    assert result.manifest == str(manifest)
    assert (cloned.run.path / "data" / "dataset.json").is_file()
    from bc_runs import StopAfter, train_once

    from townlet_core.errors import RunInterrupted

    context = context_for(tmp_path / "again", manifest)
    with pytest.raises(RunInterrupted):
        train_once(context, stop=StopAfter(3))
    before = (context.run.path / "data" / "dataset.json").stat().st_mtime_ns
    assert train_once(context, resume=True).dataset_digest == result.dataset_digest
    assert (context.run.path / "data" / "dataset.json").stat().st_mtime_ns == before


def test_an_import_that_was_killed_is_begun_again(tmp_path):
    from bc_runs import train_once

    manifest = write_legacy(tmp_path / "legacy")
    context = context_for(tmp_path / "run", manifest, num_epochs=1)
    (context.run.path / "data").mkdir()
    (context.run.path / "data" / "shard-000000.tmp").write_bytes(b"half")
    assert train_once(context, resume=True).num_epochs_done == 1


# -- networks that have no closed form --------------------------------------------------------------------------------


class Doubling:
    """An encoder with weights of its own: one dense layer for each observation."""

    def weight_shapes(self, inputs, options):
        return {f"{name}.weight": (int(np.prod(shape)), 8) for name, shape in inputs.items()} | {"bias": (8,)}

    def num_features(self, inputs, options):
        return 8 * len(inputs)

    def encode(self, operations, weights, inputs, options):
        parts = []
        for name in sorted(inputs):
            rows = inputs[name].reshape(*inputs[name].shape[:2], -1)
            parts.append(operations.tanh(operations.linear(rows, weights[f"{name}.weight"], weights["bias"])))
        return operations.concatenate(parts)


def test_a_network_with_an_encoder_of_its_own_is_cloned_by_autograd_and_resumed_exactly(tmp_path):
    from bc_runs import StopAfter, train_once, what_is_promised

    from townlet_core.context import BuiltInResolver
    from townlet_core.errors import RunInterrupted

    class Resolver(BuiltInResolver):
        def encoder(self, name):
            return Doubling()

    rng = np.random.default_rng(0)
    observations = {
        "observation.a": spaces.Box(-9, 9, (3,), np.float32),
        "observation.b": spaces.Box(0, 255, (2, 2), np.uint8),
    }
    path = tmp_path / "d"
    with DatasetWriter(path, observation_spaces=observations, action_space=spaces.Discrete(2)) as writer:
        for group in range(6):
            pixels = rng.integers(0, 256, (80, 2, 2)).astype(np.uint8)
            steps = {
                "observation.a": rng.normal(size=(80, 3)).astype(np.float32),
                "observation.b": pixels,
                "actions": (pixels[:, 0, 0] > 127).astype(np.int64),
                "rewards": np.ones(80, np.float32),
                "terminations": np.zeros(80, bool),
                "truncations": np.arange(80) == 79,
            }
            writer.add(Trajectory(steps=steps, ending="truncated", group=group))
    promised = []
    for name, looks in (("whole", None), ("stopped", 31)):
        context = context_for(tmp_path / name, path, encoder="doubling", num_epochs=12, value_coef=0.1)
        context = replace(context, resolver=Resolver())
        if looks is not None:
            with pytest.raises(RunInterrupted):
                train_once(context, stop=StopAfter(looks))
        result = train_once(context, resume=looks is not None)
        promised.append(what_is_promised(result, context.run))
    assert result.accuracy > 0.9
    for one, other in zip(*promised, strict=True):
        assert one == other
