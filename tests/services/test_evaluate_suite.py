"""An episode of a suite: everybody counts at every step, in any company, whatever a policy sees."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.context import BuiltInResolver
from townlet_core.environments.town import TownEnvironment
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep
from townlet_core.errors import ArtefactError
from townlet_core.policy.artefact import PolicyArtefact, PolicyDocument, Provenance
from townlet_core.policy.encoder import FlattenEncoder, built_in_encoder
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.services.contender import Contender, artefact_contender, script_contender
from townlet_core.services.evaluation import EvaluationService
from townlet_core.services.scripts import make_script
from townlet_core.services.suites import Suite, own_suite
from townlet_core.services.town_view import VIEWS
from townlet_core.services.world_totals import WorldTotals

SERVICE, ENVIRONMENTS = EvaluationService(), BuiltInResolver()
SCENARIO = str(Path(__file__).parents[1] / "fixtures" / "scenarios" / "short_day.yaml")
SHORT = {"day_ticks": 10, "needs": {"hunger_decay": 0.03, "faint_hunger": 0.15}}
"""Days in which people faint, and others move in."""


def short_days(episodes: int = 5, **town: Any) -> Suite:
    """Return episodes of 60 ticks."""
    config = {"scenario": SCENARIO, "max_episode_steps": 60, "town": {**SHORT, **town}}
    return own_suite(EnvironmentConfig.model_validate(config), episodes=episodes, seed=3)


def evaluate(name: str, suite: Suite, **options: Any) -> Any:
    return SERVICE.evaluate_suite(script_contender(name), suite, ENVIRONMENTS.environment, **options)


@pytest.mark.parametrize("name", ["random", "scripted"])
def test_an_episode_and_its_metrics_do_not_depend_on_how_many_worlds_there_are(name: str) -> None:
    whole = evaluate(name, short_days())
    for num_worlds in (1, 2, 3):
        assert evaluate(name, short_days(), num_worlds=num_worlds).episodes == whole.episodes
    assert len({episode.reward_mean for episode in whole.episodes}) == 5
    assert [episode.num_steps for episode in whole.episodes] == [60] * 5
    fainted = sum(episode.metrics["faint_events"] for episode in whole.episodes)
    assert fainted > 0, "otherwise nothing of this is about newcomers"


def test_the_score_of_the_town_is_of_every_agent_at_every_tick_newcomers_included() -> None:
    suite = short_days(episodes=1)
    (episode,) = evaluate("scripted", suite).episodes
    environment = TownEnvironment(suite.parts[0].environment, num_worlds=1)
    policy, shown = make_script("scripted", environment), environment.reset(suite.parts[0].seeds)
    earned, needs, events = [], [], []
    for _ in range(60):
        there = shown.agent_mask.copy()
        needs += shown.observations["observation.features"][there][:, :3].tolist()
        decision = policy.act(shown.observations, shown.action_mask, there, None)
        shown = environment.step(decision.actions)
        earned += shown.rewards[there].tolist()
        events.append({name: float(counts[0]) for name, counts in shown.events.items()})
    assert episode.agent_steps == len(earned)
    assert episode.reward_mean == pytest.approx(np.mean(earned))
    assert episode.length < 60, "a first life is shorter than the world's episode"
    sums = {name: sum(tick[name] for tick in events) for name in events[0]}
    assert {name: episode.metrics[name] for name in sums} == pytest.approx(sums)
    assert episode.metrics["attendance"] == sums["shift_ticks_attended"] / sums["shift_ticks_scheduled"]
    names = ("hunger_mean", "hygiene_mean", "energy_mean")
    assert [episode.metrics[name] for name in names] == pytest.approx(np.mean(needs, axis=0).tolist())


def test_a_result_says_what_was_run_and_is_summed_up_from_its_episodes() -> None:
    suite = short_days()
    result = evaluate("random", suite)
    assert (result.policy, result.artefact_digest, result.deterministic) == ("random", "", False)
    assert (result.suite, result.score_name) == (suite.record(), "reward_mean")
    assert [episode.seed for episode in result.episodes] == list(suite.parts[0].seeds)
    assert result.score.mean == pytest.approx(np.mean(result.scores)) == result.reward_mean
    assert result.score.low < result.score.mean < result.score.high
    for name in ("faint_events", "chat_quality_mean"):
        having = [episode.metrics[name] for episode in result.episodes if name in episode.metrics]
        assert result.metrics[name] == pytest.approx(np.mean(having))
    assert type(result).model_validate_json(result.model_dump_json()) == result


def test_parts_are_run_one_after_the_other_and_say_which_they_are() -> None:
    first, second = short_days(episodes=3), short_days(episodes=2, social_stage="OFF")
    suite = Suite(name="two", score_name="reward_mean", parts=(*first.parts, *second.parts))
    progress: list[tuple[int, int]] = []
    result = evaluate("scripted", suite, num_worlds=2, on_progress=lambda *done: progress.append(done))
    assert [episode.part for episode in result.episodes] == [0, 0, 0, 1, 1]
    assert progress == [(2, 5), (3, 5), (5, 5)]
    assert result.episodes[:3] == evaluate("scripted", first).episodes


def changing(mode: AutoresetMode) -> SimpleNamespace:
    """Return what `WorldTotals` needs to know of an environment of two worlds."""
    return SimpleNamespace(num_worlds=2, num_agents=1, autoreset=mode, feature_names={})


def step(*, starts: tuple[bool, bool], amount: float = 1.0) -> EnvironmentStep:
    nobody = np.zeros((2, 1), bool)
    return EnvironmentStep(
        observations={},
        agent_mask=~nobody,
        rewards=np.full((2, 1), amount, np.float32),
        terminations=nobody,
        truncations=nobody,
        episode_starts=np.array(starts),
        events={"made": np.full(2, amount), "shift_ticks_attended": np.zeros(2), "shift_ticks_scheduled": np.zeros(2)},
    )


@pytest.mark.parametrize(("mode", "expected"), [(AutoresetMode.SAME_STEP, 2.0), (AutoresetMode.NEXT_STEP, 1.0)])
def test_the_step_that_only_resets_a_world_belongs_to_no_episode(mode: AutoresetMode, expected: float) -> None:
    totals = WorldTotals(changing(mode), np.array([True, True]))  # type: ignore[arg-type]  # stands in
    everybody = np.ones((2, 1), bool)
    totals.add(everybody, step(starts=(False, False)))
    totals.add(everybody, step(starts=(True, False)))
    totals.add(everybody, step(starts=(False, False), amount=10.0))
    assert totals.is_going.tolist() == [False, True]
    assert [totals.metrics(world)["made"] for world in (0, 1)] == [expected, 12.0]
    assert (totals.num_steps.tolist(), totals.earned[:, 0].tolist()) == ([expected, 3], [expected, 12.0])


def test_needs_are_those_of_agents_that_are_there_while_the_episode_lasts() -> None:
    environment = changing(AutoresetMode.SAME_STEP)
    environment.num_agents, environment.feature_names = 2, {"seen": ("x", "need_energy", "need_hunger", "need_hygiene")}
    totals = WorldTotals(environment, np.array([True, False]))
    there = np.array([[True, False], [True, True]])
    for hunger in (0.25, 0.75):
        seen = np.full((2, 2, 4), hunger, np.float32)
        seen[..., 3] = 0.5
        totals.see(SimpleNamespace(observations={"seen": seen}, agent_mask=there))  # type: ignore[arg-type]  # likewise
        totals.add(there, step(starts=(False, False)))
    metrics = totals.metrics(0)
    assert [metrics[name] for name in ("hunger_mean", "hygiene_mean", "energy_mean")] == [0.5, 0.5, 0.5]
    assert totals.agent_steps.tolist() == [[2, 0], [0, 0]]


def test_a_share_of_nothing_is_no_metric() -> None:
    totals = WorldTotals(changing(AutoresetMode.SAME_STEP), np.array([True, True]))  # type: ignore[arg-type]  # likewise
    totals.add(np.ones((2, 1), bool), step(starts=(True, True)))
    assert totals.metrics(0) == {"made": 1.0, "shift_ticks_attended": 0.0, "shift_ticks_scheduled": 0.0}


def artefact_of(config: EnvironmentConfig) -> PolicyArtefact:
    """Return an untrained policy of what an environment shows."""
    with closing(ENVIRONMENTS.environment(config, num_worlds=1)) as environment:
        spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space, actor_hidden=(4,))
    document = PolicyDocument(spec=spec, critic_trained=False, provenance=Provenance(strategy="test", agent_steps=0))
    return PolicyArtefact(document=document, weights=initial_weights(spec, FlattenEncoder(), seed=1))


def contender(artefact: PolicyArtefact, **options: Any) -> Contender:
    return artefact_contender(artefact, name="it", encoders=built_in_encoder, **options)


@pytest.mark.parametrize(("variant", "map_dtype"), VIEWS)
def test_policies_that_see_different_things_run_the_same_episodes(variant: str, map_dtype: str) -> None:
    suite = short_days(episodes=2)
    view = {**SHORT, "variant": variant, "map_dtype": map_dtype}
    artefact = artefact_of(EnvironmentConfig.model_validate({"scenario": SCENARIO, "town": view}))
    result = SERVICE.evaluate_suite(contender(artefact, deterministic=False), suite, ENVIRONMENTS.environment)
    assert (result.suite, result.artefact_digest) == (suite.record(), artefact.digest)
    script = replace(script_contender("scripted"), view=contender(artefact, deterministic=False).view)
    seen = SERVICE.evaluate_suite(script, suite, ENVIRONMENTS.environment)
    assert seen.episodes == evaluate("scripted", suite).episodes


def test_a_policy_of_other_spaces_is_refused() -> None:
    artefact = artefact_of(EnvironmentConfig(name="gymnasium:CartPole-v1"))
    with pytest.raises(ArtefactError, match=r"it does not fit town:(.|\n)*the policy sees"):
        SERVICE.evaluate_suite(contender(artefact, deterministic=True), short_days(), ENVIRONMENTS.environment)


def test_greedy_and_sampled_actions_are_told_apart() -> None:
    artefact = artefact_of(short_days().parts[0].environment)
    greedy, sampled = (
        SERVICE.evaluate_suite(contender(artefact, deterministic=how), short_days(), ENVIRONMENTS.environment)
        for how in (True, False)
    )
    assert (greedy.deterministic, sampled.deterministic) == (True, False)
    assert greedy.episodes != sampled.episodes
