"""`townlet releases`: which policies were released, how they stand, and whether every byte is right."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from townlet_core.cli.promote import evidence_text, report, state_text
from townlet_core.cli.release_options import (
    actor,
    change_options,
    comparison,
    directory_options,
    encoder_resolver,
    evidence_options,
    policy_source,
    promotion_service,
)
from townlet_core.cli.replay_lineage import lineage_lines
from townlet_core.cli.state import CliState, pass_state
from townlet_core.cli.tables import clipped, count, printable, size, table
from townlet_core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from townlet_core.dto.comparison import Verdict
    from townlet_core.dto.promotion import PromotionStatus, ReleaseEvent, StoreFinding
    from townlet_core.releases.log import History

_ALIASES = ("champion", "candidate", "previous")


@click.group("releases", invoke_without_command=True, short_help="List, show and verify released policies.")
@directory_options
@click.pass_context
def command(ctx: click.Context, releases_dir: Path | None, as_json: bool) -> None:
    """List releases, show or verify them."""
    given = [name for name in ctx.params if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if ctx.invoked_subcommand is None:
        _list(releases_dir, events=False, as_json=as_json)
    elif given:
        raise click.UsageError(f"options stand after '{ctx.invoked_subcommand}'", ctx=ctx)


@command.command("list")
@click.option("--events", is_flag=True, help="Every event, instead of every release.")
@directory_options
def list_command(releases_dir: Path | None, *, events: bool, as_json: bool) -> None:
    """List releases, newest first; the same as 'townlet releases' alone."""
    _list(releases_dir, events=events, as_json=as_json)


@command.command("show")
@click.argument("release")
@directory_options
def show_command(release: str, releases_dir: Path | None, *, as_json: bool) -> None:
    """Show a release and its events. RELEASE is candidate, champion, previous, or the beginning of a digest."""
    store = promotion_service(releases_dir).store
    digest = store.find(release)
    history = store.history()
    events = [event for event in history.events if digest in (event.release, event.previous_release)]
    facts = {
        "release": digest,
        "aliases": _aliases(history, digest),
        "run": history.run_of(digest),
        "path": str(store.bundle_path(digest)),
    }
    if as_json:
        click.echo(json.dumps(facts | {"events": [event.model_dump(mode="json") for event in events]}, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name:<8} {printable(', '.join(value) if isinstance(value, list) else str(value)) or '-'}")
    compared = [
        line
        for event in events
        if event.evidence is not None
        for line in textwrap.wrap(
            f"event {event.sequence} compared {printable(evidence_text(event.evidence))}", 80, subsequent_indent="  "
        )
    ]
    click.echo("\n" + "\n".join([*_event_lines(events), "", *compared] if compared else _event_lines(events)))


@command.command("verify")
@directory_options
@click.pass_context
def verify_command(ctx: click.Context, releases_dir: Path | None, *, as_json: bool) -> None:
    """Read every byte of the releases, and name what is not as it was written. Exit code 65 if there is anything."""
    from townlet_core.releases.verify import verify

    result = verify(promotion_service(releases_dir).releases_dir)
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        for finding in result.problems:
            click.echo(f"wrong     {_finding(finding)}")
        for finding in result.leftovers:
            click.echo(f"left over {_finding(finding)}")
        read = f"{count(result.events, 'event')}, {count(result.bundles, 'bundle')}, {size(result.num_bytes)} read"
        click.echo(f"{count(len(result.problems), 'problem') if result.problems else 'all is right'}: {read}")
    ctx.exit(ExitCode.BAD_DATA if result.problems else ExitCode.OK)


@command.command("lineage")
@click.argument("release")
@directory_options
@pass_state
def lineage_command(state: CliState, /, release: str, *, releases_dir: Path | None, as_json: bool) -> None:
    """Tell what a release was made from: its run, the run's dataset or first policy, and what made those.

    Everything is known by its digest. What is not where it was is looked for beside the releases, and in 'runs' there.
    """
    from townlet_core.services.lineage import release_lineage

    service = promotion_service(releases_dir)
    bundle = service.store.verified_bundle(service.store.find(release))
    runs_dir = service.releases_dir.parent / "runs"
    tree = release_lineage(bundle, runs_dir=runs_dir, encoders=encoder_resolver(state))
    click.echo(tree.model_dump_json(indent=2) if as_json else "\n".join(lineage_lines(tree)))


@command.command("record")
@click.argument("policy", metavar="RUN_OR_POLICY")
@click.option("--verdict", type=click.Choice(["PASS", "HOLD", "FAIL"]), help="What was found of it.")
@evidence_options
@change_options
@pass_state
def record_command(
    state: CliState,
    /,
    *,
    policy: str,
    verdict: Verdict | None,
    evidence_path: Path | None,
    trust_config: bool,
    config: Path | None,
    sets: Sequence[str],
    by: str | None,
    reason: str,
    releases_dir: Path | None,
    as_json: bool,
) -> None:
    """Record a verdict on the policy of a run, or on an artefact, which a strategy has not recorded itself.

    Without --verdict the policy is compared with the champion (while there is none, with the script or, where there
    is no script, with chance), and the verdict is whether it is not worse. PASS makes the streak longer, FAIL ends it,
    HOLD leaves it as it is.
    """
    service = promotion_service(releases_dir, config=config, sets=sets)
    source = policy_source(service, policy)
    if verdict is not None and (evidence_path is not None or not reason.strip()):
        raise UsageError("--verdict is a verdict of your own: it needs --reason, and no --evidence")
    evidence, kept, found = None, b"", verdict
    if found is None:
        evidence, kept = comparison(state, service, source, evidence_path, trust_config=trust_config)
        found = evidence.verdict
    outcome = service.record_verdict(
        source,
        found,
        by=actor(by),
        reason=reason,
        evidence=evidence,
        evidence_file=kept,
        encoders=encoder_resolver(state),
    )
    report(outcome, as_json=as_json)


def _finding(finding: StoreFinding) -> str:
    return printable(f"{finding.path}: {finding.text}")


def _list(releases_dir: Path | None, *, events: bool, as_json: bool) -> None:
    from townlet_core.releases.status import status_of

    service = promotion_service(releases_dir)
    history = service.store.history()
    status = status_of(history)
    if as_json:
        shown: dict[str, Any] = status.model_dump(mode="json", exclude={"schema_version", "events"})
        shown["releases"] = [_row(history, release) for release in _newest_first(history)]
        shown["events"] = [event.model_dump(mode="json") for event in history.events]
        click.echo(json.dumps(shown, indent=2))
    elif not history.events:
        click.echo(f"no releases yet: {service.releases_dir} holds none; 'townlet releases record RUN' begins them")
    else:
        click.echo("\n".join(_status_lines(status, service.settings.required_passes)) + "\n")
        click.echo("\n".join(_event_lines(history.events) if events else _release_lines(history)))


def _status_lines(status: PromotionStatus, required: int) -> list[str]:
    aliases = [(name, getattr(status, name)) for name in _ALIASES]
    return [
        f"state      {state_text(status.state, status.streak, required)}",
        *(f"{name:<10} {release[:12] if release else '-'}" for name, release in aliases),
    ]


def _release_lines(history: History) -> list[str]:
    rows = []
    for release in _newest_first(history):
        row = _row(history, release)
        alias = row["aliases"][0] if row["aliases"] else "-"
        rows.append(
            [release[:12], alias, clipped(printable(row["run"]) or "-", 24), row["event"], _minute(row["time"])]
        )
    return table(("RELEASE", "ALIAS", "RUN", "LAST EVENT", "TIME"), rows) if rows else ["no policy has passed yet"]


def _event_lines(events: tuple[ReleaseEvent, ...] | list[ReleaseEvent]) -> list[str]:
    rows = [
        [
            str(event.sequence),
            _minute(event.time),
            f"verdict {event.verdict}" if event.event == "verdict" else event.event,
            event.policy[:12],
            event.state,
            str(event.streak),
            clipped(printable(event.by), 10),
        ]
        for event in events
    ]
    header = ("#", "TIME", "EVENT", "POLICY", "STATE", "STREAK", "BY")
    return table(header, rows, right=("#", "STREAK"))


def _row(history: History, release: str) -> dict[str, Any]:
    own = [event for event in history.events if event.release == release]
    return {
        "release": release,
        "aliases": _aliases(history, release),
        "run": history.run_of(release),
        "event": own[-1].event,
        "time": own[-1].time,
    }


def _aliases(history: History, release: str) -> list[str]:
    return [name for name in _ALIASES if getattr(history.state, name) == release]


def _newest_first(history: History) -> list[str]:
    return list(dict.fromkeys(event.release for event in reversed(history.events) if event.release))


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")
