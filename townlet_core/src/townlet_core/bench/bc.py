"""How fast behaviour cloning learns, beside the bare loops that limit it, in one sitting.

All learn from the same rows (64 numbers, 8 actions, MLP 64x64, batches of 256): ours reads them from a dataset on
disk, as a run does; the others have them in memory. After each of our passes every other contender gets a slice of
time, so that a busy machine is busy for all of them.

Legend: R rows, F features, K actions.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from townlet_core.config.root import SimulationConfig
from townlet_core.config.training import TrainingConfig
from townlet_core.context import TrainingContext
from townlet_core.errors import RunInterrupted, UnavailableError
from townlet_core.orchestrator.resolver import PluginResolver
from townlet_core.plugins.requirements import is_installed
from townlet_core.replay.trajectory import Trajectory
from townlet_core.replay.writer import DatasetWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from townlet_core.arrays import Array
    from townlet_core.plugins.registry import Registry

NUM_FEATURES, NUM_ACTIONS, HIDDEN = 64, 8, 64
LIMIT = "bare loop, fused"
_EPISODE_ROWS = 1000
_SLICE_SEC = 0.5


def measure_bc(
    registry: Registry, *, rows: int = 200_000, seconds: float = 5.0, batch_size: int = 256, num_threads: int = 1
) -> list[dict[str, Any]]:
    """Return a row of figures for each contender; `ratio` is to the bare loop with a fused optimiser.

    `samples_per_cpu_sec` is per second of this process's processor time, which a busy machine changes less.

    Args:
        registry: where the strategy is found.
        rows: R.
        seconds: how long ours learns, after a first pass that is not counted; two passes at least.
        batch_size: rows of a step.
        num_threads: threads of matrix products.

    Raises:
        UnavailableError: the strategy, or torch, is not installed.
    """
    if not is_installed("torch"):
        raise UnavailableError('the limits are loops of torch, which is not installed: pip install "townlet-core[bc]"')
    observations, actions = demonstrations(rows)
    others = contenders(observations, actions, batch_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dataset"
        write(path, observations, actions)
        race = Race(seconds, others)
        _train(registry, path, race, batch_size=batch_size, num_threads=num_threads)
    rates = {name: np.array([turn.rates for turn in turns]) for name, turns in race.turns.items()}
    limit = np.median(rates[LIMIT], axis=0)
    return [
        {
            "contender": name,
            "samples_per_sec": round(float(np.median(rates[name][:, 0]))),
            "lowest": round(float(rates[name][:, 0].min())),
            "highest": round(float(rates[name][:, 0].max())),
            "ratio": round(float(np.median(rates[name][:, 0]) / limit[0]), 2),
            "samples_per_cpu_sec": round(float(np.median(rates[name][:, 1]))),
            "ratio_cpu": round(float(np.median(rates[name][:, 1]) / limit[1]), 2),
            "rounds": len(rates[name]),
        }
        for name in race.turns
    ]


def demonstrations(rows: int) -> tuple[Array, Array]:
    """Return observations (R, F) and actions (R,): the largest of 8 linear functions, with noise."""
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((rows, NUM_FEATURES)).astype(np.float32)
    weights = rng.standard_normal((NUM_FEATURES, NUM_ACTIONS)).astype(np.float32)
    noise = 0.5 * rng.standard_normal((rows, NUM_ACTIONS))
    return observations, (observations @ weights + noise).argmax(axis=1).astype(np.int64)


def write(path: Path, observations: Array, actions: Array) -> None:
    """Write a dataset of episodes of 1,000 rows."""
    with DatasetWriter(
        path,
        observation_spaces={"observation": spaces.Box(-10.0, 10.0, (NUM_FEATURES,), np.float32)},
        action_space=spaces.Discrete(NUM_ACTIONS),
    ) as writer:
        for group, first in enumerate(range(0, len(actions), _EPISODE_ROWS)):
            here = slice(first, first + _EPISODE_ROWS)
            count = len(actions[here])
            steps = {
                "observation": observations[here],
                "actions": actions[here],
                "rewards": np.zeros(count, np.float32),
                "terminations": np.arange(count) == count - 1,
                "truncations": np.zeros(count, np.bool_),
            }
            writer.add(Trajectory(steps=steps, ending="terminated", group=group))


@dataclass(frozen=True, slots=True)
class Turn:
    """One contender's part of a round.

    Attributes:
        samples: rows learned from.
        seconds: wall-clock time.
        cpu_seconds: processor time of this process.
    """

    samples: float
    seconds: float
    cpu_seconds: float

    @property
    def rates(self) -> tuple[float, float]:
        """Samples per second of either clock."""
        return self.samples / max(self.seconds, 1e-9), self.samples / max(self.cpu_seconds, 1e-9)


def clocks() -> Array:
    """Return wall-clock and processor time, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


