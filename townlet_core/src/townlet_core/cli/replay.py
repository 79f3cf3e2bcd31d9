"""`townlet replay`: what is done with recorded datasets; each sub-command is imported when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from townlet_core.errors import suggestion

SUBCOMMANDS = {
    "summary": ("replay_summary", "Tell what is in a dataset."),
    "validate": ("replay_validate", "Check a dataset, and explain what is wrong with it."),
    "curate": ("replay_curate", "Filter, split and join datasets into a new one."),
    "convert": ("replay_convert", "Convert a dataset of any format to any other."),
    "import": ("replay_convert", "Import a dataset of another format."),
    "export": ("replay_convert", "Export a dataset to another format."),
    "lineage": ("replay_lineage", "Tell what a dataset or a policy was made from."),
}
"""Name -> module in this package that has it as `<name>_command`, and its line in the help."""


class ReplayGroup(click.Group):
    """A group of the sub-commands in the table, none of which is imported for the help."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(SUBCOMMANDS)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in SUBCOMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command.

        Raises:
            click.UsageError: there is none of that name; the text suggests the closest.
        """
        if cmd_name not in SUBCOMMANDS:
            raise click.UsageError(
                f"No such command '{cmd_name}'{suggestion(cmd_name, SUBCOMMANDS)}; commands: {', '.join(SUBCOMMANDS)}",
                ctx=ctx,
            )
        module = import_module(f"townlet_core.cli.{SUBCOMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


@click.group("replay", cls=ReplayGroup, short_help="Look into, check and curate recorded datasets.")
def command() -> None:
    """Look into, check, curate and convert recorded datasets."""
