"""A policy that can do something is taken over: the critic first, then slowly, and not far from where it was."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from datasets import write_dataset
from gymnasium import spaces
from rollouts import make_case
from test_beginning import StopAfter, context
from training import Records

from townlet_core.errors import ConfigError, DatasetError, RunInterrupted, RunWarning
from townlet_core.policy.artefact import PolicyArtefact, load_artefact
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.replay.dataset import Dataset
from townlet_core.replay.trajectory import Trajectory
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_ppo import demonstrations
from townlet_strategies_ppo.demonstrations import Demonstrations
from townlet_strategies_ppo.strategy import PPOStrategy

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.context import TrainingContext

UNNAMED = {"action_names": (), "feature_names": {}, "event_kinds": ()}
SHARED = {"hidden": (8,), "shared_hidden": (16,), "normalize_observations": True}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> PolicyArtefact:
    """A policy that was trained a little."""
    made = context(tmp_path_factory.mktemp("begun") / "run", updates=6, **SHARED)
    PPOStrategy().run(made)
    assert made.run is not None
    return load_artefact(made.run.policy_dir)


def go(path: Path, initial: PolicyArtefact | None, **settings: Any) -> tuple[Records, PolicyArtefact]:
    made = replace(context(path, **SHARED | settings), initial_policy=initial)
    PPOStrategy().run(made)
    assert made.run is not None
    assert isinstance(made.trackers, Records)
    return made.trackers, load_artefact(made.run.policy_dir)


def differing(before: PolicyArtefact, after: PolicyArtefact) -> set[str]:
    return {name.partition(".")[0] for name, array in before.weights.items() if (array != after.weights[name]).any()}


def test_the_critic_learns_alone_at_first_and_nothing_else_moves(tmp_path, begun) -> None:
    settings = {"critic_warmup_updates": 3, "critic_warmup_variance": 1.0, "actor_ramp_updates": 2}
    with pytest.warns(RunWarning, match="the critic learned alone in all 3 updates, and the policy is what"):
        records, after = go(tmp_path / "warm", begun, updates=3, **settings)
    assert [record["actor_share"] for record in records] == [0.0, 0.0, 0.0]
    assert differing(begun, after) == {"critic"}
    for name, moments in begun.normalizer.items():
        assert (moments.count, moments.mean.tolist()) == (
            after.normalizer[name].count,
            after.normalizer[name].mean.tolist(),
        )
    assert {record["kl_k3"] for record in records} == {0.0}
    rates = [record["lr"] for record in records]
    with pytest.warns(RunWarning, match="the critic learned alone"):
        _, faster = go(tmp_path / "faster", begun, updates=3, critic_warmup_rate=20.0, **settings)
    start = begun.weights["critic.0.weight"]
    moves = [np.abs(policy.weights["critic.0.weight"] - start).max() for policy in (after, faster)]
    assert 1.2 * moves[0] < moves[1]
    assert rates[0] == 0.1  # ten times the learning rate
    records, after = go(tmp_path / "on", begun, updates=7, **settings)
    shares = [record["actor_share"] for record in records]
    assert shares == [0.0, 0.0, 0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0, 1.0]
    assert differing(begun, after) == {"critic", "actor", "shared"}


def test_the_critic_has_learned_enough_when_it_explains_two_rollouts_in_a_row(tmp_path, begun) -> None:
    records, _ = go(tmp_path / "a", begun, updates=4, critic_warmup_updates=50, critic_warmup_variance=-1e9)
    assert [record["actor_share"] for record in records] == [0.0, 0.0, 1.0, 1.0]


def test_a_small_share_is_a_small_step_of_all_but_the_critic(tmp_path, begun) -> None:
    fields = {"updates": 1, "num_minibatches": 1, "max_grad_norm": None}
    _, whole = go(tmp_path / "whole", begun, **fields)
    _, tenth = go(tmp_path / "tenth", begun, actor_ramp_updates=9, **fields)
    for name, start in begun.weights.items():
        share = 1.0 if name.startswith("critic") else 0.1
        np.testing.assert_allclose(tenth.weights[name] - start, share * (whole.weights[name] - start), atol=3e-7)


def test_a_divergence_holds_the_policy_near_the_one_that_it_began_from(tmp_path, begun) -> None:
    fields = {"updates": 8, "num_epochs": 6, "protection_schedule": "constant"}
    near, _ = go(tmp_path / "near", begun, reference_kl_coef=20.0, **fields)
    free, _ = go(tmp_path / "free", begun, reference_kl_coef=1e-9, **fields)
    assert near[0]["reference_kl"] < near[-1]["reference_kl"] < 0.1 * free[-1]["reference_kl"]
    plain, _ = go(tmp_path / "plain", begun, **fields)
    assert {record["reference_kl"] for record in plain} == {None}


def test_a_divergence_needs_a_policy_to_stay_near(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"reference_kl_coef is 0\.5, and there is no policy to stay near: .*--from"):
        go(tmp_path, None, reference_kl_coef=0.5)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of CartPole in which the pole is pushed to where it falls."""
    path = tmp_path_factory.mktemp("shown") / "data"
    rng = np.random.default_rng(0)
    episodes = []
    for group in range(20):
        seen = rng.uniform(-1, 1, (20, 4)).astype(np.float32)
        ends = np.arange(20) == 19
        steps = {"observation": seen, "actions": (seen[:, 2] > 0).astype(np.int64), "rewards": np.ones(20, np.float32)}
        steps |= {"terminations": ends, "truncations": np.zeros(20, np.bool_)}
        episodes.append(Trajectory(steps=steps, ending="terminated", group=group))
    limits = np.array([4.8, np.inf, 0.41887903, np.inf], np.float32)
    observed = {"observation": spaces.Box(-limits, limits, (4,), np.float32)}
    write_dataset(path, episodes, observation_spaces=observed, action_space=spaces.Discrete(2), **UNNAMED)
    return path


