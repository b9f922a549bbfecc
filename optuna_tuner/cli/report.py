"""The report of a study, as files: report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.new_file import STDOUT, write, write_folder
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from optuna_tuner.results.report.document import Report

SUFFIXES = (".html", ".md", ".json")


class GpuPrice(TypedDict):
    """What a GPU costs."""

    gpu_price: float | None
    currency: str


@command(
    example="optuna-tuner report my-study -o report\n"
    "optuna-tuner report my-study -o report.html --gpu-price 2.50 --currency EUR\n"
    "optuna-tuner report my-study | less"
)
@click.argument("study")
@click.option(
    "-o",
    "--output",
    "place",
    type=click.Path(allow_dash=True, path_type=Path),
    default=STDOUT,
    help="Folder for report.html, report.md, report.json and plots/, or a file with one of these ends; default: "
    "Markdown on stdout.",
)
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@click.option("--no-plots", is_flag=True, help="Leave plots/*.png out; they need Chromium or Chrome.")
@click.option("--gpu-price", type=click.FloatRange(min=0, min_open=True), help="Of one GPU for an hour, for the cost.")
@click.option("--currency", default="USD", show_default=True, help="Of that price.")
@pass_session
def report(
    session: Session, /, study: str, place: Path, *, force: bool, no_plots: bool, **price: Unpack[GpuPrice]
) -> None:
    """Write the report: what to deploy, for how much load, and why.

    Its first page fits on one printed sheet. The HTML is one file that works offline. A study that still runs, or
    found nothing, has a report too; it names what is missing. What is written to a file or folder hangs in the
    dashboard too, among the study's files.
    """
    if place != STDOUT and place.suffix not in ("", *SUFFIXES) and not place.is_dir():
        raise click.UsageError(f"{place} is no folder, and no file that ends with {', '.join(SUFFIXES)}")
    made = _made(session, study, price)
    if place == STDOUT or place.suffix in SUFFIXES:
        from optuna_tuner.results.report.files import Form, rendered  # noqa: PLC0415  it brings pydantic's models

        write(place, rendered(made, Form(place.suffix or Form.MARKDOWN)), force=force)
    else:
        from optuna_tuner.results.report.files import folder_files  # noqa: PLC0415  likewise

        files, lack = folder_files(made, plots=not no_plots)
        write_folder(place, files, force=force)
        session.note(lack or f"Wrote {len(files)} files")
    if place != STDOUT:
        _hang(session, study, made)
        session.note(f"Open {place if place.suffix in SUFFIXES else place / 'report.html'}")


def _hang(session: Session, study: str, made: Report) -> None:
    from optuna_tuner.results.report.files import Form, rendered  # noqa: PLC0415  it brings pydantic's models

    session.tuner.hang(study, rendered(made, Form.HTML))


def _made(session: Session, study: str, price: GpuPrice) -> Report:
    from optuna_tuner.results.report.efficiency import Price  # noqa: PLC0415  it brings Optuna

    known = price["gpu_price"]
    return session.tuner.report(study, Price(gpu_hour=known, currency=price["currency"]) if known else None)
