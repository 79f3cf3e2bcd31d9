"""`townlet train`: run a strategy, show its progress, and say what came of it."""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from townlet_core.cli.evaluate import VERDICTS
from townlet_core.cli.options import config_argument, config_options, load_from_options
from townlet_core.cli.state import CliState, pass_state
from townlet_core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from townlet_core.config.load import LoadedConfig
    from townlet_core.dto.base import TrainingResultBase
    from townlet_core.runs.layout import RunDirectory

_LITTLE = 0.05
"""Share of repeated observations below which the ceiling of the labels says next to nothing."""
_PATH = click.Path(path_type=Path)


@click.command(short_help="Train a policy with a strategy.")
@config_argument
@config_options
@click.option("--from", "initial_policy", type=_PATH, metavar="ARTEFACT", help="Start from this policy, or this run's.")
@click.option("--run-dir", type=_PATH, metavar="DIR", help="Directory of the run; by default a new one in runs/.")
@click.option(
    "--resume", is_flag=True, help="Go on with an interrupted run: that of --run-dir, or the newest that fits."
)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N: training.device.")
@click.option(
    "--telemetry",
    type=click.Choice(["2.0", "1.2"]),
    help="Version of telemetry.jsonl: tracking.telemetry.",
)
@click.option(
    "--exit-verdict", is_flag=True, help="End with 0 for PASS, 1 for HOLD and 2 for FAIL; 0 where there is no verdict."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@pass_state
@click.pass_context
def command(
    ctx: click.Context,
    state: CliState,
    /,
    config: Path | None,
    *,
    initial_policy: Path | None,
    run_dir: Path | None,
    resume: bool,
    device: str | None,
    telemetry: str | None,
    exit_verdict: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Train a policy.

    CONFIG is a YAML or JSON file, which 'townlet config init' writes; every value can be set with --set as well.

    \b
    townlet train --strategy ppo --env gymnasium:CartPole-v1
    townlet train run.yaml --set strategies.ppo.learning_rate=0.001
    townlet train --resume --run-dir runs/20261123-064108-ppo-ab12
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    from townlet_core.orchestrator import TrainingOrchestrator

    loaded = _load(state, config, run_dir=run_dir, resume=resume, device=device, tracking__telemetry=telemetry, **given)
    if resume and run_dir is None:
        run_dir = _newest_resumable(loaded)
    orchestrator = TrainingOrchestrator(
        loaded.config,
        registry=state.registry,
        run_dir=run_dir,
        resume=resume,
        initial_policy=initial_policy,
        trust_code=loaded.trust_code,
    )
    with redirect_stdout(sys.stderr):  # what an environment prints is not the result
        result = orchestrator.run()
    assert orchestrator.run_directory is not None
    _report(result, orchestrator.run_directory, as_json=as_json)
    if exit_verdict:
        ctx.exit(VERDICTS.get(getattr(result, "status", "PASS"), ExitCode.OK))


def _load(
    state: CliState, config: Path | None, *, run_dir: Path | None, resume: bool, device: str | None, **given: Any
) -> LoadedConfig:
    """Return the configuration; that of the run itself when one is resumed and nothing else was named."""
    if resume and run_dir is not None and config is None:
        from townlet_core.runs.layout import RunDirectory

        config = RunDirectory.open(run_dir).config_path
    return load_from_options(state, config, training__device=device, **given)


def _newest_resumable(loaded: LoadedConfig) -> Path:
    from townlet_core.config.dump import config_digest
    from townlet_core.runs.listing import find_resumable

    return find_resumable(loaded.config.training.runs_dir, config_digest(loaded.config)).path


def _evaluation(run: RunDirectory, trained_in: str) -> str:
    """Return the command that evaluates the run's policy in its own environment, as the run itself did."""
    from townlet_core.config.document import read_document
    from townlet_core.environments.build import runs_code

    words, record = ["townlet", "evaluate", os.fspath(run.path), "--episodes", "100"], run.record()
    if runs_code(record.environment):
        words += ["--env", record.environment]
    if _samples(read_document(run.config_path).values, record.strategy, trained_in or record.environment):
        words.append("--stochastic")
    return shlex.join(words)


def _samples(config: Mapping[str, Any], strategy: str, environment: str) -> bool:
    """Return whether the run sampled the actions it was evaluated by, or samples are the better policy: in the town."""
    settings = config["strategies"].get(strategy, {})
    if "evaluate_deterministic" in settings:
        return not settings["evaluate_deterministic"]
    return environment == "town" or bool(config["training"].get("evaluate_every"))


def _trained_in(policy: Path) -> str:
    """Return the environment that an artefact is from; empty where recordings did not say."""
    from townlet_core.policy.artefact import DOCUMENT_FILE, PolicyDocument

    return PolicyDocument.model_validate_json((policy / DOCUMENT_FILE).read_bytes()).provenance.environment


def _cloning(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what there is to say about a cloned policy; nothing about others."""
    lines = []
    if data.get("accuracy") is not None:
        groups = data["num_held_out_groups"]
        text = f"{data['accuracy']:.4f} on {data['num_held_out_rows']:,} held-out rows of {groups:,} world-episode"
        lines.append(("accuracy", text + ("" if groups == 1 else "s")))
        lines.append(("", _allowed(data["accuracy_ceiling"], data["ceiling_repeated_share"])))
    if data.get("gate_passed") is not None:
        threshold = f"accuracy {data['gate_threshold']:g}"
        lines.append(("gate", f"passed ({threshold})" if data["gate_passed"] else f"not passed: {data['gate_reason']}"))
    if data.get("rollout_return_mean") is not None:
        for name, kind in (("rollout", "return"), ("", "reward")):
            text, recorded = f"{kind} {data[f'rollout_{kind}_mean']:.4g}", data[f"demonstrator_{kind}_mean"]
            text += " an agent and step" if kind == "reward" else ""
            lines.append((name, text if recorded is None else f"{text} (demonstrator {recorded:.4g})"))
    elif data.get("rollout_skipped"):
        lines.append(("rollout", f"none: {data['rollout_skipped']}"))
    return lines


def _allowed(ceiling: float | None, repeated: float) -> str:
    """Return what is known of the accuracy that the labels allow; it shows only where observations occur twice."""
    if ceiling is None:
        return "what the labels allow is unknown: no observation occurs twice"
    if repeated < _LITTLE:
        return f"what the labels allow is unknown: {repeated:.1%} of the observations occur twice"
    return f"the labels allow {ceiling:.4f}"


def _steps(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how much was learned from, in all and up to the pass that was kept."""
    kept = data.get("agent_steps")
    if kept is None:
        return []
    done = data.get("agent_steps_done", kept)
    lines = [("agent-steps", f"{done:,}")]
    if data.get("num_held_out_rows"):
        lines.append(("best pass", f"{data['epoch']} of {data['num_epochs_done']}, after {kept:,} agent-steps"))
    return lines


def _best(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how the best evaluated policy did, and whether it is the one that the run gives."""
    if data.get("best_score") is None:
        return []
    text = f"{data['best_score']:.4g} in evaluation, at update {data['best_update']:,} of {data['epoch']:,}"
    is_lost = data["artefact"] is not None and data["artefact"]["kind"] != "best"
    return [("best", text + ("; it is lost, and the policy is that of the last update" if is_lost else ""))]


def _streak(data: dict[str, Any]) -> str:
    """Return what the verdict of an anneal run did to the releases."""
    if data["promotion_streak"] is None:
        return f"not recorded: {data['promotion_note']}"
    text = f"{data['promotion_streak']} in a row passed"
    return f"{text}; 'townlet promote' can make one the champion" if data["promotion_ready"] else text


def _report(result: TrainingResultBase, run: RunDirectory, *, as_json: bool) -> None:
    from townlet_core.orchestrator.training_capture import captures
    from townlet_core.runs.listing import summarise

    data = result.model_dump(mode="json")
    if as_json:
        click.echo(json.dumps({"run_dir": str(run.path), **data}, indent=2))
        return
    lines = [("run", str(run.path)), *_steps(data), *_cloning(data)]
    if data.get("episode_return_mean") is None and (last := summarise(run.path).last_return) is not None:
        lines.append(("return", f"{last:.1f} (the last update in which an episode ended)"))
    elif data.get("episode_return_mean") is not None:
        text = f"{data['episode_return_mean']:.1f}"
        if data.keys() >= {"episodes", "episode_return_min", "episode_return_max"}:
            low, high = data["episode_return_min"], data["episode_return_max"]
            count = "last episode" if data["episodes"] == 1 else f"last {data['episodes']} episodes"
            text += f" ({count}, {low:g} to {high:g})"
        lines.append(("return", text))
    lines += _best(data)
    if "stages" in data:
        lines.append(("status", f"{data['status']}: {data['reason']}"))
        lines.append(("streak", _streak(data)))
    lines.append(("seconds", f"{result.duration_sec:.1f}"))
    lines += [("capture", str(path)) for path in captures(run.path)]
    if result.artefact is not None:
        policy = run.path / result.artefact.path
        lines.append(("policy", f"{policy}  artefact sha256 {result.artefact.digest[:12]}"))
        trained_in = _trained_in(policy)
        is_homeless = data.get("data_mode") == "replay" and not trained_in
        if not (is_homeless or data.get("rollout_skipped")):  # what could not be run would not run there either
            lines.append(("next", _evaluation(run, trained_in)))
    if "stages" in data:
        from townlet_core.cli.anneal_table import stage_lines

        click.echo("\n".join([*stage_lines(data), ""]))
    for name, text in lines:
        click.echo(f"{name:<12} {text}")
