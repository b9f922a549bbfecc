"""Commands that look closely: show, results, watch, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.output import document_option, dump
from optuna_tuner.cli.session import Session
from optuna_tuner.errors import UnknownPluginError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna_tuner.results.views import StudyView, TrialView
    from optuna_tuner.results.why import Why
    from optuna_tuner.values import Json


@command(example="optuna-tuner show my-study\noptuna-tuner show my-study 7")
@click.argument("study")
@click.argument("trial", type=click.IntRange(min=0), required=False)
@document_option
@pass_session
def show(session: Session, study: str, trial: int | None, output: str) -> None:
    """Show everything about a study or one of its trials.

    Of a trial: its flags as asked and as the server resolved them, every load level's metrics, the time of each
    phase, what limits it as far as that can be told, and what went wrong, with the evidence and what to conclude.
    """
    from optuna_tuner.cli.detail import show_study, show_trial  # noqa: PLC0415  only this command needs it
    from optuna_tuner.results.tables import study_document  # noqa: PLC0415  it brings Optuna

    view = session.tuner.study(study)
    one = None if trial is None else session.tuner.trial(study, trial)
    if output != "table":
        dump(_trial_document(view, one) if one else study_document(view), output)
    elif one:
        show_trial(session, view, one)
    else:
        show_study(session, view)


@command(
    example="optuna-tuner results my-study\n"
    "optuna-tuner results my-study --format json > results.json\n"
    "optuna-tuner results my-study --format task > task_result.json"
)
@click.argument("study")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "yaml", "csv", "task"]),
    default="table",
    show_default=True,
    help="task: the result document of the older task format.",
)
@pass_session
def results(session: Session, study: str, form: str) -> None:
    """Show what was found: the best flags, and the gain.

    Both are said against the engine's own default, which is trial 0.
    """
    if form == "task":
        dump(session.tuner.task_document(study), "json")
        return
    view = session.tuner.study(study)
    if form == "csv":
        from optuna_tuner.cli.studies import show_trials  # noqa: PLC0415  only for csv

        show_trials(session, view, form)
    elif form == "table":
        from optuna_tuner.cli.panel import show_results  # noqa: PLC0415  only for the table

        show_results(session, view, _why(session, study))
    else:
        from optuna_tuner.results.tables import study_document  # noqa: PLC0415  it brings Optuna

        dump(study_document(view), form)


def _trial_document(study: StudyView, trial: TrialView) -> Mapping[str, Json]:
    from optuna_tuner.results.bottleneck.judging import bottleneck_of  # noqa: PLC0415  only this document has it
    from optuna_tuner.results.tables import bottleneck_document, trial_document  # noqa: PLC0415  they bring Optuna

    return {**trial_document(trial), "bottleneck": bottleneck_document(bottleneck_of(study.spec, trial))}


def _why(session: Session, study: str) -> Why | None:
    """What is predicted of its flags; None where this machine lacks the study's engine."""
    try:
        return session.tuner.why(study)
    except UnknownPluginError:
        return None


@command(example="optuna-tuner watch my-study")
@click.argument("study")
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds between looks.")
@pass_session
def watch(session: Session, study: str, every: float) -> None:
    """Follow a study that runs elsewhere, until it ends.

    Ctrl-C leaves it running.
    """
    from optuna_tuner.cli.progress import progress  # noqa: PLC0415  only what shows progress needs rich

    with progress(session) as show_progress:
        for view in session.tuner.watch(study, every_s=every):
            show_progress(view)


@command(example="optuna-tuner logs my-study 7\noptuna-tuner logs my-study 7 --follow")
@click.argument("study")
@click.argument("trial", type=click.IntRange(min=0))
@click.option("-f", "--follow", is_flag=True, help="Go on until the trial ends.")
@pass_session
def logs(session: Session, study: str, trial: int, *, follow: bool) -> None:
    """Print the log of a trial's server."""
    for piece in session.tuner.logs(study, trial, follow=follow):
        click.echo(piece, nl=False)
