"""Distributions over actions: probabilities, samples, entropies and log-probabilities against closed forms."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from townlet_core.errors import ConfigError, EnvironmentFault
from townlet_core.policy import heads
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.heads import ActionHead
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights
from townlet_core.torch.heads import log_prob_and_entropy
from townlet_core.torch.heads import masked_log_softmax as torch_masked_log_softmax
from townlet_core.torch.network import NetworkOutputs

ALMOST_ONE = np.nextafter(1.0, 0.0)
LOGITS = st.floats(-1e4, 1e4, width=32)


@st.composite
def masked_logits(draw):
    """Logits and a mask (K,) that allows at least one action."""
    count = draw(st.integers(1, 9))
    logits = draw(arrays.arrays(np.float32, count, elements=LOGITS))
    mask = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    mask[draw(st.integers(0, count - 1))] = True
    return logits, mask


@settings(deadline=None)
@given(masked_logits())
def test_masked_log_softmax_is_finite_and_gives_illegal_actions_exactly_no_probability(case):
    logits, mask = case
    ours = heads.masked_log_softmax(logits, mask)
    theirs = torch_masked_log_softmax(torch.from_numpy(logits), torch.from_numpy(mask)).numpy()
    for log_probs in (ours, theirs):
        assert np.isfinite(log_probs).all()
        assert (np.exp(log_probs)[~mask] == 0.0).all()
        assert np.exp(log_probs.astype(np.float64)).sum() == pytest.approx(1.0, abs=1e-5)


@settings(deadline=None)
@given(masked_logits(), st.one_of(st.just(0.0), st.just(ALMOST_ONE), st.floats(0.0, 1.0, exclude_max=True)))
def test_an_illegal_action_is_never_sampled(case, noise):
    logits, mask = case
    action = heads.sample_categorical(logits, mask, np.float64(noise))
    assert mask[action]


@pytest.mark.parametrize("illegal", [0, 1, 2, 3])
@pytest.mark.parametrize("noise", [0.0, 5e-324, 0.5, ALMOST_ONE])
def test_an_illegal_action_is_not_sampled_at_the_ends_of_the_unit_interval(illegal, noise):
    mask = np.arange(4) != illegal
    for logits in (np.zeros(4, np.float32), np.array([30, -30, 30, -30], np.float32)):
        assert mask[heads.sample_categorical(logits, mask, np.array(noise))]


@settings(deadline=None)
@given(st.floats(0.5, 2.0))
def test_the_largest_noise_stays_below_any_total(total):
    assert ALMOST_ONE * total < total


def test_samples_follow_the_probabilities():
    probabilities = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    mask = probabilities > 0
    logits = np.log(np.where(mask, probabilities, 0.9)).astype(np.float32)
    logits = np.broadcast_to(logits, (100_000, 5))
    actions = heads.sample_categorical(logits, mask, np.random.default_rng(5).random(100_000))
    log_probs = heads.log_prob(ActionHead.for_space(spaces.Discrete(5)), logits, None, mask, actions)
    assert np.exp(log_probs) == pytest.approx(probabilities[actions], rel=1e-6)
    counts = np.bincount(actions, minlength=5)
    assert counts[1] == 0
    expected = 100_000 * probabilities[mask]
    assert ((counts[mask] - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, p = 0.001


def test_noise_is_inverted_through_the_cumulative_distribution():
    log_probs = np.log(np.broadcast_to(np.array([0.25, 0.5, 0.25]), (6, 3)))
    noise = np.array([0.0, 0.2499, 0.2501, 0.7499, 0.7501, ALMOST_ONE])
    assert heads.sample_categorical(log_probs, None, noise).tolist() == [0, 0, 1, 1, 2, 2]


def test_without_noise_the_mode_is_taken():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 0.0]], np.float32)
    mask = np.array([[True, False, True], [True, True, True]])
    categorical = ActionHead.for_space(spaces.Discrete(3))
    actions = heads.sample(categorical, logits, None, mask, None)
    log_probs = heads.log_prob(categorical, logits, None, mask, actions)
    assert actions.tolist() == [2, 0]
    assert log_probs[0] == pytest.approx(2.0 - math.log(math.exp(1.0) + math.exp(2.0)), rel=1e-6)
    multi = ActionHead.for_space(spaces.MultiDiscrete([2, 3]))
    assert heads.sample(multi, np.array([[1.0, 2.0, 0.0, 7.0, 1.0]]), None, None, None).tolist() == [[1, 1]]
    mean = np.array([[0.5, -2.0]], np.float32)
    gaussian, log_std = ActionHead.for_space(spaces.Box(-1, 1, (2,))), np.zeros(2, np.float32)
    actions = heads.sample(gaussian, mean, log_std, None, None)
    log_probs = heads.log_prob(gaussian, mean, log_std, None, actions)
    assert actions.tolist() == mean.tolist()
    assert log_probs[0] == pytest.approx(-math.log(2 * math.pi), rel=1e-6)


def test_a_multi_categorical_log_probability_is_the_sum_of_its_parts():
    head = ActionHead.for_space(spaces.MultiDiscrete([2, 3]))
    logits = np.random.default_rng(2).normal(size=(50, 5))
    actions = heads.sample(head, logits, None, None, np.random.default_rng(3).random((50, 2)))
    log_probs = heads.log_prob(head, logits, None, None, actions)
    first, second = heads.masked_log_softmax(logits[:, :2], None), heads.masked_log_softmax(logits[:, 2:], None)
    rows = np.arange(50)
    assert log_probs == pytest.approx(first[rows, actions[:, 0]] + second[rows, actions[:, 1]])
    assert set(actions[:, 0]) == {0, 1}
    assert set(actions[:, 1]) == {0, 1, 2}


def entropy_of(space, actor, *, mask=None, log_std=None):
    """Entropy (B,) that the learner computes for outputs (B, K)."""
    rows = len(actor)
    outputs = NetworkOutputs(torch.from_numpy(actor)[None], torch.zeros(1, rows), log_std)
    actions = torch.zeros(1, rows, *space.shape, dtype=torch.float64 if isinstance(space, spaces.Box) else torch.int64)
    head = ActionHead.for_space(space)
    return log_prob_and_entropy(head, outputs, actions, None if mask is None else torch.from_numpy(mask)[None])


def test_entropy_counts_legal_actions_only():
    mask = np.array([[True, True, False, True], [True, False, False, False]])
    _, entropies = entropy_of(spaces.Discrete(4), np.array([[1.0, 1.0, 9.0, 1.0], [0.0, 5.0, 5.0, 5.0]]), mask=mask)
    assert entropies[0].tolist() == pytest.approx([math.log(3), 0.0], abs=1e-12)
    parts = np.array([[True, True, True, True, False]])
    _, entropies = entropy_of(spaces.MultiDiscrete([2, 3]), np.zeros((1, 5)), mask=parts)
    assert entropies[0, 0].item() == pytest.approx(math.log(2) + math.log(2))


def test_an_illegal_action_gets_exactly_no_gradient():
    logits = torch.tensor([[[0.3, -0.2, 0.9]]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[[True, False, True]]])
    outputs = NetworkOutputs(logits, torch.zeros(1, 1), None)
    log_prob, entropy = log_prob_and_entropy(
        ActionHead.for_space(spaces.Discrete(3)), outputs, torch.tensor([[2]]), mask
    )
    (gradient,) = torch.autograd.grad((log_prob + entropy).sum(), logits)
    assert gradient[0, 0, 1].item() == 0.0
    assert gradient[0, 0, 0].item() != 0.0


def test_gaussian_log_probability_and_entropy_are_the_closed_forms():
    rng = np.random.default_rng(4)
    mean, log_std = rng.normal(size=(7, 3)), rng.normal(size=3) * 0.5
    head = ActionHead.for_space(spaces.Box(-1, 1, (3,)))
    actions = heads.sample(head, mean, log_std, None, rng.random((7, 6)))
    log_probs = heads.log_prob(head, mean, log_std, None, actions)
    deviation = np.exp(log_std)
    density = np.exp(-((actions - mean) ** 2) / (2 * deviation**2)) / (deviation * math.sqrt(2 * math.pi))
    assert log_probs == pytest.approx(np.log(density).sum(axis=1), rel=1e-10)
    learner_log_probs, entropies = log_prob_and_entropy(
        head,
        NetworkOutputs(torch.from_numpy(mean)[None], torch.zeros(1, 7), torch.from_numpy(log_std)[None]),
        torch.from_numpy(actions)[None],
        None,
    )
    assert learner_log_probs[0].numpy() == pytest.approx(log_probs, rel=1e-12)
    assert entropies[0].numpy() == pytest.approx(np.full(7, 0.5 * np.log(2 * math.pi * math.e * deviation**2).sum()))


def test_gaussian_samples_have_the_mean_and_deviation_of_the_head():
    mean = np.tile(np.array([1.0, -3.0]), (200_000, 1))
    head, noise = ActionHead.for_space(spaces.Box(-1, 1, (2,))), np.random.default_rng(6).random((200_000, 4))
    actions = heads.sample(head, mean, np.log(np.array([0.5, 2.0])), None, noise)
    assert actions.mean(axis=0) == pytest.approx([1.0, -3.0], abs=0.025)
    assert actions.std(axis=0) == pytest.approx([0.5, 2.0], rel=0.01)
    assert abs(np.corrcoef(actions.T)[0, 1]) < 0.01


def test_a_gaussian_log_probability_is_that_of_the_action_as_recorded():
    mean, log_std = np.full((1, 1), 1000.0, np.float32), np.full(1, -6.0, np.float32)
    head = ActionHead.for_space(spaces.Box(-1, 1, (1,)))
    actions = heads.sample(head, mean, log_std, None, np.array([[0.7, 0.1]]))
    log_probs = heads.log_prob(head, mean, log_std, None, actions)
    exact = -0.5 * ((np.float64(actions[0, 0]) - 1000.0) / math.exp(-6.0)) ** 2 + 6.0 - 0.5 * math.log(2 * math.pi)
    assert log_probs[0] == pytest.approx(exact, rel=1e-5)


def masked_policy(space, *, agents=2):
    spec = PolicySpec.for_spaces({"observation": spaces.Box(-1, 1, (2,), np.float32)}, space)
    policy = NumpyPolicy(spec, FlattenEncoder(), initial_weights(spec, FlattenEncoder(), seed=0), {})
    return policy, {"observation": np.zeros((3, agents, 2), np.float32)}


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 2])])
def test_a_present_agent_that_may_do_nothing_is_an_error_that_names_world_and_agent(space):
    policy, observations = masked_policy(space)
    mask = np.ones((3, 2, 4), bool)
    mask[2, 1, :] = False
    if isinstance(space, spaces.MultiDiscrete):
        mask[2, 1, :2] = True  # one part with a choice does not help the other
    with pytest.raises(EnvironmentFault, match="world 2, agent 1: the action mask allows nothing"):
        policy.act(observations, mask, np.ones((3, 2), bool), np.zeros((3, 2, policy.noise_size)))


def test_an_absent_agent_may_have_no_allowed_action():
    policy, observations = masked_policy(spaces.Discrete(4))
    mask, agent_mask = np.ones((3, 2, 4), bool), np.ones((3, 2), bool)
    mask[2, 1, :], agent_mask[2, 1] = False, False
    decision = policy.act(observations, mask, agent_mask, np.full((3, 2, 1), 0.5))
    assert np.isfinite(decision.log_probs).all()
    assert np.isfinite(decision.values).all()


@pytest.mark.parametrize(
    "space", [spaces.Box(-1, 1, (2, 2)), spaces.MultiDiscrete([[2, 2]]), spaces.MultiBinary(3), spaces.Dict({})]
)
def test_a_space_without_a_head_is_an_error_that_says_what_is_allowed(space):
    with pytest.raises(ConfigError, match="allowed are Discrete, MultiDiscrete with one axis, and Box with one axis"):
        ActionHead.for_space(space)
