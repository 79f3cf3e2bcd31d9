"""`townlet replay convert`, and its two halves `import` and `export`: datasets of other formats in and out."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from townlet_core.cli.replay_options import json_option, progress
from townlet_core.cli.tables import count, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from townlet_core.replay.convert import Format

_PATH = click.Path(path_type=Path)
_READ_LEGACY = (
    click.option("--features", metavar="A,B|shared", help="Features to keep: names, or those that all samples share."),
    click.option(
        "--root", "roots", multiple=True, type=_PATH, metavar="DIR", help="A further directory that files may lie in."
    ),
    click.option("--dataset", metavar="NAME", help="The data set in a catalogue."),
)
_READ_MINARI = (click.option("--action-names", metavar="A,B", help="What the numbers of a Minari action mean."),)
_WRITE = (
    click.option(
        "--form", type=click.Choice(["list", "wrapped", "curated"]), help="Form of an earlier manifest (list)."
    ),
    click.option("--prefix", metavar="TEXT", help="Of the names of earlier files (rollout_sample)."),
    click.option("--catalogue", metavar="NAME", help="Write an earlier catalogue with checksums too."),
    click.option("--minari-id", metavar="ID", help="Id of the Minari dataset: name-v0."),
)


def _with(*options: Any) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@click.command("convert", short_help="Convert a dataset of any format to any other.")
@click.argument("source", metavar="SRC")
@click.argument("out", type=_PATH)
@click.option("--to", required=True, type=click.Choice(["native", "legacy", "minari"]), help="Format to write.")
@click.option(
    "--from",
    "source_format",
    type=click.Choice(["auto", "native", "legacy", "minari"]),
    default="auto",
    show_default=True,
    help="Format to read.",
)
@_with(*_READ_LEGACY, *_READ_MINARI, *_WRITE)
@json_option
def convert_command(source: str, out: Path, *, to: Format, source_format: str, as_json: bool, **options: Any) -> None:
    """Read the dataset SRC and write it to OUT, a new directory, in another format.

    `legacy` is the earlier town's: SRC is a manifest (JSON or YAML), a capture directory, a catalogue (versions.json)
    or a sample (.npz). Files that a manifest names are read where they lie beside it, in the working directory or in a
    --root. From legacy to legacy, samples are checked and written anew, in another --form if that is asked for.

    \b
    townlet replay convert captures/rollout_sample_manifest.json demonstrations --to native
    townlet replay convert captures curated --to legacy --form curated
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    _run(source, out, to=to, source_format=source_format, as_json=as_json, **options)


@click.command("import", short_help="Import a dataset of another format.")
@click.argument("source", metavar="SRC")
@click.argument("out", type=_PATH)
@click.option(
    "--format",
    "source_format",
    type=click.Choice(["auto", "legacy", "minari"]),
    default="auto",
    show_default=True,
    help="Format to read.",
)
@_with(*_READ_LEGACY, *_READ_MINARI)
@json_option
def import_command(source: str, out: Path, *, source_format: str, as_json: bool, **options: Any) -> None:
    """Write the dataset SRC, which is of another format, as a native one to OUT; as `convert --to native`.

    \b
    townlet replay import captures demonstrations --features shared
    townlet replay import D4RL/door/human-v2 door --format minari
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    _run(source, out, to="native", source_format=source_format, as_json=as_json, **options)


@click.command("export", short_help="Export a dataset to another format.")
@click.argument("dataset", metavar="DATASET")
@click.argument("out", type=_PATH)
@click.option("--format", "to", required=True, type=click.Choice(["legacy", "minari"]), help="Format to write.")
@_with(*_WRITE)
@json_option
def export_command(dataset: str, out: Path, *, to: Format, as_json: bool, **options: Any) -> None:
    """Write a native DATASET to OUT in another format; as `convert --from native`.

    \b
    townlet replay export demonstrations captures --format legacy --form curated --catalogue night
    """  # noqa: D301  (backslash-b is click's mark for lines that stay apart)
    _run(dataset, out, to=to, source_format="native", as_json=as_json, **options)


def _run(
    source: str,
    out: Path,
    *,
    to: Format,
    source_format: str,
    as_json: bool,
    features: str | None = None,
    action_names: str | None = None,
    **options: Any,
) -> None:
    from townlet_core.replay.convert import ConvertOptions, convert

    done = convert(
        source,
        out,
        to=to,
        source_format=None if source_format == "auto" else source_format,  # type: ignore[arg-type]  # click has checked it
        options=ConvertOptions(
            features=None if features in (None, "shared") else _names(features),
            action_names=None if action_names is None else _names(action_names),
            **options,
        ),
        on_progress=progress("steps of the conversion"),
        on_verify=progress("bytes verified"),
    )
    if as_json:
        click.echo(json.dumps(asdict(done) | {"path": str(done.path)}, indent=2))
    else:
        what = "sample" if to == "legacy" else "episode"
        click.echo(f"{count(done.num_episodes, what)} from {done.source_format} to {to}")
        click.echo(f"written to {printable(str(done.path))}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
