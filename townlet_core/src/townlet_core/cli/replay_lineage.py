"""`townlet replay lineage`: what a dataset or a policy was made from, as a tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from townlet_core.cli.replay_options import json_option
from townlet_core.cli.state import CliState, pass_state
from townlet_core.cli.tables import count, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from townlet_core.dto.lineage import LineageNode

_STATES = {
    "verified": "",
    "changed": ", but what is there now is another one",
    "missing": ", which was not found",
    "recorded": "",
}


@click.command("lineage", short_help="Tell what a dataset or a policy was made from.")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
@pass_state
def lineage_command(state: CliState, /, path: Path, *, as_json: bool) -> None:
    """Tell what PATH was made from: a dataset, a run, or a policy.

    Datasets and policies are known by their digests. A dataset that was moved is found beside the one that names it,
    a policy in the runs beside what names it or in 'runs' of the working directory.
    """
    from townlet_core.orchestrator.resolver import PluginResolver
    from townlet_core.services.lineage import lineage

    tree = lineage(path, encoders=PluginResolver(state.registry, trust_code=False).encoder)
    if as_json:
        click.echo(tree.model_dump_json(indent=2))
    else:
        click.echo("\n".join(lineage_lines(tree)))


def lineage_lines(node: LineageNode, depth: int = 0) -> Iterator[str]:
    """Yield a line for a node, and indented ones for what it was made from."""
    indent = "  " * depth
    how = ""
    if depth:
        options = ", ".join(f"{name}={_value(value)}" for name, value in node.options.items())
        how = f"<- {printable(node.how)}{f' ({printable(options)})' if options else ''}: "
    yield f"{indent}{how}{printable(_title(node))}{_STATES[node.state]}"
    for child in node.made_from:
        yield from lineage_lines(child, depth + 1)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _title(node: LineageNode) -> str:
    facts = node.facts
    if node.kind == "source":
        who = facts.get("policy") or facts.get("format") or "unknown"
        digest = f" (sha256 {facts['policy_digest'][:12]})" if "policy_digest" in facts else ""
        place = "/".join(facts[name] for name in ("environment", "scenario") if name in facts)
        files = f" from {node.path}" if node.path else ""
        return f"{who}{digest}{f' in {place}' if place else ''}{files}"
    size = f", {count(facts['agent_steps'], 'agent-step')}" if facts.get("agent_steps") else ""
    digest = f" sha256 {node.digest[:12]}" if node.digest else ""
    place = f" {node.path}" if node.path and node.kind != "release" else ""  # whose path is its digest
    return f"{node.kind}{place}{digest}{size}"
