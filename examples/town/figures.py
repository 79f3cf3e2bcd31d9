"""Makes the figures about the town in docs/explanation/anneal.md again.

    python examples/town/figures.py DIR                        about 50 minutes of one processor
    python examples/town/figures.py DIR --only table --seeds 1 2

DIR is made, or gone on with: what is in it already is not run again. Every policy samples its actions.
"""  # noqa: INP001  (a script)

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.numpy

from townlet_core import TrainingOrchestrator
from townlet_core.checkpoint.store import CheckpointStore
from townlet_core.cli.main import main as townlet
from townlet_core.config.base import settings_from
from townlet_core.config.load import load_config
from townlet_core.dto.evaluation import EvaluationResultDTO
from townlet_core.environments.build import make_environment
from townlet_core.policy.artefact import PolicyArtefact, load_artefact
from townlet_core.policy.encoder import built_in_encoder
from townlet_core.policy.learner_arrays import ARRAYS_FILE, COUNTERS_FILE, moments_of
from townlet_core.policy.weights import layout
from townlet_core.services.comparison import compare
from townlet_core.services.contender import Contender, artefact_contender, script_contender
from townlet_core.services.evaluation import EvaluationService
from townlet_core.services.suites import Suite, load_suite, own_suite
from townlet_strategies_anneal.settings import AnnealSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from townlet_core.config.root import SimulationConfig

EVERY = 8
"""Updates between two policies of a run that are held against the script. [updates]"""
DAYS = 8
"""Days on which a policy is evaluated after each update of a hand-over. [world-episodes]"""
KEPT = {"training.keep_checkpoints": 1_000, "training.checkpoint_every": EVERY}
SCRATCH = {"strategies.ppo.entropy_coef": 0.005, "strategies.ppo.learning_rate_schedule": "linear"}
"""What PPO has without a clone, besides what stands in town.yaml: the settings of docs/explanation/town.md."""


class Figures:
    """Runs what is missing, and reads what is there.

    Args:
        home: everything is made in it.
        config: file of the runs.
        suite: what final policies are compared on.
        updates: of a hand-over.
    """

    def __init__(self, home: Path, config: Path, suite: str, updates: int) -> None:
        self.home, self.config, self.suite, self.updates = home, config, load_suite(suite), updates
        self.dataset = home / "demonstrations"
        section = load_config(config).config.strategies["anneal"]
        self.anneal = settings_from(AnnealSettings, section, path="strategies.anneal")

    def capture(self, days: int) -> None:
        """Record what the script does."""
        if not (self.dataset / "dataset.json").exists():
            compact = ["--set", "environment.town.variant=compact"]
            townlet(["capture", "--episodes", str(days), *compact, "--out", str(self.dataset)])

    def protection(self) -> dict[str, Any]:
        """Return what anneal gives the first stage after the clone."""
        anneal, weight = self.anneal, self.anneal.schedule[1].bc_weight
        return {
            "critic_warmup_updates": anneal.critic_warmup_updates,
            "actor_ramp_updates": anneal.actor_ramp_updates,
            "reference_kl_coef": anneal.reference_kl_coef * weight,
            "demonstration_coef": anneal.demonstration_coef * weight,
            "protection_schedule": "constant",
            "dataset": self.dataset,
        }

    def settings(self, **options: Any) -> SimulationConfig:
        """Return the configuration with other options, by dotted path."""
        given = {"strategies.bc.dataset": self.dataset, "training.runs_dir": self.home, "tracking.progress": "off"}
        return load_config(self.config, options=given | options).config

    def trained(self, name: str, strategy: str, options: Mapping[str, Any], begin: Path | None = None) -> Path:
        """Return the directory of a run, which is made where it is missing."""
        run, config = self.home / name, self.settings(**{"training.strategy": strategy, **options})
        if not (run / "result.json").exists():
            _say(f"... {name}")
            trainer = TrainingOrchestrator(config, run_dir=run, resume=run.exists(), initial_policy=begin)
            trainer.run()
        return run

    def annealed(self, seed: int) -> Path:
        """Return the run of town.yaml."""
        return self.trained(f"anneal-{seed}", "anneal", {"training.seed": seed, **KEPT})

    def scratch(self, seed: int) -> Path:
        """Return a run of PPO alone, of as many agent-steps as the demonstrations and anneal's stages of PPO have."""
        steps = sum(own for _, _, own in stages_of(self.annealed(seed))) + self.recorded()
        options = {"training.seed": seed, "strategies.ppo.total_steps": steps, **SCRATCH, **KEPT}
        return self.trained(f"ppo-{seed}", "ppo", options)

    def recorded(self) -> int:
        """Return the agent-steps of the demonstrations."""
        shards = json.loads((self.dataset / "dataset.json").read_text())["shards"]
        return sum(shard["num_rows"] for shard in shards)

    def evaluated(self, contender: Contender, suite: Suite, key: str) -> EvaluationResultDTO:
        """Return an evaluation, which is made where it is missing."""
        path = self.home / "evaluations" / f"{key}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            result = EvaluationService().evaluate_suite(contender, suite, make_environment)
            path.write_text(result.model_dump_json(indent=1) + "\n")
        return EvaluationResultDTO.model_validate_json(path.read_text())

    def policy(self, artefact: PolicyArtefact, suite: Suite, key: str) -> EvaluationResultDTO:
        """Return the evaluation of a policy; its actions are sampled."""
        contender = artefact_contender(artefact, name=key, encoders=built_in_encoder, deterministic=False)
        return self.evaluated(contender, suite, key)

    def script(self, name: str, suite: Suite, key: str) -> EvaluationResultDTO:
        """Return the evaluation of a script."""
        return self.evaluated(script_contender(name), suite, key)


