"""What goes wrong in the middle of a run: the error says where, and nothing of it is learned or kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from probes import ForeverNextStep
from rollouts import make_case
from training import context_for

from townlet_core.config.base import settings_from
from townlet_core.errors import ArtefactError, DataError, DivergenceError, EnvironmentFault
from townlet_strategies_ppo.experience import LiveExperience
from townlet_strategies_ppo.settings import PPOSettings
from townlet_strategies_ppo.strategy import PPOStrategy, _Run

if TYPE_CHECKING:
    from townlet_core.environments.vector import VectorEnvironment
    from townlet_strategies_ppo.learner import Learner

STEPS = 16
SETTINGS = {
    "num_steps": STEPS,
    "learning_rate_schedule": "constant",
    "normalize_observations": True,
    "normalize_rewards": True,
}


def broken_run(path, fault: str, *, at: int = 0, updates: int = 6, **settings) -> _Run:
    context = context_for(
        path,
        name="python:probes:Broken",
        num_worlds=4,
        options={"fault": fault, "at": at},
        training={"checkpoint_every": 1},
        settings=SETTINGS | {"total_steps": updates * STEPS * 4} | settings,
    )
    typed = settings_from(PPOSettings, context.config.strategies["ppo"], {}, path="strategies.ppo")
    environment = context.resolver.environment(context.config.environment)
    return _Run(
        context,
        typed,
        LiveExperience(environment, context.services.rollout, num_steps=typed.num_steps, seed=context.seed),
    )


def learned(learner: Learner) -> dict[str, bytes]:
    """Everything that a learner has learned: weights, optimiser, normalisers; and its counters."""
    learner.state.telemetry_offset = 0
    return learner.checkpoint()


@pytest.mark.parametrize(
    ("fault", "told"),
    [("raises", "step raised RuntimeError: the floor gave way"), ("reward", "reward"), ("observation", "observation")],
)
def test_a_fault_in_the_third_rollout_leaves_the_learner_as_the_second_left_it(tmp_path, fault, told) -> None:
    run = broken_run(tmp_path / "run", fault, at=2 * STEPS + 7)
    with pytest.raises(EnvironmentFault, match=rf"world 0, episode 0 .*step {2 * STEPS + 7}: ") as caught:
        run.train()
    assert told in str(caught.value)
    whole = broken_run(None, fault, updates=2)
    whole.train()
    assert learned(run.learner) == learned(whole.learner)
    assert run.learner.state.update == 2


def test_a_fault_leaves_the_last_good_checkpoint_and_no_policy(tmp_path) -> None:
    run = broken_run(tmp_path / "run", "reward", at=2 * STEPS + 7)
    with pytest.raises(EnvironmentFault):
        run.train()
    directory = run.context.run
    assert directory is not None
    assert not directory.policy_dir.exists()
    kept = directory.checkpoints(2).load_newest()
    assert kept is not None
    assert kept.step == 2
    other = broken_run(None, "reward")
    other.learner.restore(kept.files, where="here")
    assert other.learner.weights_digest() == run.learner.weights_digest()


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value):RuntimeWarning")
def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_kept(tmp_path) -> None:
    run = broken_run(tmp_path / "run", "huge", at=2 * STEPS + 7, normalize_rewards=False)
    with pytest.raises(DataError, match=r"became (nan|inf) at minibatch 1 of the update; the weights were not kept"):
        run.train()
    directory = run.context.run
    assert directory is not None
    assert not directory.policy_dir.exists()
    kept = directory.checkpoints(2).load_newest()
    assert kept is not None
    assert kept.step == 2
    other = broken_run(None, "huge", normalize_rewards=False)
    other.learner.restore(kept.files, where="here")
    assert torch.isfinite(other.learner.network.parameters).all()


@pytest.mark.parametrize("column", ["advantages", "old_log_probs"])
def test_an_update_names_what_became_infinite(column) -> None:
    case = make_case(absent=0.0)
    target = case.advantages if column == "advantages" else case.buffer.log_probs
    target[3, 2, 1] = -np.inf
    with pytest.raises(DataError, match=r"became (nan|inf) at minibatch \d of the update.*learning_rate"):
        case.learn(PPOSettings(normalize_advantages=False), worlds_per_shard=2)


def test_weights_that_are_not_finite_are_neither_saved_nor_kept_as_a_policy(tmp_path) -> None:
    run = broken_run(None, "raises")
    run.learner.network.parameters[3] = float("nan")
    with pytest.raises(DivergenceError, match="'parameters' is not finite"):
        run.learner.checkpoint()
    artefact = run.learner.artefact(strategy="ppo", environment="", config_digest="")
    with pytest.raises(ArtefactError, match="is not finite; nothing was written"):
        artefact.save(tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


class Changed(ForeverNextStep):
    """The endless task with one field of every step replaced."""

    def __init__(self, **fields: object) -> None:
        super().__init__(4)
        self.fields = fields

    def step(self, actions: np.ndarray):
        return replace(super().step(actions), **self.fields)

    def reset(self, seeds):
        fields = {name: value for name, value in self.fields.items() if name == "agent_mask"}
        return replace(super().reset(seeds), **fields)


def run_in(environment: VectorEnvironment) -> None:
    PPOStrategy().run(context_for(None, made=environment, num_worlds=4))


def test_an_end_without_a_final_observation_is_a_fault_and_not_a_termination() -> None:
    with pytest.raises(EnvironmentFault, match=r"'Changed': world 3, agent 0 was truncated.*final_observations"):
        run_in(Changed(final_observations=None))


def test_a_rollout_in_which_nobody_is_present_is_a_fault() -> None:
    with pytest.raises(EnvironmentFault, match=r"'Changed': no agent was present in 16 steps of 4 worlds"):
        run_in(Changed(agent_mask=np.zeros((4, 1), bool)))
