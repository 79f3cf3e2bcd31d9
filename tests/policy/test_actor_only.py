"""A network that acts without speaking: the same actions, and the same log-probabilities when they are asked for."""

import numpy as np
import pytest
from gymnasium import spaces

from townlet_core.policy.actor_only import ActorOnly, actor_of
from townlet_core.policy.base import PolicyStep
from townlet_core.policy.encoder import FlattenEncoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import PolicySpec
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.services.scripts import RandomPolicy

STEPS, WORLDS, AGENTS = 5, 6, 2
SEEN = {"observation": spaces.Box(-10, 10, (4,), np.float32), "place": spaces.Discrete(3)}
ACTIONS = {
    "one list": spaces.Discrete(5),
    "two lists": spaces.MultiDiscrete([3, 4]),
    "numbers": spaces.Box(-1, 1, (2,)),
}


def policy_for(space: spaces.Space, kind: type[NumpyPolicy] = NumpyPolicy, **fields) -> NumpyPolicy:
    spec = PolicySpec.for_spaces(SEEN, space, **{"actor_hidden": (8,), "critic_hidden": (8,)} | fields)
    encoder = FlattenEncoder()
    shape = layout(spec, encoder)
    flat = shape.flatten(initial_weights(spec, encoder, seed=3))
    return kind(spec, encoder, shape.views(flat), {}, worlds_per_shard=2)


def observations(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "observation": rng.normal(size=(STEPS, WORLDS, AGENTS, 4)).astype(np.float32),
        "place": rng.integers(0, 3, (STEPS, WORLDS, AGENTS)),
    }


@pytest.mark.parametrize("fields", [{}, {"shared_hidden": (6,)}, {"critic_hidden": (7, 5), "activation": "relu"}])
@pytest.mark.parametrize("name", ACTIONS)
def test_steps_are_estimated_afterwards_as_they_would_have_been_one_by_one(name, fields) -> None:
    policy, rng = policy_for(ACTIONS[name], **fields), np.random.default_rng(0)
    actor, seen, present = ActorOnly(policy, keep=True), observations(rng), np.ones((WORLDS, AGENTS), bool)
    count = policy.spec.head.num_outputs
    masks = None
    if policy.spec.head.counts:
        masks = rng.random((STEPS, WORLDS, AGENTS, count)) < 0.7
        masks[..., [segment.start for segment in policy.spec.head.segments]] = True
    noise = rng.random((STEPS, WORLDS, AGENTS, policy.noise_size))
    spoken, silent = [], []
    for step in range(STEPS):
        given = {key: leaf[step] for key, leaf in seen.items()}, None if masks is None else masks[step], present
        spoken.append(policy.act(*given, noise[step]))
        silent.append(actor.act(*given, noise[step]))
    actions = np.stack([step.actions for step in silent])
    assert actions.tobytes() == np.stack([step.actions for step in spoken]).tobytes()
    assert not any(step.log_probs.any() or step.values.any() for step in silent)
    assert actor.kept is not None
    log_probs = policy.log_probs_of_steps(actor.kept, masks, actions)
    assert log_probs.tobytes() == np.stack([step.log_probs for step in spoken]).tobytes()
    values = policy.values_of_steps(seen)
    np.testing.assert_allclose(values, np.stack([step.values for step in spoken]), rtol=1e-5, atol=1e-6)
    assert np.ptp(values) > 0.1


def test_a_value_does_not_depend_on_the_other_shards() -> None:
    policy, seen = policy_for(spaces.Discrete(5)), observations(np.random.default_rng(1))
    alone = policy.values_of_steps({key: leaf[:, 2:4] for key, leaf in seen.items()})
    assert policy.values_of_steps(seen)[:, 2:4].tobytes() == alone.tobytes()


def test_what_is_no_network_stays_as_it_is() -> None:
    script = RandomPolicy(3)
    assert actor_of(script) is script
    assert isinstance(actor_of(policy_for(spaces.Discrete(3))), ActorOnly)


class Stubborn(NumpyPolicy):
    """Takes the last action, whatever its outputs are."""

    def act(self, *given) -> PolicyStep:
        return super().act(*given)._replace(actions=np.full((WORLDS, AGENTS), 2))


def test_a_network_that_acts_in_a_way_of_its_own_is_asked_to() -> None:
    policy = policy_for(spaces.Discrete(3), Stubborn)
    assert actor_of(policy) is policy
