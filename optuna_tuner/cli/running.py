"""Commands that make things run, or end: plan, run, confirm, worker, resume, pause, stop, cancel."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from optuna_tuner.cli.command import command, pass_session
from optuna_tuner.cli.output import document_option
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from optuna_tuner.results.views import StudyView

STUDY_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
FILE_ENDINGS = (".yaml", ".yml", ".json")


@command(example="optuna-tuner plan study.yaml")
@click.argument("file", type=STUDY_FILE)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials side by side.")
@document_option
@pass_session
def plan(session: Session, file: Path, workers: int, output: str) -> None:
    """Show what a study file would do, without starting anything.

    What would be launched for the baseline and for two sampled trials, the size of the space, and how long it may
    take. The same as run --dry-run.
    """
    from optuna_tuner.cli.plan import show_plan  # noqa: PLC0415  run does without it

    show_plan(session, session.tuner.plan(file, workers=workers), output)


@command(
    example="optuna-tuner run study.yaml                 tune; the same command resumes\n"
    "optuna-tuner run study.yaml --workers 2     two trials side by side\n"
    "optuna-tuner run study.yaml --dry-run       only say what would be launched\n"
    "optuna-tuner run my-study                   go on with a study by its name"
)
@click.argument("study", metavar="FILE|STUDY")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Trials side by side.")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.pass_context
def run(ctx: click.Context, study: str, workers: int, *, dry_run: bool) -> None:
    """Tune: run a study file, or go on with a study.

    It ends when the budget of the file is used. Ctrl-C once: running trials go back to the queue, their servers are
    stopped. Twice: at once. Exit code 0 when something feasible was found, 1 when nothing was, 130 when interrupted.
    """
    session = ctx.ensure_object(Session)
    file = _file(study)
    if dry_run:
        if file is None:
            raise click.BadParameter("--dry-run needs a study file", param_hint="FILE")
        ctx.invoke(plan, file=file, workers=workers, output="table")
        return
    from optuna_tuner.cli.follow import run_and_follow  # noqa: PLC0415  rich is not for every command

    ctx.exit(run_and_follow(session, session.tuner.validate(file) if file else study, workers))


@command(
    example="optuna-tuner confirm my-study               does the gain hold?\n"
    "optuna-tuner confirm my-study --pairs 10    go on until there are ten pairs\n"
    "optuna-tuner confirm my-study --simplify 2  are fewer flags enough?"
)
@click.argument("study")
@click.option("--pairs", type=click.IntRange(2, 100), help="Pairs in all; default: the study file's, or 5.")
@click.option("--simplify", type=click.IntRange(0, 20), help="After a win, measure up to so many with fewer flags.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Pairs side by side.")
@click.pass_context
def confirm(ctx: click.Context, study: str, pairs: int | None, simplify: int | None, workers: int) -> None:
    """Measure winner and default of a study again, for a verdict.

    The best few are measured once more, then the winner and the engine's own default back to back, in pairs; with
    --simplify then the winner and configurations with fewer of its flags, as they are predicted to keep the gain. The
    search of the study ends where it is. Exit codes as for run.
    """
    session = ctx.ensure_object(Session)
    from optuna_tuner.cli.follow import follow  # noqa: PLC0415  rich is not for every command

    asked = partial(session.tuner.confirm, study, pairs=pairs, simplify=simplify, workers=workers)
    ctx.exit(follow(session, study, asked))


@command(example="optuna-tuner worker --storage postgresql://tuner@db/tuner\noptuna-tuner worker my-study --slot cpu-1")
@click.argument("study", required=False)
@click.option("--slot", help="Name of the slot to own; default: the first that is free.")
@click.option("--max-trials", type=click.IntRange(min=1), help="End after so many trials.")
@pass_session
def worker(session: Session, study: str | None, slot: str | None, max_trials: int | None) -> None:
    """Join a study with one more worker.

    From any shell or machine that reaches the storage. Without STUDY it joins the only one that still wants trials.
    """
    session.note("Working; Ctrl-C ends this worker and gives its trial back.")
    count = session.tuner.work(study, slot=slot, max_trials=max_trials)
    session.note(f"{count} trials run by this worker.")


@command(example="optuna-tuner resume my-study")
@click.argument("study")
@pass_session
def resume(session: Session, study: str) -> None:
    """Let a study that was paused or ended start trials again."""
    view = session.tuner.resume(study)
    _say(session, view)
    if view.state == "done":
        session.note("Its budget is spent: raise budget.trials in its file, and run the file again.")
    elif not view.workers:
        session.note(f"No worker is there to run it: optuna-tuner run {quote(study)}")


@command(example="optuna-tuner pause my-study")
@click.argument("study")
@pass_session
def pause(session: Session, study: str) -> None:
    """Start no more trials; workers wait until resume."""
    _say(session, session.tuner.pause(study))


@command(example="optuna-tuner stop my-study")
@click.argument("study")
@pass_session
def stop(session: Session, study: str) -> None:
    """Let running trials end, then let the workers end."""
    _say(session, session.tuner.stop(study))


@command(
    example="optuna-tuner cancel my-study       end all running trials now\n"
    "optuna-tuner cancel my-study 7     end trial 7 alone"
)
@click.argument("study")
@click.argument("trial", type=click.IntRange(min=0), required=False)
@pass_session
def cancel(session: Session, study: str, trial: int | None) -> None:
    """End running trials now: all of a study, or one."""
    if trial is None:
        _say(session, session.tuner.cancel(study))
    else:
        view = session.tuner.cancel_trial(study, trial)
        ended = view.state not in {"queued", "running"}
        session.note(f"Trial {trial} {'has ended already' if ended else 'is asked to end'}: it is {view.state}.")


def _file(study: str) -> Path | None:
    """The file that is meant, or None where a study's name is meant."""
    path = Path(study)
    if path.is_file():
        return path
    if path.suffix in FILE_ENDINGS or "/" in study:
        raise click.BadParameter(f'there is no file "{study}"', param_hint="FILE")
    return None


def _say(session: Session, view: StudyView) -> None:
    counts = view.counts
    session.note(f'Study "{view.name}" is {view.state}: {counts.running} running, {view.spent} of {view.budget} done.')
