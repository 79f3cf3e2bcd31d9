"""A script acts in the policy's place in a share of the steps: who acted, what is recorded, and who learns from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gymnasium import spaces
from rollouts import Case, epoch_keys, make_case
from town_runs import capture, go, outcome, stop, town_context
from training import Records, context_for, train

from townlet_core.context import BuiltInResolver, PPOState
from townlet_core.errors import ConfigError
from townlet_core.orchestrator.training_capture import captured_services
from townlet_core.policy.artefact import load_artefact
from townlet_core.policy.base import BlendRows
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.heads import masked_log_softmax, pick
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.weights import initial_weights
from townlet_core.replay.dataset import Dataset
from townlet_core.services.evaluation import EvaluationService, episode_seeds
from townlet_strategies_ppo import demonstrations
from townlet_strategies_ppo.autograd import AutogradGradient
from townlet_strategies_ppo.closed_form import ClosedFormGradient
from townlet_strategies_ppo.demonstrations import ScriptedRows
from townlet_strategies_ppo.loss import LossCoefficients
from townlet_strategies_ppo.strategy import PPOStrategy
from townlet_strategies_ppo.update import METRICS

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.config.environment import EnvironmentConfig
    from townlet_core.environments.vector import VectorEnvironment

CARTPOLE = "gymnasium:CartPole-v1"
QUICK = {"total_steps": 16 * 8 * 3, "num_epochs": 2, "hidden": (8,), "num_minibatches": 2}


def blended_case(name: str = "masked", **fields: Any) -> tuple[Case, np.ndarray]:
    """Return a rollout in part of which a script acted, and where that was."""
    space: spaces.Space[Any] = spaces.MultiDiscrete([3, 2]) if name == "two choices" else spaces.Discrete(4)
    case = make_case(space, masked=name == "masked", **fields)
    scripted = np.random.default_rng(5).random(case.buffer.rewards.shape) < 0.4
    case.buffer.blend = BlendRows(scripted, case.buffer.log_probs.copy())
    case.buffer.log_probs = case.buffer.log_probs - 0.7  # of the blend: nobody who learns reads it
    case.reference = (np.random.default_rng(6).normal(size=(*scripted.shape, case.spec.head.num_outputs)), None)
    return case, scripted


def differentiated(case: Case, path: Any, **fields: Any) -> tuple[np.ndarray, dict[str, float]]:
    """Return the gradient of the whole rollout, and what is reported of it."""
    network, batch = case.network(), case.batch(worlds_per_shard=2)
    coefficients = LossCoefficients(**{
        "clip_range": 0.2, "value_clip_range": 0.1, "entropy_coef": 0.03, "value_coef": 0.6, "reference_kl_coef": 0.2,
        **fields,
    })  # fmt: skip
    (minibatch,) = batch.minibatches(epoch_keys(1, 1, 2)[0], 1)
    gradient, reported = path(network)(batch, minibatch, coefficients)
    return np.asarray(gradient).copy(), dict(zip(METRICS, map(float, reported), strict=False))


@pytest.mark.parametrize("path", [ClosedFormGradient, AutogradGradient])
@pytest.mark.parametrize("name", ["plain", "masked", "two choices"])
def test_to_the_actor_rows_of_the_script_are_absent_and_to_the_critic_they_are_rows_like_others(path, name) -> None:
    case, scripted = blended_case(name)
    critic = case.network().layout.part("critic")
    is_critic = np.zeros(case.start.size, bool)
    is_critic[critic] = True
    found, reported = differentiated(case, path)
    case.buffer.log_probs, case.buffer.blend = case.buffer.blend.learner_log_probs, None
    everyone, whole = differentiated(case, path)
    np.testing.assert_allclose(found[is_critic], everyone[is_critic], atol=1e-14)
    case.buffer.agent_mask &= ~scripted
    without, less = differentiated(case, path)
    np.testing.assert_allclose(found[~is_critic], without[~is_critic], atol=1e-14)
    assert np.abs(without - everyone)[~is_critic].max() > 1e-3
    assert np.abs(without - everyone)[is_critic].max() > 1e-3
    for metric in ("policy", "entropy", "clip_fraction", "kl", "kl_k3", "reference_kl", "advantage_std", "count"):
        assert reported[metric] == pytest.approx(less[metric], abs=1e-14), metric
    assert reported["value"] == pytest.approx(whole["value"], abs=1e-14)
    total = reported["policy"] + 0.6 * reported["value"] - 0.03 * reported["entropy"] + 0.2 * reported["reference_kl"]
    assert reported["total"] == pytest.approx(total, abs=1e-14)


@pytest.mark.parametrize("path", [ClosedFormGradient, AutogradGradient])
def test_nothing_of_what_the_script_did_reaches_the_actor(path) -> None:
    case, scripted = blended_case("plain")
    before, _ = differentiated(case, path)
    case.buffer.actions[scripted] = 3 - case.buffer.actions[scripted]
    case.buffer.blend.learner_log_probs[scripted] -= 2.0
    after, _ = differentiated(case, path)
    np.testing.assert_array_equal(before, after)
    case.advantages[scripted] += 5.0
    is_critic = np.zeros(case.start.size, bool)
    is_critic[case.network().layout.part("critic")] = True
    after, _ = differentiated(case, path)
    np.testing.assert_allclose(before[~is_critic], after[~is_critic], atol=1e-15)
    assert np.abs(before - after)[is_critic].max() > 1e-2


def test_a_blend_of_nothing_learns_what_the_policy_alone_does_to_the_bit() -> None:
    case, scripted = blended_case("masked")
    case.buffer.blend.is_scripted[:] = False
    blended = differentiated(case, ClosedFormGradient)
    case.buffer.log_probs, case.buffer.blend = case.buffer.blend.learner_log_probs, None
    alone = differentiated(case, ClosedFormGradient)
    np.testing.assert_array_equal(blended[0], alone[0])
    assert scripted.sum() == 0
    assert blended[1] == pytest.approx(alone[1], abs=1e-14)


def records_of(path: Path, *, name: str = CARTPOLE, **fields: Any) -> Records:
    settings = QUICK | {"blend_share": 0.5, "blend_policy": "random"} | fields.pop("settings", {})
    return train(path, name=name, settings=settings, **fields).records


def test_the_share_falls_to_next_to_nothing_and_is_told(tmp_path) -> None:
    settings = {"total_steps": 16 * 8 * 8, "blend_share": 1.0}
    falling = [record["scripted_share"] for record in records_of(tmp_path / "a", settings=settings)]
    np.testing.assert_allclose(falling, 1 - np.arange(8) / 8, atol=0.12)
    assert falling[0] == 1.0
    constant = records_of(tmp_path / "b", settings={**settings, "blend_schedule": "constant"})
    assert {record["scripted_share"] for record in constant} == {1.0}
    plain = records_of(tmp_path / "c", settings={"blend_share": 0.0})
    assert {record["scripted_share"] for record in plain} == {None}


def test_where_the_script_always_acts_the_critic_alone_learns(tmp_path) -> None:
    made = context_for(
        tmp_path / "run",
        name=CARTPOLE,
        settings=QUICK | {"blend_share": 1.0, "blend_schedule": "constant", "blend_policy": "idle"},
    )
    PPOStrategy().run(made)
    assert made.run is not None
    after = load_artefact(made.run.policy_dir)
    begun = initial_weights(after.spec, built_in_encoder("flatten"), seed=made.seed)
    moved = {name.partition(".")[0] for name, array in after.weights.items() if (array != begun[name]).any()}
    assert moved == {"critic"}
    assert isinstance(made.trackers, Records)
    assert {record["kl_k3"] for record in made.trackers} == {0.0}


def test_an_evaluation_is_of_the_policy_alone(tmp_path) -> None:
    training = {"evaluate_every": 1, "evaluate_episodes": 4}
    settings = {"blend_share": 1.0, "blend_schedule": "constant", "blend_policy": "idle"}
    made = train(tmp_path, name=CARTPOLE, settings=QUICK | settings, training=training)
    context = context_for(None, name=CARTPOLE)
    environment = context.resolver.environment(context.config.environment, num_worlds=4)
    seeds = episode_seeds(1, 4, purpose="selection")
    alone = EvaluationService().evaluate(made.artefact.policy(), environment, seeds, deterministic=False)
    assert made.records[-1]["evaluation_return_mean"] == alone.return_mean > 10
    environment.close()


def test_any_number_of_workers_gives_the_same_bytes(tmp_path) -> None:
    digests = set()
    for number, workers in enumerate(({}, *({"vectorization": "workers", "num_workers": count} for count in (1, 2)))):
        records = records_of(tmp_path / str(number), worlds_per_shard=2, **workers)
        digests.add((records[-1]["policy_digest"], *(record["scripted_share"] for record in records)))
    assert len(digests) == 1


TOWN: dict[str, Any] = {"blend_share": 0.6, "demonstration_coef": 0.5, "demonstration_rows": 16}


def test_a_run_that_is_stopped_after_every_update_ends_with_the_bytes_of_the_uninterrupted_one(tmp_path) -> None:
    whole = outcome(tmp_path / "whole", go(tmp_path / "whole", **TOWN))
    shares = [record["scripted_share"] for record in whole["telemetry"]]
    assert shares[0] > 0.4
    assert shares[-1] < 0.3
    path = tmp_path / "run"
    stop(path, 1, **TOWN)
    for after in range(2, len(shares)):
        stop(path, after, resume=True, **TOWN)
    assert outcome(path, go(path, resume=True, **TOWN)) == whole


def test_what_the_script_did_becomes_likely(tmp_path) -> None:
    fixed = {"blend_share": 0.5, "blend_schedule": "constant", "protection_schedule": "constant"}
    fixed |= {"total_steps": 16 * 8 * 12}
    taught = records_of(tmp_path / "taught", settings={**fixed, "blend_policy": "idle", "demonstration_coef": 3.0})
    losses = [record["demonstration_loss"] for record in taught]
    assert losses[-1] < 0.3 * losses[0]
    plain = records_of(tmp_path / "plain", settings={**fixed, "blend_policy": "idle"})
    assert {record["demonstration_loss"] for record in plain} == {None}


class WithScript(BuiltInResolver):
    """Environments of a pole that come with a script which balances it."""

    def environment(self, config: EnvironmentConfig, *, num_worlds: int | None = None) -> VectorEnvironment:
        made = super().environment(config, num_worlds=num_worlds)
        made.experts = {  # type: ignore[attr-defined]  # any environment may have some
            "scripted": lambda seen, _: (seen["observation"] @ np.float32([0, 0, 1, 0.3]) > 0).astype(np.int64)
        }
        return made


def test_a_policy_that_is_shown_how_is_better_sooner(tmp_path) -> None:
    returns = []
    shown = {"blend_share": 0.3, "blend_schedule": "constant", "demonstration_coef": 0.5}
    for fields in ({}, shown):
        made = context_for(
            tmp_path / str(len(returns)),
            name=CARTPOLE,
            training={"evaluate_every": 8, "evaluate_episodes": 20},
            settings={
                "num_steps": 64,
                "num_updates": 8,
                "num_epochs": 10,
                "num_minibatches": 4,
                "gamma": 0.98,
                **fields,
            },
        )
        result = PPOStrategy().run(replace(made, resolver=WithScript()))
        returns.append(result.evaluation_return_mean)
    assert returns[1] > 1.5 * returns[0] > 30


@pytest.mark.parametrize("is_closed_form", [True, False])
def test_demonstrations_are_the_rows_of_the_script_each_of_them_as_often(monkeypatch, is_closed_form) -> None:
    case, scripted = blended_case("masked")
    case = case.in_float32()
    case.buffer.actions = case.buffer.actions.astype(np.int64)
    network, present = case.network(), scripted & case.buffer.agent_mask
    monkeypatch.setattr(demonstrations, "is_closed_form", lambda network: is_closed_form)
    rows = ScriptedRows(network, {}, batch_size=10**6, seed=1)
    every = rows.beside(PPOState(), case.buffer)
    assert every is not None
    whole, loss = (np.asarray(part).copy() for part in every(0))
    weights = np.zeros(present.shape)
    weights[present] = 1 / present.sum()
    case.buffer.agent_mask = present  # as in the gradient of the surrogate at ratio 1, with advantages of 1
    case.buffer.blend, case.advantages, case.normalize_advantages = None, np.ones_like(case.advantages), False
    policy = NumpyPolicy(case.spec, built_in_encoder("flatten"), network.layout.views(network.parameters.numpy()), {})
    outputs = policy.outputs({"observation": case.buffer.observations["observation"].reshape(-1, 1, 3)})
    each = masked_log_softmax(outputs.reshape(*present.shape, -1), case.buffer.action_mask)
    case.buffer.log_probs = pick(each, case.buffer.actions)
    assert float(loss) == pytest.approx(-(case.buffer.log_probs * weights).sum(), abs=1e-6)
    gradient, _ = differentiated(case, ClosedFormGradient, value_coef=0.0, entropy_coef=0.0, reference_kl_coef=0.0)
    np.testing.assert_allclose(whole, gradient, atol=1e-6)
    assert np.abs(whole).max() > 1e-2


def test_batches_of_demonstrations_go_through_all_of_them_in_turn() -> None:
    case, scripted = blended_case("plain")
    numbers = np.arange(scripted.size, dtype=np.float64).reshape(scripted.shape)
    case.buffer.observations["observation"][:] = numbers[..., None]
    seen: list[float] = []
    rows = ScriptedRows(case.network(), {}, batch_size=4, seed=1)
    rows._differentiate = lambda shown, *_: seen.extend(shown["observation"][:, 0]) or (0, 0.0)  # type: ignore[assignment]
    batch = rows.beside(PPOState(), case.buffer)
    assert batch is not None
    shown = numbers[scripted & case.buffer.agent_mask]
    for number in range(len(shown)):
        batch(number)
    assert sorted(seen) == sorted(np.repeat(shown, 4))
    assert seen[: len(shown)] != sorted(shown)
    case.buffer.blend.is_scripted[:] = False
    assert rows.beside(PPOState(), case.buffer) is None


def test_a_capture_has_the_probabilities_of_the_blend(tmp_path) -> None:
    path = capture(tmp_path / "run", blend_share=1.0, blend_schedule="constant", num_updates=2)
    for _, episode in Dataset(path).trajectories():
        assert (episode.steps["log_probs"] == 0).all()
    made = context_for(tmp_path / "half", name=CARTPOLE, training={"capture_rollouts": True}, settings=QUICK | {
        "blend_share": 0.5, "blend_schedule": "constant", "blend_policy": "idle",
    })  # fmt: skip
    with captured_services(made, tmp_path / "half") as services:
        PPOStrategy().run(replace(made, services=services))
    found = [episode.steps for _, episode in Dataset(tmp_path / "half" / "capture").trajectories()]
    actions, log_probs = (np.concatenate([steps[name] for steps in found]) for name in ("actions", "log_probs"))
    assert (log_probs[actions == 0] >= np.log(0.5)).all()
    assert (log_probs[actions == 1] <= np.log(0.5)).all()
    assert (actions == 0).mean() > 0.6


def test_recorded_rows_are_nobodys_but_the_policys_in_a_mixed_run(tmp_path) -> None:
    dataset = capture(tmp_path / "earlier")
    path = tmp_path / "run"
    settings = {"data_mode": "mixed", "dataset": dataset, "blend_share": 0.5, "blend_schedule": "constant"}
    records = outcome(path, go(path, num_updates=14, **settings))["telemetry"]
    live = [record["scripted_share"] for record in records if record["rollout_ticks"]]
    assert live
    assert all(0.3 < share < 0.7 for share in live)
    assert {record["scripted_share"] for record in records if not record["rollout_ticks"]} == {None}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("town", {"blend_policy": "scriptd"}, r"strategies\.ppo\.blend_policy: .*'scriptd'.*did you mean 'scripted'"),
        (CARTPOLE, {"blend_policy": "scripted"}, r"blend_policy: .*has no script 'scripted'.*there are: random, idle"),
        ("gymnasium:Pendulum-v1", {}, r"blend_policy: in environment 'gymnasium:Pendulum-v1' actions are continuous"),
        (CARTPOLE, {"data_mode": "replay"}, r"blend_share is 0\.5, and .* 'replay' makes no rollouts"),
    ],
)
def test_a_blend_that_cannot_be_is_refused_before_anything_is_learned(tmp_path, name, settings, message) -> None:
    if settings.get("data_mode") == "replay":
        settings["dataset"] = capture(tmp_path / "earlier")
    made = context_for(tmp_path / "run", name=name, settings=QUICK | {"blend_share": 0.5} | settings)
    with pytest.raises(ConfigError, match=message):
        PPOStrategy().run(made)
    assert made.trackers == []


def test_without_a_script_demonstrations_need_a_dataset(tmp_path) -> None:
    made = town_context(tmp_path / "run", demonstration_coef=0.1)
    with pytest.raises(ConfigError, match="or let a script show them with blend_share"):
        PPOStrategy().run(made)
