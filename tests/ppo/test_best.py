"""Evaluations while training: they change nothing that is learned, and the best policy is what the run gives."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gymnasium import spaces
from run_outcome import newest_checkpoint, telemetry
from town_runs import capture, go, outcome, stop, town_context
from training import Records, context_for

from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.dto.ppo import EvaluationFields
from townlet_core.errors import ConfigError, EnvironmentFault, RunWarning
from townlet_core.policy.artefact import PolicyArtefact, load_artefact
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import layout
from townlet_core.services.evaluation import EvaluationService
from townlet_strategies_ppo.best import Evaluations
from townlet_strategies_ppo.strategy import PPOStrategy

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.context import TrainingContext
    from townlet_core.dto.evaluation import EvaluationResultDTO

EVERY = {"evaluate_every": 2, "evaluate_episodes": 3, "checkpoint_every": 3, "keep_checkpoints": 1}
NEW = set(EvaluationFields.model_fields)


class Scores(EvaluationService):
    """Gives scores instead of evaluating, and remembers what it was asked."""

    def __init__(self, *scores: float) -> None:
        self.scores, self.asked = list(scores), []

    def evaluate(self, policy: Any, environment: Any, seeds: Any, **options: Any) -> EvaluationResultDTO:
        self.asked.append((list(seeds), options))
        result = super().evaluate(policy, environment, seeds, **options)
        score = self.scores.pop(0)
        return result.model_copy(update={"return_mean": score, "reward_mean": -score})


def scored(path: Path, *scores: float, name: str = "gymnasium:CartPole-v1", **training: Any) -> TrainingContext:
    """Return a run of as many updates as there are scores, each evaluated."""
    settings = {"num_steps": 8, "num_epochs": 1, "hidden": (4,), "total_steps": 8 * 4 * len(scores)}
    wanted = {"evaluate_every": 1, "evaluate_episodes": 2, "keep_checkpoints": 1} | training
    context = context_for(path, name=name, num_worlds=4, training=wanted, settings=settings)
    return replace(context, services=replace(context.services, evaluation=Scores(*scores)))


def weights_digest(artefact: PolicyArtefact) -> str:
    """Return what the telemetry calls `policy_digest`."""
    flat = layout(artefact.spec, built_in_encoder(artefact.spec.encoder.name)).flatten(artefact.weights)
    return hashlib.sha256(flat.tobytes()).hexdigest()


def digests(context: TrainingContext) -> list[str]:
    assert isinstance(context.trackers, Records)
    return [record["policy_digest"] for record in context.trackers]


@pytest.mark.parametrize("normalize", [False, True])
def test_what_is_learned_is_the_same_to_the_byte_with_and_without_evaluations(tmp_path, normalize) -> None:
    settings = {"normalize_observations": normalize, "normalize_rewards": normalize}
    go(tmp_path / "without", **settings)
    go(tmp_path / "with", training=EVERY, **settings)
    with_them, without = telemetry(tmp_path / "with"), telemetry(tmp_path / "without")
    assert [record["evaluation_return_mean"] is not None for record in with_them] == [False, True] * 3
    assert [{**record, **dict.fromkeys(NEW)} for record in with_them] == without
    kept = [newest_checkpoint(tmp_path / name) for name in ("with", "without")]
    for files in kept:
        del files["telemetry.json"]
    assert kept[0] == kept[1]


def test_each_evaluation_samples_actions_under_the_same_seeds_which_follow_from_the_runs_own(tmp_path) -> None:
    asked = {}
    for seed in (1, 2):
        context = replace(scored(tmp_path / str(seed), 1.0, 2.0, 3.0), seed=seed)
        PPOStrategy().run(context)
        assert isinstance(context.services.evaluation, Scores)
        asked[seed] = context.services.evaluation.asked
    first = asked[1][0]
    assert asked[1] == [first, first, first]
    assert (len(set(first[0])), first[1]) == (2, {"deterministic": False})
    assert not set(first[0]) & set(asked[2][0][0])


@pytest.mark.parametrize(
    ("scores", "best"),
    [((1.0, 3.0, 2.0, 2.5), 2), ((1.0, 3.0, 3.0, 2.0), 3), ((4.0, 3.0, 2.0, 1.0), 1), ((1.0, 2.0), 2)],
)
def test_the_run_gives_the_best_policy_and_of_equals_the_later_one(tmp_path, scores, best) -> None:
    context = scored(tmp_path / "run", *scores, checkpoint_every=1)
    result = PPOStrategy().run(context)
    assert (result.best_update, result.best_score) == (best, max(scores))
    assert result.evaluation_return_mean == scores[-1]
    assert result.artefact is not None
    assert result.artefact.kind == "best"
    artefact = load_artefact(tmp_path / "run" / "policy")
    assert artefact.digest == result.artefact.digest
    assert weights_digest(artefact) == digests(context)[best - 1]
    assert artefact.document.provenance.agent_steps == best * 8 * 4
    assert CheckpointStore(tmp_path / "run" / "checkpoints").steps() == sorted({best, len(scores)})


def test_in_the_town_policies_are_compared_by_the_reward_of_an_agents_tick(tmp_path) -> None:
    made = town_context(tmp_path / "run", training=EVERY, total_steps=4 * 11 * 4 * 2)
    scores = Scores(1.0, 2.0)  # as returns; rewards are the negated ones
    result = PPOStrategy().run(replace(made, services=replace(made.services, evaluation=scores)))
    assert (result.best_update, result.best_score) == (2, -1.0)


def test_a_run_that_is_not_evaluated_gives_its_last_policy_and_says_so(tmp_path) -> None:
    context = scored(tmp_path / "run", 1.0, 2.0, evaluate_every=0)
    result = PPOStrategy().run(context)
    assert result.artefact is not None
    assert (result.artefact.kind, result.best_update, result.best_score) == ("last", None, None)
    assert weights_digest(load_artefact(tmp_path / "run" / "policy")) == result.policy_digest


def test_the_last_update_is_evaluated_whatever_its_number_and_a_new_best_is_saved_at_once(tmp_path) -> None:
    context = scored(tmp_path / "run", 1.0, 2.0, 3.0, 4.0, 5.0, evaluate_every=3, checkpoint_every=100)
    result = PPOStrategy().run(context)
    assert isinstance(context.trackers, Records)
    assert [record["best_update"] for record in context.trackers] == [None, None, 3, 3, 5]
    assert (result.evaluation_return_mean, result.best_score) == (2.0, 2.0)


def test_a_run_that_is_stopped_after_every_update_ends_with_the_same_best_policy(tmp_path) -> None:
    whole = outcome(tmp_path / "whole", go(tmp_path / "whole", training=EVERY))
    path = tmp_path / "run"
    stop(path, 1, training=EVERY)
    for after in range(2, len(whole["telemetry"])):
        stop(path, after, resume=True, training=EVERY)
    assert outcome(path, go(path, resume=True, training=EVERY)) == whole
    assert whole["result"]["best_update"] in CheckpointStore(path / "checkpoints").steps()


@pytest.mark.parametrize("damage", ["torn", "gone"])
def test_where_the_best_policy_is_lost_the_run_gives_the_last_one_and_says_so(tmp_path, damage) -> None:
    context = scored(tmp_path / "run", 3.0, 2.0, 1.0)
    PPOStrategy().run(context)
    best = tmp_path / "run" / "checkpoints" / f"{1:012d}"
    for file in best.iterdir():
        file.write_bytes(b"torn") if damage == "torn" else file.unlink()
    if damage == "gone":
        best.rmdir()
    with pytest.warns(RunWarning, match="the best policy, of update 1, is lost, and the last one takes its place: .*1"):
        result = PPOStrategy().run(replace(context, resume=True))
    assert result.artefact is not None
    assert (result.artefact.kind, result.best_update) == ("last", 1)
    assert weights_digest(load_artefact(tmp_path / "run" / "policy")) == result.policy_digest == digests(context)[-1]


def test_a_policy_that_learns_from_recordings_is_evaluated_in_the_configured_environment(tmp_path) -> None:
    dataset = capture(tmp_path / "live", total_steps=2 * 11 * 4 * 2)
    recordings = {"data_mode": "replay", "dataset": dataset, "total_steps": 4 * 11 * 4 * 2}
    evaluated = go(tmp_path / "with", training=EVERY, **recordings)
    assert evaluated.policy_digest == go(tmp_path / "without", **recordings).policy_digest
    assert evaluated.artefact is not None
    assert (evaluated.artefact.kind, evaluated.data_mode) == ("best", "replay")
    assert evaluated.best_score is not None


def test_a_policy_that_cannot_act_in_the_configured_environment_is_refused_with_what_to_do() -> None:
    learned = PolicySpec.for_spaces({"observation": spaces.Box(-1.0, 1.0, (3,), np.float32)}, spaces.Discrete(2))
    wanted = context_for(None, name="gymnasium:CartPole-v1", training={"evaluate_every": 1})
    with pytest.raises(ConfigError, match=r"(?s)training\.evaluate_every: what is learned does not fit .*=0"):
        Evaluations(wanted).require_fit(learned)
    Evaluations(context_for(None, name="gymnasium:CartPole-v1")).require_fit(learned)


def test_a_run_that_keeps_nothing_is_evaluated_too() -> None:
    context = replace(scored(None, 2.0, 1.0), run=None)
    result = PPOStrategy().run(context)
    assert (result.best_update, result.artefact) == (1, None)


class Endless(Scores):
    """Its second evaluation does not end."""

    def evaluate(self, policy: Any, environment: Any, seeds: Any, **options: Any) -> EvaluationResultDTO:
        if len(self.asked) == 1:
            self.asked.append((list(seeds), options))
            raise EnvironmentFault("seed 7 has not ended after 100,000 steps; set environment.max_episode_steps")
        return super().evaluate(policy, environment, seeds, **options)


def test_an_evaluation_that_fails_is_told_of_and_the_run_goes_on(tmp_path) -> None:
    made = scored(tmp_path / "run", 1.0, 5.0, 0.5)
    made = replace(made, services=replace(made.services, evaluation=Endless(1.0, 0.5)))
    with pytest.warns(RunWarning, match="evaluation after update 2 failed: seed 7 .*max_episode_steps"):
        result = PPOStrategy().run(made)
    assert isinstance(made.trackers, Records)
    assert [record["best_update"] for record in made.trackers] == [1, 1, 1]
    assert [record["evaluation_return_mean"] for record in made.trackers] == [1.0, None, 0.5]
    assert result.artefact is not None
    assert result.artefact.kind == "best"


def test_each_checkpoint_that_is_kept_has_its_best_beside_it(tmp_path) -> None:
    made = scored(tmp_path / "run", 5.0, 1.0, 1.0, 6.0, 1.0, 1.0, checkpoint_every=1, keep_checkpoints=2)
    assert made.run is not None
    kept: list[list[int]] = []

    class Watching(Records):
        def log(self, record: dict[str, Any]) -> None:
            kept.append(made.run.checkpoints().steps())
            super().log(record)

    PPOStrategy().run(replace(made, trackers=Watching()))
    kept.append(made.run.checkpoints().steps())
    assert kept[1:] == [[0, 1], [1, 2], [1, 2, 3], [1, 3, 4], [4, 5], [4, 5, 6]]
