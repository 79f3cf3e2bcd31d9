"""How well a policy that was cloned from some days of the town's script does what the script does.

Demonstrations, the test days that accuracy is measured on, and the days on which rewards are compared are drawn from
seeds of their own; nothing that is measured has been learned from.

Legend: R rows.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from townlet_core.bench.town_score import measure_score
from townlet_core.config.root import SimulationConfig
from townlet_core.orchestrator.capture import Amount, capture_dataset
from townlet_core.orchestrator.orchestrator import TrainingOrchestrator
from townlet_core.policy.artefact import load_artefact
from townlet_core.replay.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from townlet_core.plugins.registry import Registry
    from townlet_core.policy.base import Policy

TEST_DAYS, TEST_SEED = 4, 1_000_003
"""Days that accuracy is measured on, and the seed that theirs are drawn from."""


def measure_clones(
    registry: Registry,
    *,
    days: Sequence[int],
    seeds: int,
    variant: str = "compact",
    settings: dict[str, Any] | None = None,
    score_worlds: int = 32,
) -> Iterator[dict[str, Any]]:
    """Yield one row of figures for each number of days and each seed 0 to `seeds` - 1.

    `share` is the clone's reward as a share of the way from random choice to the script: 1 is as good as the script.

    Args:
        registry: where BC is found.
        days: numbers of demonstrated days, each of one world of eight agents.
        seeds: how many.
        variant: what agents see.
        settings: of `strategies.bc`.
        score_worlds: days that a clone is scored on.

    Raises:
        UnavailableError: BC, or torch, is not installed.
    """
    with tempfile.TemporaryDirectory() as place:
        yield from _rows(registry, Path(place), days, seeds, variant, settings or {}, score_worlds)


def _rows(
    registry: Registry,
    place: Path,
    days: Sequence[int],
    seeds: int,
    variant: str,
    settings: dict[str, Any],
    score_worlds: int,
) -> Iterator[dict[str, Any]]:
    script, chance = (
        measure_score(registry, name, num_worlds=score_worlds)["reward_mean"] for name in ("scripted", "random")
    )
    sets = [f"environment.town.variant={variant}"]

    def capture(name: str, count: int, seed: int) -> Dataset:
        capture_dataset("scripted", place / name, Amount(episodes=count), registry=registry, seed=seed, sets=sets)
        return Dataset(place / name)

    test = capture("test", TEST_DAYS, TEST_SEED)
    for count in days:
        for seed in range(seeds):
            name = f"{count}-{seed}"
            data = capture(f"data-{name}", count, seed)
            run = place / f"run-{name}"
            training = {"seed": seed, "device": "cpu"}
            clone = {"dataset": str(data.path), "evaluate_episodes": 0, **settings}
            if count == 1:  # there is no second day to hold out
                clone["held_out_fraction"] = 0.0
            config = SimulationConfig.model_validate(
                {"training": training, "tracking": {"progress": "off"}, "strategies": {"bc": clone}}
            )
            result: Any = TrainingOrchestrator(config, registry=registry, run_dir=run).run("bc")
            greedy, sampled = (
                measure_score(registry, str(run), num_worlds=score_worlds, deterministic=is_greedy)
                for is_greedy in (True, False)
            )
            yield {
                "days": count,
                "seed": seed,
                "rows": data.num_rows,
                "epochs": result.num_epochs_done,
                "accuracy": round(accuracy(load_artefact(run / "policy").policy(), test), 4),
                "reward_greedy": greedy["reward_mean"],
                "reward_sampled": sampled["reward_mean"],
                "reward_script": script,
                "reward_random": chance,
                "share_greedy": round((greedy["reward_mean"] - chance) / (script - chance), 3),
                "share_sampled": round((sampled["reward_mean"] - chance) / (script - chance), 3),
                "faints_per_day": greedy["faints_per_day"],
                "attendance": greedy["attendance"],  # a whole day has shifts
            }


def accuracy(policy: Policy, dataset: Dataset) -> float:
    """Return the share of a dataset's rows in which the policy's most likely action is the recorded one."""
    right = 0
    names = list(dataset.manifest.observation_spaces)
    for _, trajectory in dataset.trajectories():
        seen = {name: np.asarray(trajectory.steps[name])[:, None] for name in names}
        mask = trajectory.steps.get("action_mask")
        rows = np.ones((trajectory.num_steps, 1), np.bool_)
        step = policy.act(seen, None if mask is None else np.asarray(mask)[:, None], rows, None)
        right += int(np.count_nonzero(step.actions[:, 0] == trajectory.steps["actions"]))
    return right / dataset.num_rows
