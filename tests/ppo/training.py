"""Train PPO the way a user does, and read what came out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.config.environment import EnvironmentConfig
from townlet_core.config.root import SimulationConfig
from townlet_core.config.training import TrainingConfig
from townlet_core.context import BuiltInResolver, TrainingContext
from townlet_core.policy import heads, network
from townlet_core.policy.artefact import PolicyArtefact, load_artefact
from townlet_core.policy.encoder import Encoder, built_in_encoder
from townlet_core.policy.operations import NumpyOperations
from townlet_core.runs.layout import RunDirectory
from townlet_strategies_ppo.strategy import PPOStrategy

if TYPE_CHECKING:
    from pathlib import Path

    from townlet_core.dto.ppo import PPOTrainingResultDTO
    from townlet_core.environments.vector import VectorEnvironment

QUICK = {
    "total_steps": 6000,
    "num_steps": 16,
    "num_epochs": 4,
    "num_minibatches": 2,
    "learning_rate": 1e-2,
    "hidden": (16,),
    "entropy_coef": 0.0,
    "gamma": 0.9,
}


@dataclass(frozen=True)
class One:
    """A resolver that knows one environment."""

    made: VectorEnvironment

    def environment(self, config: EnvironmentConfig, *, num_worlds: int | None = None) -> VectorEnvironment:
        return self.made

    def encoder(self, name: str) -> Encoder:
        return built_in_encoder(name)


class Records(list[dict[str, Any]]):
    """A tracker that keeps what it is told."""

    def log(self, record: dict[str, Any]) -> None:
        self.append(dict(record))

    def close(self) -> None:
        return


@dataclass(frozen=True)
class Trained:
    result: PPOTrainingResultDTO
    artefact: PolicyArtefact
    records: Records
    run: RunDirectory

    def values(self, observations: Any) -> np.ndarray:
        """Return V of a list of observations."""
        return self.artefact.policy().values(self._shaped(observations))[:, 0]

    def outputs(self, observations: Any) -> np.ndarray:
        """Return logits or means for a list of observations."""
        policy = self.artefact.policy()
        features = policy._features(self._shaped(observations))
        layers = network.Layers.of(policy.spec, self.artefact.weights)
        return network.actor_outputs(NumpyOperations(), policy.spec, layers, features)[:, 0]

    def probabilities(self, observations: Any, mask: Any = None) -> np.ndarray:
        """Return the probability of each action for a list of observations."""
        return np.exp(heads.masked_log_softmax(self.outputs(observations), None if mask is None else np.array(mask)))

    def _shaped(self, observations: Any) -> dict[str, np.ndarray]:
        (space,) = self.artefact.spec.observation_spaces.values()
        rows = np.array(observations, dtype=space.dtype)
        return {"observation": rows.reshape(len(rows), 1, *space.shape)}


def context_for(
    path: Path | None,
    *,
    name: str = "probe",
    made: VectorEnvironment | None = None,
    seed: int = 1,
    num_worlds: int = 8,
    training: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **environment: Any,
) -> TrainingContext:
    """Return the context of a run in `path`; `settings` are PPO's."""
    config = SimulationConfig(
        environment=EnvironmentConfig(name=name, num_worlds=num_worlds, **environment),
        training=TrainingConfig(seed=seed, device="cpu", **(training or {})),
        strategies={"ppo": {**QUICK, **(settings or {})}},
    )
    fields: dict[str, Any] = {"resolver": BuiltInResolver(trust_code=True) if made is None else One(made)}
    run = None if path is None else RunDirectory.create(path)
    return TrainingContext.from_config(config, run=run, trackers=Records(), **fields)


def train(path: Path, *, name: str = "probe", **fields: Any) -> Trained:
    """Train in ``path/run`` and load the policy that was kept there."""
    context = context_for(path / "run", name=name, **fields)
    result = PPOStrategy().run(context)
    assert context.run is not None
    assert isinstance(context.trackers, Records)
    return Trained(result, load_artefact(context.run.policy_dir), context.trackers, context.run)
