"""Two trials side by side: compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.output import dump, print_rows
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from optuna_tuner.results.side_by_side import Difference


@command(
    example="optuna-tuner compare my-study/baseline my-study\n"
    "optuna-tuner compare vllm-0.32 vllm-0.33\n"
    "optuna-tuner compare my-study/7 my-study/12 --all\n"
    "optuna-tuner compare before after -o md > change.md\n"
    "optuna-tuner compare their-bundle my-study          a bundle on disk against a study"
)
@click.argument("first")
@click.argument("second")
@click.option("--all", "everything", is_flag=True, help="Also what is the same on both sides, and every metric.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml", "md", "html"]),
    default="table",
    show_default=True,
    help="json and yaml are exact; md is Markdown; html is one page.",
)
@pass_session
def compare(session: Session, first: str, second: str, output: str, *, everything: bool) -> None:
    """Show what differs between two trials, of one study or of two.

    Each is written STUDY for the study's best, STUDY/baseline for the engine's own default, or STUDY/NUMBER. So is the
    folder of a bundle of a whole study; that of a trial's bundle is the trial. Runs of a study that measured the same
    configuration at the same load are taken together; with two or more on each side the change has an interval. What
    makes figures incomparable is said first.
    """
    from optuna_tuner.results.side_by_side import writing  # noqa: PLC0415  it brings Optuna

    found = session.tuner.compare(first, second, everything=everything)
    if output in {"json", "yaml"}:
        dump(writing.document(found), output)
    elif output == "md":
        click.echo(writing.markdown(found), nl=False)
    elif output == "html":
        click.echo(writing.html(found), nl=False)
    else:
        _show(session, found)


def _show(session: Session, found: Difference) -> None:
    from optuna_tuner.results.side_by_side.writing import sections  # noqa: PLC0415  as above

    for warning in found.warnings:
        session.out.print(warning, style="yellow", soft_wrap=True)
    for section in sections(found):
        session.out.print(f"\n{section.title}", style="bold")
        print_rows(session, section.columns, section.rows)
