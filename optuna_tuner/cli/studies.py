"""Commands that list: studies, trials, best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.faults import Exit
from optuna_tuner.cli.new_file import NEW_FILE, write_bytes
from optuna_tuner.cli.output import dump, emit, output_option, print_rows
from optuna_tuner.cli.session import Session
from optuna_tuner.results.wording import settings, span

if TYPE_CHECKING:
    from optuna_tuner.results.views import StudyView, TrialView


@command(example="optuna-tuner studies\noptuna-tuner studies -o value | xargs -n1 optuna-tuner best")
@output_option
@pass_session
def studies(session: Session, output: str) -> None:
    """List all studies of the storage."""
    from optuna_tuner.results.tables import study_table  # noqa: PLC0415  it brings Optuna with it

    found = session.tuner.studies()
    emit(session, study_table(found), output)
    if not found:
        session.note("There is no study yet. Begin with: optuna-tuner demo")


@command(
    example="optuna-tuner trials my-study\n"
    "optuna-tuner trials my-study --state infeasible\n"
    "optuna-tuner trials my-study -o csv > trials.csv\n"
    "optuna-tuner trials my-study --file trials.parquet     with every figure; also .xlsx and .csv"
)
@click.argument("study")
@click.option(
    "--state",
    type=click.Choice(["queued", "running", "feasible", "infeasible", "pruned", "failed", "stopped"]),
    help="Only trials in this state.",
)
@output_option
@click.option("--file", type=NEW_FILE, help="Write them to a file instead: .csv, .parquet or .xlsx, by its end.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
@pass_session
def trials(session: Session, study: str, state: str | None, output: str, file: Path | None, *, force: bool) -> None:
    """List a study's trials: flags, values, causes of failure."""
    view = session.tuner.study(study)
    view = replace(view, trials=tuple(t for t in view.trials if state in {None, t.state.value}))
    if file is None:
        show_trials(session, view, output)
    else:
        _write_trials(view, file, force=force)
        session.note(f"Wrote {len(view.trials)} trials to {file}")


def _write_trials(view: StudyView, file: Path, *, force: bool) -> None:
    from optuna_tuner.results.table_files import FORMS, encoded  # noqa: PLC0415  it brings Optuna with it
    from optuna_tuner.results.tables import whole_trial_table  # noqa: PLC0415  likewise

    if file.suffix not in FORMS:
        raise click.UsageError(f"{file} ends with none of {', '.join(FORMS)}")
    write_bytes(file, encoded(whole_trial_table(view), file.suffix), force=force)


@command(example="optuna-tuner best my-study\noptuna-tuner best my-study -o json")
@click.argument("study")
@output_option
@click.pass_context
def best(ctx: click.Context, study: str, output: str) -> None:
    """Show the best feasible trial, or the Pareto front.

    A trial that breaks a constraint is never the best. With -o value: the value reached. Exit code 1 when nothing
    feasible was found.
    """
    session = ctx.ensure_object(Session)
    view = session.tuner.study(study)
    session.note(" ".join(filter(None, (view.spec.notice, view.best.text))))
    if not view.best.trials:
        ctx.exit(Exit.NOTHING_FEASIBLE)
    if output == "value":
        click.echo(view.best.trials[0].values[0])
    elif output in {"json", "yaml"}:
        from optuna_tuner.results.tables import best_document  # noqa: PLC0415  it brings Optuna with it

        dump(best_document(view), output)
    else:
        show_trials(session, replace(view, trials=view.best.trials), output)


def show_trials(session: Session, view: StudyView, output: str) -> None:
    """Print the trials of a view; for people, with all flags in one column."""
    from optuna_tuner.results.best import value_of  # noqa: PLC0415  it brings Optuna with it
    from optuna_tuner.results.tables import trial_document, trial_table  # noqa: PLC0415  likewise

    if output != "table":
        emit(session, trial_table(view), output, [trial_document(trial) for trial in view.trials])
        return
    objectives = view.spec.goals.objectives
    titles = ("trial", "state", *(objective.metric for objective in objectives), "cause", "took", "flags")
    rows = [
        (
            trial.number,
            f"{trial.state.value}, {trial.phase.value}" if trial.phase else trial.state.value,
            *(value_of(trial, place, objective) for place, objective in enumerate(objectives)),
            trial.cause.value if trial.cause and trial.same_as is None else trial.repeats or None,
            None if trial.duration_s is None else span(trial.duration_s),
            _flags(trial),
        )
        for trial in view.trials
    ]
    print_rows(session, titles, rows)


def _flags(trial: TrialView) -> str:
    """What it was tried with, and that the study file wanted it first."""
    if trial.kind == "baseline":
        return "engine's default"
    return settings(trial.params) + (" (first)" if trial.kind == "first" else "")