def stages_of(run: Path) -> list[tuple[Path, int, int]]:
    """Return PPO's stages of a run of anneal: directory, agent-steps it went on from, agent-steps it made itself.

    A run of PPO alone is one stage; nothing follows it, so its own agent-steps are not counted.
    """
    result = json.loads((run / "result.json").read_text())
    if "stages" not in result:
        return [(run, 0, 0)]
    found = []
    for stage in result["stages"]:
        if stage["mode"] == "ppo":
            before = 0 if stage["continues"] is None else result["stages"][stage["continues"] - 1]["agent_steps"]
            found.append((run / stage["path"], before, stage["agent_steps"] - before))
    return found


def earlier_policies(run: Path) -> Iterator[tuple[int, PolicyArtefact]]:
    """Return the agent-steps and the policy of every kept checkpoint of a run or stage of PPO."""
    latest, store = load_artefact(run / "policy"), CheckpointStore(run / "checkpoints")
    for step in store.steps():
        files = store.load(step).files
        arrays, counters = safetensors.numpy.load(files[ARRAYS_FILE]), json.loads(files[COUNTERS_FILE])
        weights = layout(latest.spec, built_in_encoder(latest.spec.encoder.name)).views(arrays["parameters"])
        normalizer = {name: moments_of(arrays, f"normalizer.{name}") for name in latest.normalizer}
        yield counters["agent_steps"], replace(latest, weights=weights, normalizer=normalizer)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """What came of a clone that PPO took over; a share is of the way from random actions to the clone.

    Attributes:
        clone: its score.
        lowest: the lowest score after any update, as a share.
        last: that after the last one, as a share.
    """

    clone: float
    lowest: float
    last: float


def hand_over(figures: Figures, seeds: Sequence[int]) -> Iterator[str]:
    """Return the table of what is left of a clone while PPO takes it over."""
    yield "| PPO | Clone | Lowest score, share of the clone's | Last score, share of the clone's |"
    yield "|---|---|---|---|"
    for title, protection in (("unprotected", {}), ("protected", figures.protection())):
        found = [_handed_over(figures, seed, title, protection) for seed in seeds]
        clones = [one.clone for one in found]
        shares = " | ".join(_listed(getattr(one, name) for one in found) for name in ("lowest", "last"))
        yield f"| {title} | {min(clones):.4f} to {max(clones):.4f} | {shares} |"


def _listed(shares: Iterable[float]) -> str:
    return ", ".join(f"{share:.2f}" for share in shares)


