"""What every strategy shares: which one, the seed, the device, and where the run is kept."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from townlet_core.config.base import Settings


class TrainingConfig(Settings):
    """The section `training`."""

    strategy: str = Field(
        default="ppo",
        min_length=1,
        max_length=256,
        description="Name of the training strategy; `townlet plugins` lists them.",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of every random number of the run. [1]")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="Where networks are trained: auto (the GPU if there is one), cpu, cuda or cuda:N.",
    )
    num_threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Threads to learn with; null = chosen once per run by the size of what is multiplied, and "
        "recorded: one where products are small. Networks that are differentiated in closed form have the same bytes "
        "with any number; with others, bytes depend on it. [threads]",
    )
    runs_dir: Path = Field(default=Path("runs"), description="Directory in which a new run's directory is made.")
    checkpoint_every: int = Field(
        default=10, ge=1, le=1_000_000_000, description="Updates between two checkpoints. [updates]"
    )
    keep_checkpoints: int = Field(
        default=2,
        ge=1,
        le=1_000_000,
        description="Newest checkpoints that are kept; the best one, where there is one, is kept as well. "
        "[checkpoints]",
    )
    evaluate_every: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Updates between two evaluations of what PPO has learned, always on the same seeds, and after the "
        "last update; 0 = never. The best policy is kept, and is what the run gives: in the town by the mean reward of "
        "an agent's tick, elsewhere by the mean return. Nothing that is learned depends on it. Anneal judges its "
        "stages itself, and takes 0 alone. [updates]",
    )
    evaluate_episodes: int = Field(
        default=16,
        ge=1,
        le=1_000_000,
        description="Episodes of each of these evaluations. Actions are sampled, as while learning: in the town, the "
        "most likely action alone may wait for ever. [episodes]",
    )
    capture_rollouts: bool = Field(
        default=False,
        description="Whether what the strategy does while it learns is recorded as well, as a dataset in capture/ of "
        "the run's directory; a run that is resumed goes on in capture-2/, and so on. A kill loses what was not "
        "written yet, at most 100,000 agent-steps.",
    )