@dataclass(slots=True)
class Race:
    """The tracker and the stop signal of our run: after each pass it lets the others have their turn.

    Attributes:
        seconds: how long ours learns.
        others: name -> what learns for another slice of time.
        turns: name -> its part of each round.
        requested: whether our run is to stop.
    """

    seconds: float
    others: Mapping[str, Callable[[], Turn]]
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    requested: bool = False
    _since: Array | None = None

    def log(self, record: Mapping[str, Any]) -> None:
        """Take the record of one of our passes, whose time is all since the others' last turn, and let them learn."""
        if self._since is not None:
            spent = clocks() - self._since
            self.turns.setdefault("townlet", []).append(Turn(record["transitions"], *spent.tolist()))
        for name, contend in self.others.items():
            turn = contend()
            if self._since is not None:
                self.turns.setdefault(name, []).append(turn)
        own = self.turns.get("townlet", [])
        self.requested = len(own) > 1 and sum(turn.seconds for turn in own) >= self.seconds
        self._since = clocks()

    def close(self) -> None:
        """Do nothing."""


def _train(registry: Registry, dataset: Path, race: Race, *, batch_size: int, num_threads: int) -> None:
    settings = {
        "dataset": str(dataset),
        "num_epochs": 1_000_000,
        "batch_size": batch_size,
        "learning_rate_schedule": "constant",
        "hidden": [HIDDEN, HIDDEN],
        "held_out_fraction": 0.0,
        "evaluate_episodes": 0,
    }
    config = SimulationConfig(
        training=TrainingConfig(strategy="bc", num_threads=num_threads, device="cpu"), strategies={"bc": settings}
    )
    resolver = PluginResolver(registry, trust_code=False)
    context = TrainingContext.from_config(registry.resolve_config(config), resolver=resolver, trackers=race, stop=race)
    try:
        resolver.strategy("bc").run(context)
    except RunInterrupted:
        if not race.requested:
            raise


def contenders(observations: Array, actions: Array, batch_size: int) -> dict[str, Callable[[], Turn]]:
    """Return name -> what learns for a slice of time."""
    made = {
        "bare loop": _torch_loop(observations, actions, batch_size, fused=False),
        LIMIT: _torch_loop(observations, actions, batch_size, fused=True),
        "DataLoader": _torch_loop(observations, actions, batch_size, fused=False, loader=True),
    }
    if is_installed("imitation"):
        made["imitation"] = _imitation(observations, actions, batch_size)
    return made


def _torch_loop(
    observations: Array, actions: Array, batch_size: int, *, fused: bool, loader: bool = False
) -> Callable[[], Turn]:
    """Return a loop as it is usually written: tensors in memory, taken by a permutation or by a `DataLoader`."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    seen, taken = torch.from_numpy(observations), torch.from_numpy(actions)
    network = nn.Sequential(
        nn.Linear(NUM_FEATURES, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.Tanh(),
        nn.Linear(HIDDEN, NUM_ACTIONS),
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=fused)
    dataset = DataLoader(TensorDataset(seen, taken), batch_size, shuffle=True, drop_last=True)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            if loader:
                yield from dataset
                continue
            order = torch.randperm(len(seen))
            for first in range(0, len(order) - batch_size + 1, batch_size):
                rows = order[first : first + batch_size]
                yield seen[rows], taken[rows]

    stream = batches()

    def contend() -> Turn:
        begin, count = clocks(), 0
        while (spent := clocks() - begin)[0] < _SLICE_SEC or count == 0:
            inputs, labels = next(stream)
            loss = nn.functional.cross_entropy(network(inputs), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            count += len(labels)
        return Turn(count, *spent.tolist())

    return contend


def _imitation(observations: Array, actions: Array, batch_size: int) -> Callable[[], Turn]:
    """Return the loop of the library `imitation`, without its progress bar."""
    from importlib import import_module

    bc, types = import_module("imitation.algorithms.bc"), import_module("imitation.data.types")
    logger = import_module("imitation.util.logger")
    policies = import_module("stable_baselines3.common.policies")

    count, folder = len(actions), tempfile.TemporaryDirectory()
    transitions = types.Transitions(
        obs=observations,
        acts=actions,
        infos=np.array([{}] * count),
        next_obs=observations,
        dones=np.zeros(count, np.bool_),
    )
    box = spaces.Box(-10.0, 10.0, (NUM_FEATURES,), np.float32)
    policy = policies.ActorCriticPolicy(box, spaces.Discrete(NUM_ACTIONS), lambda _: 1e-3, net_arch=[HIDDEN, HIDDEN])
    trainer = bc.BC(
        observation_space=box,
        action_space=spaces.Discrete(NUM_ACTIONS),
        rng=np.random.default_rng(0),
        demonstrations=transitions,
        policy=policy,
        batch_size=batch_size,
        device="cpu",
        custom_logger=logger.configure(folder.name, ["log"]),  # by default it prints on standard output
    )

    def contend() -> Turn:
        begin, done = clocks(), 0
        while (spent := clocks() - begin)[0] < _SLICE_SEC or done == 0:
            trainer.train(n_batches=20, progress_bar=False, log_interval=10**9)
            done += 20 * batch_size
        assert Path(folder.name).is_dir()  # it is there as long as this function is
        return Turn(done, *spent.tolist())

    return contend