def _handed_over(figures: Figures, seed: int, title: str, protection: Mapping[str, Any]) -> HandOver:
    """Clone the script, let PPO take the clone over, and return what came of it."""
    passes = {"strategies.bc.num_epochs": figures.anneal.schedule[0].epochs}
    clone = figures.trained(f"clone-{seed}", "bc", {"training.seed": seed, **passes})
    options = {
        "training.seed": seed,
        "training.evaluate_every": 1,
        "training.evaluate_episodes": DAYS,
        "strategies.ppo.num_updates": figures.updates,
        **{f"strategies.ppo.{key}": value for key, value in protection.items()},
    }
    run = figures.trained(f"{title}-{seed}", "ppo", options, clone)
    days = own_suite(figures.settings().environment, episodes=DAYS, seed=seed, purpose="selection")
    cloned = figures.policy(load_artefact(clone / "policy"), days, f"hand-over-clone-{seed}").reward_mean
    random = figures.script("random", days, f"hand-over-random-{seed}").reward_mean
    lines = (json.loads(line) for line in (run / "telemetry.jsonl").read_text().splitlines())
    shares = [(line["evaluation_reward_mean"] - random) / (cloned - random) for line in lines]
    return HandOver(clone=cloned, lowest=min(shares), last=shares[-1])


def table(figures: Figures, seeds: Sequence[int]) -> Iterator[str]:
    """Return the table of script, clone, anneal and PPO alone on one suite, and when each is above the script."""
    suite, script = figures.suite, figures.script("scripted", figures.suite, "scripted")
    numbers = ("Reward per agent and tick", "Beside the script, 95 %", "Faints a day", "Shifts attended")
    yield f"| {' | '.join(('Policy', 'Seed', *numbers, 'Conflicts a day', 'Above the script after'))} |"
    yield "|---" * 8 + "|"
    yield _row("random", "", figures.script("random", suite, "random"), script, "")
    yield _row("scripted", "", script, None, "")
    for seed in seeds:
        run = figures.annealed(seed)
        clone = figures.policy(load_artefact(run / "stages" / "001-bc" / "policy"), suite, f"clone-{seed}")
        yield _row("clone", seed, clone, script, "")
    for title, made, begin in (("anneal", figures.annealed, figures.recorded()), ("PPO alone", figures.scratch, 0)):
        for seed in seeds:
            run = made(seed)
            above = _first_above(figures, run, script, begin)
            yield _row(title, seed, figures.policy(load_artefact(run / "policy"), suite, run.name), script, above)


def _row(title: str, seed: object, own: EvaluationResultDTO, script: EvaluationResultDTO | None, above: str) -> str:
    beside = ""
    if script is not None:
        difference = compare(own, script).difference
        beside = f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
    metrics = own.metrics
    town = f"{metrics['faint_events']:.1f} | {metrics['attendance']:.0%} | {metrics['queue_conflict_events']:.0f}"
    return f"| {title} | {seed} | {own.reward_mean:.4f} | {beside} | {town} | {above} |"


def _first_above(figures: Figures, run: Path, script: EvaluationResultDTO, begin: int) -> str:
    """Return after how many agent-steps the whole interval is above the script for the first time."""
    for stage, before, own_steps in stages_of(run):
        for steps, artefact in earlier_policies(stage):
            own = figures.policy(artefact, figures.suite, f"{run.name}-{stage.name}-{steps}")
            if steps > before and compare(own, script).difference.low > 0:
                return f"{begin + steps - before:,}"
        begin += own_steps
    return "not reached"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Make the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, metavar="DIR")
    parser.add_argument("--only", choices=["table", "hand-over"], help="by default both")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("town.yaml"))
    parser.add_argument("--suite", default="town")
    parser.add_argument("--days", type=int, default=32, help="recorded days of the script")
    parser.add_argument("--updates", type=int, default=40, help="of each hand-over")
    asked = parser.parse_args()
    asked.home.mkdir(parents=True, exist_ok=True)
    figures = Figures(asked.home, asked.config, asked.suite, asked.updates)
    figures.capture(asked.days)
    for name, make in (("table", partial(table, figures)), ("hand-over", partial(hand_over, figures))):
        if asked.only in (None, name):
            _say("\n".join(make(asked.seeds)))


if __name__ == "__main__":
    main()
