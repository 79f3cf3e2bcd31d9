"""What the commands about releases share: where the releases are, who acts, and what a name means."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from townlet_core.cli.evaluate import show_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from townlet_core.cli.state import CliState
    from townlet_core.dto.promotion import PromotionEvidence
    from townlet_core.policy.encoder import EncoderResolver
    from townlet_core.services.promotion import PromotionService

FunctionT = TypeVar("FunctionT", bound="Callable[..., Any]")

_DIRECTORY = (
    click.option(
        "--releases",
        "releases_dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where the releases are: promotion.releases_dir; 'releases' by default.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
)
_SETTINGS = (
    click.option(
        "--config", type=click.Path(path_type=Path), metavar="FILE", help="Take the section promotion of this file."
    ),
    click.option(
        "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set one value, such as promotion.required_passes=3."
    ),
)
_EVIDENCE = (
    click.option(
        "--evidence",
        "evidence_path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What 'townlet evaluate --against CHAMPION --out FILE' wrote, instead of a new comparison.",
    ),
    click.option(
        "--trust-config",
        is_flag=True,
        help="Let the run or the suite name a 'python:' environment, which runs its code.",
    ),
)
_ACTOR = (
    click.option("--by", metavar="NAME", default=None, help="Who does it; by default the user of this process."),
    click.option("--reason", metavar="TEXT", default="", help="Why, in one line, for the log."),
)


def directory_options(function: FunctionT) -> FunctionT:
    """Add ``--releases`` and ``--json``."""
    return _with(function, _DIRECTORY)


def change_options(function: FunctionT) -> FunctionT:
    """Add what a command takes that writes an event: settings, who, why, and `directory_options`."""
    return _with(function, (*_SETTINGS, *_ACTOR, *_DIRECTORY))


def evidence_options(function: FunctionT) -> FunctionT:
    """Add where the comparison with the champion comes from."""
    return _with(function, _EVIDENCE)


def _with(function: FunctionT, options: Sequence[Callable[[FunctionT], FunctionT]]) -> FunctionT:
    for option in reversed(options):
        function = option(function)
    return function


def promotion_service(
    releases_dir: Path | None, *, config: Path | None = None, sets: Sequence[str] = ()
) -> PromotionService:
    """Return the service that a configuration file, the environment and options describe; raises `ConfigError`."""
    from townlet_core.config.load import load_config
    from townlet_core.services.promotion import PromotionService

    options = {"promotion.releases_dir": None if releases_dir is None else str(releases_dir)}
    return PromotionService.from_config(load_config(config, sets=sets, environ=os.environ, options=options).config)


def encoder_resolver(state: CliState) -> EncoderResolver:
    """Return what finds the networks of plugins."""
    from townlet_core.orchestrator.resolver import PluginResolver

    return PluginResolver(state.registry, trust_code=False).encoder


def comparison(
    state: CliState, service: PromotionService, source: Path, evidence_path: Path | None, *, trust_config: bool
) -> tuple[PromotionEvidence, bytes]:
    """Return the comparison with the champion, from a file or made now, and the document that it rests on."""
    from townlet_core.orchestrator.promotion import champion_comparison
    from townlet_core.services.promotion_evidence import read_report

    report = None if evidence_path is None else read_report(evidence_path)
    with redirect_stdout(sys.stderr):  # what an environment prints is not the result
        return champion_comparison(
            service,
            source,
            registry=state.registry,
            report=report,
            trust_config=trust_config,
            on_progress=show_progress,
        )


def policy_source(service: PromotionService, name: str) -> Path:
    """Return the directory that a path, an alias or the beginning of a release's digest means.

    Raises:
        MissingInputError: there is neither.
    """
    from townlet_core.errors import MissingInputError

    path = Path(name)
    if path.exists():
        return path
    try:
        return service.store.bundle_path(service.store.find(name))
    except MissingInputError as error:
        raise MissingInputError(f"there is no run and no policy at {name}, and {error}") from error


def actor(by: str | None) -> str:
    """Return who acts."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in some containers
        return "unknown"
