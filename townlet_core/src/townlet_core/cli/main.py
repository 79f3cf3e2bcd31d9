"""The program ``townlet``: a group that imports a command when it is called, and one exit code per kind of error."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

import click

from townlet_core.cli.state import CliState
from townlet_core.errors import ExitCode, PluginError, TownletError, TownletWarning, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

COMMANDS = {
    "train": "Train a policy.",
    "capture": "Record what a policy does as a dataset.",
    "evaluate": "Run a trained policy and report its returns.",
    "replay": "Look into, check and curate recorded datasets.",
    "scenarios": "List the scenarios of the town, or show one.",
    "watch": "Sum up, follow and check telemetry.",
    "view": "Watch a day of the town in a browser.",
    "runs": "List runs, or show one.",
    "releases": "List, show and verify released policies.",
    "promote": "Make a policy the champion, if it has earned it.",
    "rollback": "Bring an earlier champion back, byte for byte.",
    "plugins": "List plugins, what they offer and their state.",
    "config": "Write, show and explain configurations.",
    "doctor": "Tell what is installed here and what works.",
    "bench": "Measure speed on this machine.",
}
"""Built-in commands in the order of the help, each in the module of its name."""


class TownletGroup(click.Group):
    """A group of the built-in commands and of those that plugins offer, none of which is imported for the help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the built-in names in the order of the table, then those of plugins."""
        return [*COMMANDS, *ctx.ensure_object(CliState).any_registry.commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table and the plugins' entries."""
        state = ctx.ensure_object(CliState)
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        offered = state.any_registry.commands
        if offered:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, entry.summary) for name, entry in offered.items()])
        problems = len(state.any_registry.problems())
        if problems:
            formatter.write_paragraph()
            formatter.write_text(f"{problems} problem{'s' * (problems > 1)} with plugins: see 'townlet plugins'.")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None if nobody offers it."""
        if cmd_name in COMMANDS:
            command: object = import_module(f"townlet_core.cli.{cmd_name}").command
        else:
            state = ctx.ensure_object(CliState)
            if not cmd_name.startswith("plugin:") and not state.registry.named("command", cmd_name):
                return None
            command = state.registry.resolve("command", cmd_name)
        if not isinstance(command, click.Command):
            raise PluginError(f"command '{cmd_name}' is not a click command but {type(command).__name__}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was asked for.

        Raises:
            click.UsageError: there is none of that name; the text suggests the closest.
        """
        command = self.get_command(ctx, args[0])
        if command is None:
            known = self.list_commands(ctx)
            problems = ctx.ensure_object(CliState).any_registry.problems()
            hint = " (not all plugins work: see 'townlet plugins')" if problems else ""
            raise click.UsageError(
                f"unknown command '{args[0]}'{suggestion(args[0], known)}; commands: {', '.join(known)}{hint}", ctx=ctx
            )
        return args[0], command, args[1:]


def _version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        import townlet_core

        click.echo(f"townlet {townlet_core.__version__}")
        ctx.exit()


def _no_plugins(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    ctx.ensure_object(CliState).no_plugins = value


@click.group(cls=TownletGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.option(
    "--no-plugins", is_flag=True, is_eager=True, expose_value=False, callback=_no_plugins, help="Load no plugin."
)
def townlet() -> None:
    """Train, evaluate and run policies that steer populations of agents.

    Strategies, environments and more are plugins: 'townlet plugins' lists them.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what stands after the program's name; by default that of this process.

    Returns:
        The exit code: 0, a verdict, or one of the errors in `townlet_core.errors.ExitCode`.
    """
    warnings.showwarning = _show_warning
    state = CliState()
    try:
        code = _invoke(list(sys.argv[1:] if arguments is None else arguments), state)
        sys.stdout.flush()
    except TownletError as error:
        return _report(str(error), error.exit_code)
    except click.FileError as error:
        return _report(error.format_message(), ExitCode.MISSING_INPUT)
    except click.ClickException as error:
        return _report(_usage(error), ExitCode.USAGE)
    except (KeyboardInterrupt, click.Abort):
        return _report("stopped", ExitCode.STOPPED)  # a run that can be resumed ends with `RunInterrupted`
    except OSError as error:
        _discard_stdout()
        return ExitCode.IO if isinstance(error, BrokenPipeError) else _report(str(error), ExitCode.IO)
    except MemoryError as error:
        text = f"there is not enough memory ({error}): lower environment.num_worlds, or the sizes of the strategy"
        return _report(text, ExitCode.CONFIG)
    except Exception as error:  # noqa: BLE001  (the last guard: what gets here is a bug, and is shown whole)
        return _report_bug(error, state)
    return code


def _invoke(arguments: list[str], state: CliState) -> int:
    """Run click without its own error handling, whose exit codes 1 and 2 are verdicts here."""
    try:
        with townlet.make_context("townlet", arguments, obj=state) as ctx:
            townlet.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    return ExitCode.OK


def _usage(error: click.ClickException) -> str:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return f"no command was given\n\n{error.format_message()}"
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"\n  see '{ctx.command_path} --help'" if ctx is not None else ""
    return error.format_message() + hint


def _report(message: str, code: ExitCode) -> ExitCode:
    print(f"error: {_plain(message)}", file=sys.stderr)
    return code


def _plain(text: str) -> str:
    """Return lines without what would steer a terminal: errors and warnings quote files that come from anywhere."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _report_bug(error: Exception, state: CliState) -> ExitCode:
    """Show the traceback, and say whose bug it is: that of a plugin which is not ours makes it a broken plugin."""
    import traceback

    from townlet_core.plugins.blame import culprit, is_ours

    traceback.print_exception(error)
    registry = vars(state).get("any_registry")
    plugin = culprit(registry, error.__traceback__) if registry is not None else None
    ours = plugin is None or is_ours(plugin)
    whose = "Townlet" if plugin is None else f"Townlet ({plugin.title})" if ours else plugin.title
    code = ExitCode.INTERNAL if ours else ExitCode.UNAVAILABLE
    return _report(f"this is a bug in {whose}; please report it with the lines above", code)


def _discard_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at exit cannot fail and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_SHOWN: set[str] = set()
"""Warnings that this process has shown."""


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show Townlet's own warnings as one line, each once, and those of libraries as Python does."""
    text = f"warning: {_plain(str(message))}\n"
    if not issubclass(category, TownletWarning):
        text = warnings.formatwarning(message, category, filename, lineno, line)
    elif text in _SHOWN:
        return
    _SHOWN.add(text)
    (file or sys.stderr).write(text)
