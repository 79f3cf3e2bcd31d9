"""Evaluation: every seed once and in order; an episode is the same in any company."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.config.load import load_config
from townlet_core.context import BuiltInResolver
from townlet_core.environments.vector import AutoresetMode, EnvironmentStep, VectorEnvironment
from townlet_core.errors import EnvironmentFault, UsageError
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.services import EvaluationService

SERVICE = EvaluationService()
SEEDS = [5, 3, 9, 1, 2, 8, 3]


def cartpole(num_worlds):
    config = load_config(None, sets=["environment.name=gymnasium:CartPole-v1"]).config
    return BuiltInResolver().environment(config.environment, num_worlds=num_worlds)


def policy_for(environment):
    spec = PolicySpec.for_spaces(environment.observation_spaces, environment.action_space)
    return NumpyPolicy(spec, FlattenEncoder(), initial_weights(spec, FlattenEncoder(), seed=1), {})


def evaluate_cartpole(num_worlds, seeds, **options):
    environment = cartpole(num_worlds)
    try:
        return SERVICE.evaluate(policy_for(environment), environment, seeds, **options)
    finally:
        environment.close()


@pytest.mark.parametrize("deterministic", [True, False])
def test_an_episode_does_not_depend_on_batch_size_or_neighbours(deterministic):
    results = [
        evaluate_cartpole(num_worlds, SEEDS, deterministic=deterministic).episodes for num_worlds in (1, 3, 7, 12)
    ]
    assert results[0] == results[1] == results[2] == results[3]
    by_seed = {episode.seed: episode for episode in results[0]}
    shuffled = evaluate_cartpole(2, sorted(set(SEEDS)), deterministic=deterministic).episodes
    assert [by_seed[seed] for seed in sorted(set(SEEDS))] == list(shuffled)
    assert len({episode.length for episode in results[0]}) > 1


def test_every_seed_is_run_once_and_in_order():
    result = evaluate_cartpole(3, SEEDS)
    assert [episode.seed for episode in result.episodes] == SEEDS
    assert result.episodes[1] == result.episodes[6]  # the same seed is the same episode
    returns = [episode.episode_return for episode in result.episodes]
    assert returns == [float(episode.length) for episode in result.episodes]
    assert result.return_mean == pytest.approx(np.mean(returns))
    assert result.return_std == pytest.approx(np.std(returns))
    assert (result.return_min, result.return_max) == (min(returns), max(returns))
    assert result.length_mean == pytest.approx(np.mean(returns))
    assert {result.reward_mean, *(episode.reward_mean for episode in result.episodes)} == {1.0}


def test_sampling_differs_from_the_mode():
    modes = evaluate_cartpole(4, [1, 2, 3, 4], deterministic=True)
    samples = evaluate_cartpole(4, [1, 2, 3, 4], deterministic=False)
    assert modes.episodes != samples.episodes
    assert modes.deterministic
    assert not samples.deterministic


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("num_worlds", [1, 2, 5])
def test_only_the_first_episode_of_a_world_counts(scripted, echo, mode, num_worlds):
    environment = scripted(num_worlds, autoreset=mode)
    result = SERVICE.evaluate(echo(), environment, [4, 5, 6], deterministic=True)
    assert [(episode.length, episode.episode_return, episode.truncated) for episode in result.episodes] == [
        (2, 1.0, True)
    ] * 3
    steps = 2 + (mode is AutoresetMode.NEXT_STEP)  # there, the reset is what says that the world's episode is over
    assert len(environment.actions) == steps * -(-3 // num_worlds)
    assert [(episode.num_steps, episode.agent_steps) for episode in result.episodes] == [(2, 2)] * 3


def test_a_short_last_batch_is_padded_and_its_padding_is_not_reported(scripted, echo):
    progress = []
    result = SERVICE.evaluate(
        echo(), scripted(4), [1, 2, 3, 4, 5, 6], on_progress=lambda done, total: progress.append((done, total))
    )
    assert [episode.seed for episode in result.episodes] == [1, 2, 3, 4, 5, 6]
    assert progress == [(4, 6), (6, 6)]


def test_the_return_of_several_agents_is_their_mean(scripted, echo):
    result = SERVICE.evaluate(echo(), scripted(1, 3), [1], deterministic=True)
    assert result.episodes[0].episode_return == pytest.approx(1.0 + 2 * 0.25)


class Population(VectorEnvironment):
    """Three slots for agents: `spans` says from when to when each is there in every episode of 8 steps.

    A present agent earns 1 in each step and is terminated in its last one.
    """

    name, num_agents, autoreset, exact = "population", 3, AutoresetMode.SAME_STEP, True

    def __init__(self, num_worlds, spans):
        self.num_worlds, self.spans = num_worlds, spans
        self.observation_spaces = {"observation": spaces.Box(-1, 1, (3,), np.float32)}
        self.action_space = spaces.Discrete(4)

    def reset(self, seeds):
        self.tick = 0
        return self.shown(np.zeros((self.num_worlds, 3), bool), np.zeros((self.num_worlds, 3), np.float32))

    def present(self):
        row = [first <= self.tick < last for first, last in self.spans]
        return np.tile(np.array(row), (self.num_worlds, 1))

    def shown(self, ended, rewards):
        shape = (self.num_worlds, 3)
        observations = {"observation": np.zeros((*shape, 3), np.float32)}
        return EnvironmentStep(
            observations=observations,
            final_observations=observations,
            agent_mask=self.present(),
            rewards=rewards,
            terminations=ended,
            truncations=np.zeros(shape, bool),
            episode_starts=np.full(self.num_worlds, self.tick == 0),
        )

    def step(self, actions):
        acted = self.present()
        self.tick = self.tick + 1
        ended = acted & ~self.present()
        self.tick %= 8
        return self.shown(ended, acted.astype(np.float32))


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (((0, 5), (0, 0), (0, 3)), (4.0, 5)),  # a slot that is never used
        (((0, 5), (2, 8), (9, 9)), (5.5, 6)),  # one agent comes while another is there
        (((3, 5), (0, 0), (0, 0)), (2.0, 2)),  # nobody is there at first
        (((0, 2), (2, 4), (0, 0)), (2.0, 2)),  # one takes over from another
    ],
)
def test_agents_that_come_late_count_and_slots_that_stay_empty_do_not(echo, spans, expected):
    result = SERVICE.evaluate(echo(), Population(2, spans), [1, 2, 3], max_steps=100)
    assert [(episode.episode_return, episode.length) for episode in result.episodes] == [expected] * 3


def test_an_episode_without_any_agent_is_an_error(echo):
    with pytest.raises(EnvironmentFault, match="seed 1: no agent was present in the whole episode"):
        SERVICE.evaluate(echo(), Population(2, ((0, 0),) * 3), [1, 2], max_steps=100)


def test_an_empty_list_of_seeds_is_an_error(scripted, echo):
    with pytest.raises(UsageError, match="an evaluation needs at least one seed"):
        SERVICE.evaluate(echo(), scripted(2), [])


def test_an_episode_that_does_not_end_is_an_error_that_names_its_seed():
    with pytest.raises(EnvironmentFault, match=r"seed 5 .* 3 steps; set environment.max_episode"):
        evaluate_cartpole(2, [5, 6], max_steps=3)


def test_the_result_names_the_policy_and_the_environment(scripted, echo):
    result = SERVICE.evaluate(echo(), scripted(2), [1], artefact_digest="ab")
    assert (result.environment, result.artefact_digest) == ("scripted", "ab")
    assert result.duration_sec >= 0


TOWN = [
    f"environment.scenario={Path(__file__).parents[1] / 'fixtures' / 'scenarios' / 'short_day.yaml'}",
    "environment.max_episode_steps=60",
    "environment.town={day_ticks: 10, needs: {hunger_decay: 0.03, faint_hunger: 0.15}}",
]


@pytest.mark.parametrize("sets", [["environment.name=gymnasium:Pendulum-v1"], TOWN], ids=["forces", "town"])
def test_continuous_policies_and_the_town_are_exact_in_any_company_too(sets):
    config = load_config(None, sets=sets).config

    def run(num_worlds, seeds):
        environment = BuiltInResolver().environment(config.environment, num_worlds=num_worlds)
        assert isinstance(environment.action_space, spaces.Box) or environment.num_agents > 1
        try:
            return SERVICE.evaluate(policy_for(environment), environment, seeds, deterministic=False).episodes
        finally:
            environment.close()

    alone = run(1, [1, 2, 3])
    assert len({episode.episode_return for episode in alone}) == 3
    assert alone == run(2, [1, 2, 3]) == run(3, [1, 2, 3])
    assert alone[1:2] == run(4, [7, 8, 2, 9])[2:3], "other neighbours, another place"
