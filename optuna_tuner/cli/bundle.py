"""What was measured, to hand over or to check: bundle, summarize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.output import document_option, dump, print_rows
from optuna_tuner.cli.session import Session
from optuna_tuner.results.wording import number, span

if TYPE_CHECKING:
    from optuna_tuner.results.bundle.summary import Figures, Summary

COLUMNS = ("count", "avg", "min", "max", "p50", "p90", "p95", "p99")
RATES = {
    "requests_per_second": "req/s",
    "input_tokens_per_second": "input tok/s",
    "output_tokens_per_second": "output tok/s",
}


@command(
    example="optuna-tuner bundle my-study --trial 7 -o trial-7\n"
    "optuna-tuner bundle my-study -o my-study-bundle     every trial, each in a folder of its own"
)
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), help="Only this one; without it, all of the study.")
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to make; it must not exist.",
)
@pass_session
def bundle(session: Session, study: str, trial: int | None, folder: Path) -> None:
    """Write down all that is known of a trial, to hand over.

    run.json says what ran, where and with what; requests.jsonl has a line for each request; summary.json the figures
    that follow from them; raw/ every report as its client wrote it. The folder is there when it is complete, or not at
    all. Secrets are named, never written. Files of trials that ran on another machine lie there: make the bundle there.
    """
    for run in session.tuner.bundle(study, folder, trial):
        for what in run.missing:
            session.note(f"trial {run.trial.number}: missing: {what}")
    session.note(f"Wrote {folder}; optuna-tuner summarize checks the bundle of a trial and shows its figures.")


@command(example="optuna-tuner summarize trial-7\noptuna-tuner summarize requests.jsonl -o json > summary.json")
@click.argument("path", metavar="FOLDER|FILE", type=click.Path(exists=True, path_type=Path))
@document_option
@pass_session
def summarize(session: Session, path: Path, output: str) -> None:
    """Recompute the figures from single requests.

    PATH is a bundle, whose requests must be those that it was made with, or any file with a line of JSON a request:
    success, and latency_s of those that completed. Nothing is written. Exit code 2, with the line, for one that cannot
    be read or cannot be true; a last line that is cut off is left out, and told.
    """
    from optuna_tuner.results.bundle.checking import summarise  # noqa: PLC0415  only this command reads requests

    found = summarise(path)
    if output == "table":
        _show(session, found)
    else:
        dump(found, output)
    for what in found.missing:
        session.note(f"missing: {what}")


def _show(session: Session, summary: Summary) -> None:
    """Level by level; only what is known."""
    for level in summary.levels:
        session.out.print(level.level or "all requests", style="bold")
        session.out.print(_counts(level), soft_wrap=True)
        spreads = {"latency_s": level.latency_s, "ttft_s": level.ttft_s, "tpot_s": level.tpot_s}
        rows = [(name, *(getattr(each, column) for column in COLUMNS)) for name, each in spreads.items() if each]
        if rows:
            print_rows(session, ("", *COLUMNS), rows)
        for error, count in level.errors.items():
            session.out.print(f"{count} x {error}", soft_wrap=True)


def _counts(figures: Figures) -> str:
    """How many requests in how long, and the rates, in one line."""
    took = "" if figures.duration_s is None else f" in {span(figures.duration_s)}"
    rates = [f"{number(getattr(figures, name))} {unit}" for name, unit in RATES.items() if getattr(figures, name)]
    counted = f"{figures.total_requests} requests, {figures.failed_requests} failed{took}"
    return f"{counted}: {', '.join(rates)}" if rates else counted