def test_demonstrations_stay_likely(tmp_path, begun, shown) -> None:
    fields = {"updates": 12, "num_epochs": 4, "dataset": shown, "demonstration_rows": 64}
    fields |= {"protection_schedule": "constant"}
    taught, _ = go(tmp_path / "taught", begun, demonstration_coef=5.0, **fields)
    losses = [record["demonstration_loss"] for record in taught]
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ConfigError, match=r"demonstration_coef is 5, and strategies\.ppo\.dataset is not set"):
        go(tmp_path / "none", begun, demonstration_coef=5.0)
    elsewhere = context(tmp_path / "other", name="gymnasium:Acrobot-v1", **{**fields, "demonstration_coef": 1.0})
    with pytest.raises(DatasetError, match="demonstration_coef: the policy"):
        PPOStrategy().run(elsewhere)


def test_demonstrations_that_are_not_finite_are_told_of_by_name(tmp_path, begun) -> None:
    seen = np.zeros((300, 4), np.float32)
    seen[7, 2] = np.nan
    steps = {"observation": seen, "actions": np.zeros(300, np.int64), "rewards": np.ones(300, np.float32)}
    steps |= {"terminations": np.arange(300) == 299, "truncations": np.zeros(300, np.bool_)}
    limits = np.array([4.8, np.inf, 0.41887903, np.inf], np.float32)
    observed = {"observation": spaces.Box(-limits, limits, (4,), np.float32)}
    episodes = [Trajectory(steps=steps, ending="terminated")]
    path = tmp_path / "data"
    write_dataset(path, episodes, observation_spaces=observed, action_space=spaces.Discrete(2), **UNNAMED)
    with pytest.raises(DatasetError, match="data: 'observation' is not finite; 'townlet replay validate' says where"):
        go(tmp_path / "run", begun, dataset=path, demonstration_coef=1.0, num_minibatches=4)


def test_both_forms_have_one_gradient_of_demonstrations(shown, monkeypatch) -> None:
    case = make_case(spaces.Discrete(2)).in_float32()
    spec = case.spec.model_copy(update={"observation_spaces": {"observation": spaces.Box(-9.0, 9.0, (4,), np.float32)}})
    encoder = built_in_encoder("flatten")
    flat = layout(spec, encoder).flatten(initial_weights(spec, encoder, seed=0))
    flat += np.random.default_rng(0).normal(size=flat.shape).astype(np.float32) * 0.3
    network = TorchNetwork(spec, encoder, flat, device=torch.device("cpu"))
    found = []
    for is_closed_form in (True, False):
        monkeypatch.setattr(demonstrations, "is_closed_form", lambda network, is_it=is_closed_form: is_it)
        made = Demonstrations(Dataset(shown), network, {}, batch_size=64, seed=3)
        found.append([(np.asarray(gradient).copy(), loss) for gradient, loss in map(made, (0, 1, 5, 6, 7))])
    for (ours, our_loss), (theirs, their_loss) in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert our_loss == pytest.approx(their_loss, abs=1e-6)
        assert np.abs(ours).max() > 1e-3
    assert len({loss for _, loss in found[0]}) == 5


ALL = {
    "critic_warmup_updates": 3,
    "critic_warmup_variance": 1.0,
    "actor_ramp_updates": 2,
    "reference_kl_coef": 0.3,
    "demonstration_coef": 0.1,
    "demonstration_rows": 96,
}


def outcome(made: TrainingContext) -> list[Any]:
    assert isinstance(made.trackers, Records)
    return [(record["policy_digest"], record["reference_kl"], record["demonstration_loss"]) for record in made.trackers]


@pytest.mark.parametrize("after", [1, 2, 3, 4, 6])
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(tmp_path, begun, shown, after) -> None:
    settings = {**SHARED, **ALL, "dataset": shown, "updates": 7}
    whole = replace(context(tmp_path / "whole", **settings), initial_policy=begun)
    PPOStrategy().run(whole)
    made = replace(context(tmp_path / "run", **settings), initial_policy=begun)
    assert isinstance(made.trackers, Records)
    with pytest.raises(RunInterrupted):
        PPOStrategy().run(replace(made, stop=StopAfter(made.trackers, after)))
    PPOStrategy().run(replace(made, resume=True, initial_policy=None))
    assert outcome(made) == outcome(whole)


def test_a_stage_that_goes_on_warms_its_critic_and_moves_nothing_else(tmp_path, begun) -> None:
    earlier = replace(context(tmp_path / "earlier", updates=3, **SHARED), initial_policy=begun)
    PPOStrategy().run(earlier)
    assert earlier.run is not None
    before, newest = load_artefact(earlier.run.policy_dir), earlier.run.checkpoints().load_newest()
    assert newest is not None
    later = context(tmp_path / "later", updates=5, critic_warmup_updates=9, critic_warmup_variance=1.0, **SHARED)
    PPOStrategy().run(replace(later, continuation=newest.files))
    assert later.run is not None
    assert differing(before, load_artefact(later.run.policy_dir)) == {"critic"}
