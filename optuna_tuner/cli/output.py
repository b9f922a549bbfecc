"""Data on stdout: the same rows as a table, JSON, YAML, CSV or bare values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from optuna_tuner.cli.session import Session
from optuna_tuner.results.wording import exact, number
from optuna_tuner.values import Json, Scalar

if TYPE_CHECKING:
    from optuna_tuner.results.tables import Table

Decorated = TypeVar("Decorated", bound=Callable[..., object])


def output_option(function: Decorated) -> Decorated:
    """Add `-o/--output` to a command that lists."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml", "csv", "value"]),
        default="table",
        show_default=True,
        help="json, yaml and csv are exact and complete; value is the first column alone, for scripts.",
    )(function)


def document_option(function: Decorated) -> Decorated:
    """Add `-o/--output` to a command that shows one document."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="json and yaml are exact and complete.",
    )(function)


def emit(session: Session, table: Table, output: str, documents: object = None) -> None:
    """Print rows as the user asked; `documents` are what JSON and YAML hold where that is more than the table."""
    if output in {"json", "yaml"}:
        dump(table.documents() if documents is None else documents, output)
    elif output == "csv":
        click.echo(table.csv(), nl=False)
    elif output == "value":
        for row in table.rows:
            click.echo(exact(row[0]))
    else:
        print_rows(session, table.columns, table.rows)


def dump(value: object, output: str) -> None:
    """Print any of our values as JSON or YAML; what is not finite becomes null."""
    from pydantic_core import from_json, to_json  # noqa: PLC0415  only these two formats need it

    encoded = to_json(value, indent=2, inf_nan_mode="null")
    if output == "json":
        click.echo(encoded.decode())
    else:
        import yaml  # noqa: PLC0415  likewise

        plain: Json = from_json(encoded)
        click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)


def print_rows(session: Session, titles: Sequence[str], rows: Sequence[Sequence[Scalar | None]]) -> None:
    """Print an aligned table on stdout; numbers to the right, four digits."""
    from rich.table import Table as Grid  # noqa: PLC0415  the other formats do without it

    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for place, title in enumerate(titles):
        numeric = all(isinstance(row[place], int | float | None) for row in rows)
        grid.add_column(title, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*map(short, row))
    console = session.out
    with console.capture() as drawn:
        console.print(grid)
    # Without the blanks that fill up the last column: they are only a burden in files.
    click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()), color=console.is_terminal)


def short(value: Scalar | None) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else exact(value)


def kept(excess: float, *, measured: bool = True) -> tuple[str, str]:
    """A constraint's relative violation in words: whether it is kept, and by how much if that was measured."""
    if excess > 0:
        return "broken", f"by {excess:.1%}" if measured else ""
    return "kept", f"{-excess:.1%} to spare" if excess else ""
