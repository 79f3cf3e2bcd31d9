"""A custom encoder is written once: NumPy acts with it, torch learns it, the artefact carries it by name."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from townlet_core.config.load import load_config
from townlet_core.context import BuiltInResolver, TrainingContext
from townlet_core.errors import ArtefactError, ConfigError
from townlet_core.policy.artefact import PolicyArtefact, PolicyDocument, Provenance, load_artefact
from townlet_core.policy.encoder import FlattenEncoder, built_in_encoder
from townlet_core.policy.numpy_policy import NumpyPolicy
from townlet_core.policy.spec import EncoderSpec, PolicySpec
from townlet_core.policy.weights import initial_weights, layout
from townlet_core.torch.network import TorchNetwork
from townlet_strategies_ppo.strategy import PPOStrategy

SPACES = {
    "observation.a": spaces.Box(-1, 1, (4,), np.float32),
    "observation.b": spaces.MultiBinary(3),
}


class TowerEncoder:
    """One layer of its own for each observation, joined; `size` units each."""

    def weight_shapes(self, inputs, options):
        shapes = {f"{name}.weight": (shape[0], options["size"]) for name, shape in inputs.items()}
        return shapes | {f"{name}.bias": (options["size"],) for name in inputs}

    def num_features(self, inputs, options):
        return len(inputs) * options["size"]

    def encode(self, operations, weights, inputs, options):
        del options
        return operations.concatenate(
            [
                operations.relu(operations.linear(inputs[name], weights[f"{name}.weight"], weights[f"{name}.bias"]))
                for name in sorted(inputs)
            ]
        )


def resolve(name):
    return TowerEncoder() if name == "tower" else built_in_encoder(name)


class TowerResolver(BuiltInResolver):
    def encoder(self, name):
        return resolve(name)


def tower_spec():
    return PolicySpec.for_spaces(
        SPACES, spaces.Discrete(3), encoder=EncoderSpec(name="tower", options={"size": 6}), actor_hidden=(8,)
    )


def test_a_custom_encoder_gives_equal_numbers_in_numpy_and_torch():
    spec = tower_spec()
    weights = initial_weights(spec, TowerEncoder(), seed=2)
    rng = np.random.default_rng(0)
    observations = {
        "observation.a": rng.normal(size=(4, 2, 4)).astype(np.float32),
        "observation.b": rng.integers(0, 2, (4, 2, 3), dtype=np.int8),
    }
    policy = NumpyPolicy(spec, TowerEncoder(), weights, {}, worlds_per_shard=2)
    flat = layout(spec, TowerEncoder()).flatten(weights)
    learner = TorchNetwork(spec, TowerEncoder(), flat, device=torch.device("cpu"))
    inputs = {
        name: torch.from_numpy(values.astype(np.float32)).reshape(2, 4, -1) for name, values in observations.items()
    }
    leaves = learner.shard_weights(2)
    outputs = learner(leaves, inputs)
    assert policy.values(observations).reshape(2, 4) == pytest.approx(outputs.values.detach().numpy(), abs=1e-5)
    slopes = learner.shard_gradients(outputs.actor.sum() + outputs.values.sum(), leaves)
    gradient = learner.layout.views(slopes.sum(dim=0))
    assert gradient["encoder.observation.a.weight"].abs().sum() > 0
    assert gradient["encoder.observation.b.bias"].abs().sum() > 0


def test_an_encoders_matrices_begin_orthogonal():
    weight = initial_weights(tower_spec(), TowerEncoder(), seed=2)["encoder.observation.a.weight"]
    assert weight @ weight.T == pytest.approx(2.0 * np.eye(4), abs=1e-5)


def test_a_custom_encoder_is_trained_and_its_artefact_loads_with_its_resolver(tmp_path):
    sets = [
        "environment.name=gymnasium:CartPole-v1",
        "environment.num_worlds=4",
        "training.device=cpu",
        "strategies.ppo.encoder=tower",
        "strategies.ppo.encoder_options.size=8",
        "strategies.ppo.total_steps=192",
        "strategies.ppo.num_steps=16",
    ]
    context = TrainingContext.from_config(load_config(None, sets=sets).config, resolver=TowerResolver())
    result = PPOStrategy().run(context)
    assert result.epoch == 3
    assert result.grad_norm > 0
    spec = PolicySpec.for_spaces(
        {"observation": spaces.Box(-1, 1, (4,), np.float32)},
        spaces.Discrete(2),
        encoder=EncoderSpec(name="tower", options={"size": 8}),
    )
    artefact = PolicyArtefact(
        document=PolicyDocument(spec=spec, critic_trained=False, provenance=Provenance(strategy="test")),
        weights=initial_weights(spec, TowerEncoder(), seed=0),
    )
    artefact.save(tmp_path / "policy")
    loaded = load_artefact(tmp_path / "policy", encoders=resolve)
    rows = {"observation": np.ones((1, 1, 4), np.float32)}
    values = [kept.policy(encoders=resolve).values(rows).tobytes() for kept in (artefact, loaded)]
    assert values[0] == values[1]
    with pytest.raises(ArtefactError, match=r"policy\.json: there is no encoder 'tower'"):
        load_artefact(tmp_path / "policy")


def test_a_policy_to_start_from_with_other_spaces_is_an_error_that_lists_both():
    spec = PolicySpec.for_spaces({"observation": spaces.Box(-1, 1, (7,), np.float32)}, spaces.Discrete(3))
    artefact = PolicyArtefact(
        document=PolicyDocument(spec=spec, critic_trained=True, provenance=Provenance(strategy="ppo")),
        weights=initial_weights(spec, FlattenEncoder(), seed=0),
    )
    sets = ["environment.name=gymnasium:CartPole-v1", "training.device=cpu"]
    context = TrainingContext.from_config(load_config(None, sets=sets).config, initial_policy=artefact)
    with pytest.raises(ArtefactError) as caught:
        PPOStrategy().run(context)
    assert str(caught.value).splitlines() == [
        "the policy to start from does not fit the environment:",
        "  observation: the policy sees Box(7,) float32 in [-1.0, 1.0], and is shown Box(4,) float32 in [-inf, inf]",
        "  actions: the policy decides Discrete(3), and what is taken is Discrete(2)",
        "  name the environment that it was made in with --env, and --set what was set there",
    ]


def test_what_equals_is_not_listed_and_the_town_has_a_hint_of_its_own():
    features, seen = spaces.Box(-1, 1, (3,), np.float32), spaces.Box(0, 1, (2,), np.uint8)
    small, large = (
        PolicySpec.for_spaces(leaves, spaces.Discrete(2))
        for leaves in (
            {"observation.features": features},
            {"observation.features": features, "observation.map": seen},
        )
    )
    with pytest.raises(ArtefactError) as caught:
        small.require_fit(large, subject="p", environment="town")
    first, differs, helps = (line.strip() for line in str(caught.value).splitlines())
    assert first == "p does not fit town:"
    assert differs == "observation.map: the policy sees nothing, and is shown Box(2,) uint8 in [0, 1]"
    assert helps.endswith("such as --set environment.town.variant=compact")


def test_the_flattening_encoder_joins_observations_in_the_order_of_their_names():
    parts = {"b": np.ones((1, 2, 3)), "a": np.zeros((1, 2, 2, 2)), "c": np.full((1, 2), 5.0)}

    class Joining:
        @staticmethod
        def concatenate(arrays):
            return np.concatenate(arrays, axis=-1)

    assert FlattenEncoder().encode(Joining(), {}, parts, {})[0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 5]
    assert FlattenEncoder().num_features({"a": (2, 2), "b": (3,), "c": ()}, {}) == 8


def test_an_unknown_encoder_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match="there is no encoder 'flattened'; did you mean 'flatten'"):
        built_in_encoder("flattened")


def test_shared_layers_feed_both_heads():
    spec = PolicySpec.for_spaces(SPACES, spaces.Discrete(3), shared_hidden=(5,), actor_hidden=(), critic_hidden=())
    assert layout(spec, FlattenEncoder()).shapes == {
        "shared.0.weight": (7, 5),
        "shared.0.bias": (5,),
        "actor.0.weight": (5, 3),
        "actor.0.bias": (3,),
        "critic.0.weight": (5, 1),
        "critic.0.bias": (1,),
    }
