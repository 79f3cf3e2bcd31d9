"""`townlet promote`: make a policy the champion, if it has earned it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from townlet_core.cli.release_options import (
    actor,
    change_options,
    comparison,
    encoder_resolver,
    evidence_options,
    policy_source,
    promotion_service,
)
from townlet_core.cli.state import CliState, pass_state
from townlet_core.cli.tables import count, printable
from townlet_core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from townlet_core.dto.promotion import PromotionEvidence, PromotionOutcome


@click.command("promote", short_help="Make a policy the champion, if it has earned it.")
@click.argument("policy", metavar="RUN_OR_POLICY")
@evidence_options
@click.option("--force", is_flag=True, help="Whatever speaks against it: recorded as a swap by hand; needs --reason.")
@change_options
@pass_state
@click.pass_context
def command(
    ctx: click.Context,
    state: CliState,
    /,
    policy: str,
    *,
    evidence_path: Path | None,
    trust_config: bool,
    force: bool,
    config: Path | None,
    sets: Sequence[str],
    by: str | None,
    reason: str,
    releases_dir: Path | None,
    as_json: bool,
) -> None:
    """Make the policy of a run, an artefact, or a release (such as 'candidate') the champion.

    That takes as many policies that passed in a row as promotion.required_passes says, of which it is one; a
    comparison with the champion in which it is not worse (while there is none, with the script or, where there is no
    script, with chance); and a bundle that verifies. The exit code is 1 if it is refused; nothing is changed then.
    """
    from townlet_core.dto.promotion import PromotionOutcome

    service = promotion_service(releases_dir, config=config, sets=sets)
    head = service.status().head
    source = policy_source(service, policy)
    encoders = encoder_resolver(state)
    if force:
        if not reason.strip() or evidence_path is not None:
            raise UsageError("--force sets the champion by hand: it needs --reason, and no --evidence")
        outcome = service.swap(source, by=actor(by), reason=reason, encoders=encoders)
    else:
        obstacles = service.obstacles(source, encoders=encoders)
        outcome = PromotionOutcome(done=False, reasons=obstacles)
        if not obstacles:
            evidence, kept = comparison(state, service, source, evidence_path, trust_config=trust_config)
            outcome = service.promote(
                source,
                evidence,
                by=actor(by),
                reason=reason,
                evidence_file=kept,
                expected_head=head,
                encoders=encoders,
            )
    report(outcome, as_json=as_json)
    ctx.exit(ExitCode.OK if outcome.done else ExitCode.HOLD)


def report(outcome: PromotionOutcome, *, as_json: bool) -> None:
    """Print what came of a move."""
    if as_json:
        click.echo(outcome.model_dump_json(indent=2))
        return
    if not outcome.done:
        click.echo(
            "\n".join(["refused, and nothing was changed:", *(f"  {printable(why)}" for why in outcome.reasons)])
        )
        return
    event = outcome.event
    assert event is not None
    release = "none" if event.release is None else f"sha256 {event.release[:12]}"
    lines = [("event", event.event if event.verdict is None else f"{event.event}, {event.verdict}")]
    if event.verdict is None:
        previous = "none" if event.previous_release is None else f"sha256 {event.previous_release[:12]}"
        lines += [("champion", f"{release}, before it {previous}")]
    else:
        lines += [("policy", f"sha256 {event.policy[:12]}")]
    if event.evidence is not None:
        lines.append(("compared", evidence_text(event.evidence)))
    if event.run:
        lines.append(("run", event.run))
    lines.append(("state", state_text(event.state, event.streak, event.required_passes)))
    lines += [("note", reason) for reason in outcome.reasons]
    for name, text in lines:
        click.echo(f"{name:<12} {printable(text)}")


def evidence_text(evidence: PromotionEvidence) -> str:
    """Return a comparison in one line."""
    from townlet_core.services.suites import OWN

    against = evidence.against[:12]
    numbers = f"{evidence.difference:+.4g} ({evidence.low:+.4g} to {evidence.high:+.4g})"
    episodes = count(evidence.episodes, "episode")
    where = "in its own environment" if evidence.suite == OWN else f"of suite {evidence.suite}"
    return f"with {against}: {evidence.metric} {numbers}, {episodes} {where}"


def state_text(state: str, streak: int, required: int | None) -> str:
    """Return a state and its streak in words."""
    if required is not None and streak > required:
        return f"{state}, {streak} passed in a row ({required} needed)"
    asked = "" if required is None else f" of {required}"
    return f"{state}, {streak}{asked} passed in a row"
