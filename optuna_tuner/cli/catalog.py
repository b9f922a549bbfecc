"""Which flags an engine's version has: catalog list, show, diff, history, refresh, from-command, from-image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import Group, command, pass_session
from optuna_tuner.cli.output import document_option, dump, print_rows
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from optuna_tuner.catalog.catalogue import Flag
    from optuna_tuner.values import Scalar

ENGINE = click.argument("engine", metavar="ENGINE")
VERSION = click.option("--version", default="", help="The engine's version; default: it is asked.")
FOLDER = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write ENGINE/VERSION.json; default: catalogues in the user's data folder.",
)


@click.group(cls=Group)
def catalog() -> None:
    """Look up and refresh the flags of each engine version."""


catalog.example = (
    "optuna-tuner catalog history vllm swap-space\n"
    "optuna-tuner catalog diff sglang 0.5.18 0.5.20\n"
    "optuna-tuner catalog refresh vllm==0.33.0"
)


@command(example="optuna-tuner catalog list\noptuna-tuner catalog list vllm")
@click.argument("engine", required=False)
@pass_session
def list_catalogues(session: Session, engine: str | None) -> None:
    """List the engine versions whose flags are known."""
    from optuna_tuner.catalog import shelf  # noqa: PLC0415  --help does without the data

    names = (engine,) if engine else shelf.engines()
    found = [shelf.load(name, version) for name in names for version in shelf.versions(name) or ("",)]
    rows = [(each.engine, each.version, len(each.flags), " ".join(each.source.values())) for each in found]
    print_rows(session, ("engine", "version", "flags", "made from"), rows)


@command(example="optuna-tuner catalog show vllm 0.33.0\noptuna-tuner catalog show sglang 0.5.23 chunked-prefill-size")
@ENGINE
@click.argument("version")
@click.argument("flags", metavar="[FLAG]...", nargs=-1)
@document_option
@pass_session
def show(session: Session, engine: str, version: str, flags: tuple[str, ...], output: str) -> None:
    """Show the flags of one version, or those that are named."""
    from optuna_tuner.catalog import shelf  # noqa: PLC0415  --help does without the data

    catalogue = shelf.load(engine, version)
    found = [_named(engine, version, flag) for flag in flags] if flags else list(catalogue.flags)
    if output == "table":
        print_rows(session, ("flag", "type", "default", "takes", "remarks"), [_row(flag) for flag in found])
    else:
        dump(found, output)


@command(example="optuna-tuner catalog diff vllm 0.25.0 0.33.0")
@ENGINE
@click.argument("old")
@click.argument("new")
@pass_session
def diff(session: Session, engine: str, old: str, new: str) -> None:
    """Show what changed between two versions."""
    from optuna_tuner.catalog import shelf  # noqa: PLC0415  --help does without the data
    from optuna_tuner.catalog.history import absence, difference  # noqa: PLC0415  likewise

    later = shelf.load(engine, new)
    found = difference(shelf.load(engine, old), later)
    gone = [("gone", flag.spellings[0], absence(later, flag.name).reason) for flag in found.gone]
    added = [("new", flag.spellings[0], _takes(flag)) for flag in found.added]
    changed = [("changed", after.spellings[0], _change(before, after)) for before, after in found.changed]
    print_rows(session, ("what", "flag", "how"), [*gone, *added, *changed])


@command(example="optuna-tuner catalog history sglang cuda-graph-max-bs")
@ENGINE
@click.argument("flag")
@pass_session
def history(session: Session, engine: str, flag: str) -> None:
    """Show in which versions a flag exists, and what took its place."""
    from optuna_tuner.catalog import shelf  # noqa: PLC0415  --help does without the data
    from optuna_tuner.catalog.history import absence  # noqa: PLC0415  likewise

    rows: list[tuple[str, str, str]] = []
    for catalogue in (shelf.load(engine, version) for version in shelf.versions(engine) or ("",)):
        found = catalogue.find(flag)
        what = ("deprecated" if found.deprecated else "there", _takes(found)) if found else ("-", "")
        rows.append((catalogue.version, *what))
    print_rows(session, ("version", flag, "takes"), rows)
    newest = shelf.load(engine, shelf.versions(engine)[-1])
    if newest.find(flag) is None:
        session.note(f"{flag} {absence(newest, flag).reason}")


@command(
    example="optuna-tuner catalog refresh vllm==0.33.0\noptuna-tuner catalog refresh vllm --wheel ./vllm-0.33.1.whl"
)
@click.argument("releases", metavar="ENGINE[==VERSION]...", nargs=-1, required=True)
@click.option("--wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A wheel on this machine.")
@FOLDER
@pass_session
def refresh(session: Session, releases: tuple[str, ...], wheel: Path | None, folder: Path | None) -> None:
    """Make the catalogue of a release from its wheel.

    A few of the wheel's files are fetched from the package index; nothing is installed, imported or run.
    """
    from optuna_tuner.catalog.refresh import refresh as made  # noqa: PLC0415  --help does without the network
    from optuna_tuner.catalog.refresh import refresh_from  # noqa: PLC0415  likewise

    for release in releases:
        engine, _, version = release.partition("==")
        if wheel is None and not version:
            raise click.UsageError(f"which version of {engine}? Write {engine}==VERSION, or name a --wheel")
        session.note(f"Wrote {refresh_from(engine, wheel, folder) if wheel else made(engine, version, folder)}")


@command(example="optuna-tuner catalog from-command vllm /venv/bin/vllm serve")
@ENGINE
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@VERSION
@FOLDER
@pass_session
def from_command(session: Session, engine: str, words: tuple[str, ...], version: str, folder: Path | None) -> None:
    """Make a catalogue from the help of a command: a fork, or a build of your own."""
    from optuna_tuner.catalog.asking.ask import from_command as asked  # noqa: PLC0415  --help does without it
    from optuna_tuner.catalog.refresh import write  # noqa: PLC0415  likewise

    session.note(f"Wrote {write(asked(words, engine, version), folder)}")


@command(example="optuna-tuner catalog from-image sglang lmsysorg/sglang:v0.5.23")
@ENGINE
@click.argument("image")
@VERSION
@FOLDER
@pass_session
def from_image(session: Session, engine: str, image: str, version: str, folder: Path | None) -> None:
    """Make a catalogue from the help of the engine in an image.

    It needs docker, and no GPU.
    """
    from optuna_tuner.catalog.asking.ask import from_image as asked  # noqa: PLC0415  --help does without it
    from optuna_tuner.catalog.refresh import write  # noqa: PLC0415  likewise

    session.note(f"Wrote {write(asked(image, engine, version), folder)}")


def _named(engine: str, version: str, written: str) -> Flag:
    from optuna_tuner.catalog import shelf  # noqa: PLC0415  --help does without the data
    from optuna_tuner.catalog.history import absence  # noqa: PLC0415  likewise

    catalogue = shelf.load(engine, version)
    found = catalogue.find(written)
    if found is None:
        raise click.UsageError(f"{written} {absence(catalogue, written).reason}")
    return found


def _row(flag: Flag) -> tuple[Scalar | None, ...]:
    return ", ".join(flag.spellings), flag.type.value, _default(flag), _takes(flag), _remarks(flag)


def _default(flag: Flag) -> str:
    if not flag.default_is_known:
        return "?"
    if flag.default is None:
        return f"by {flag.default_from}" if flag.default_from else ""
    return str(flag.default).lower() if isinstance(flag.default, bool) else str(flag.default)


def _takes(flag: Flag) -> str:
    words = " ".join(map(str, flag.choices)) or flag.type.value
    return f"{words} ..." if flag.many else words


def _remarks(flag: Flag) -> str:
    effect = "" if flag.effect.value == "speed" else f"changes the {flag.effect.value}"
    deprecated = f"deprecated: {flag.deprecated}" if flag.deprecated else ""
    return "; ".join(filter(None, (deprecated, effect, "recompiles" if flag.recompiles else "")))


def _change(before: Flag, after: Flag) -> str:
    """What differs, old -> new."""
    pairs = (
        ("default", _default(before), _default(after)),
        ("takes", _takes(before), _takes(after)),
        ("written", " ".join(before.spellings), " ".join(after.spellings)),
        ("deprecated", before.deprecated or "no", after.deprecated or "no"),
    )
    return "; ".join(f"{name}: {old} -> {new}" for name, old, new in pairs if old != new) or "remarks"


list_catalogues.name, from_command.name = "list", "from-command"
for each in (list_catalogues, show, diff, history, refresh, from_command, from_image):
    catalog.add_command(each)
