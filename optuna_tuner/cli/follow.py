"""Run a study and let the user watch it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Protocol

from optuna_tuner.cli.faults import Exit
from optuna_tuner.cli.panel import show_results
from optuna_tuner.cli.progress import progress
from optuna_tuner.cli.session import Session
from optuna_tuner.errors import TunerError
from optuna_tuner.results.notices import Notice, channel, notice_of, notice_of_failure
from optuna_tuner.results.rechecked import is_met

if TYPE_CHECKING:
    from optuna_tuner.results.views import StudyView
    from optuna_tuner.spec.study import StudySpec


class Run(Protocol):
    """Works on a study, and returns it when that is done."""

    def __call__(self, *, progress: Callable[[StudyView], None]) -> StudyView:
        """`progress` is called again and again meanwhile."""


def run_and_follow(session: Session, study: StudySpec | str, workers: int) -> Exit:
    """Run until the study is done, show its results, and return the exit code."""
    name = study if isinstance(study, str) else study.name
    return follow(session, name, partial(session.tuner.run, study, workers=workers))


def follow(
    session: Session, name: str, run: Run, show_end: Callable[[Session, StudyView], None] = show_results
) -> Exit:
    """Call `run`, which is given what shows the study's progress; show its end, and return the exit code.

    Where OPTUNA_TUNER_NOTIFY names somebody, its end is told there, too.
    """
    wanted = channel()

    def tell(notice: Notice) -> None:
        if wanted and (trouble := wanted.send(notice)):
            session.note(trouble)

    try:
        with progress(session) as show:
            view = run(progress=show)
            show(view)
    except KeyboardInterrupt as interrupt:
        # The second one comes while the first is being answered: then nobody was left to give the trials back.
        at_once = isinstance(interrupt.__context__, KeyboardInterrupt)
        trials = "The next run puts the trials that ran" if at_once else "Running trials went"
        session.note(f"{trials} back into the queue. Go on with: optuna-tuner run {quote(name)}")
        raise
    except TunerError as error:
        tell(notice_of_failure(name, error))
        raise
    show_end(session, view)
    tell(notice_of(view))
    return _exit_of(view)


def _exit_of(view: StudyView) -> Exit:
    if view.older is None:
        return Exit.DONE if view.best.trials else Exit.NOTHING_FEASIBLE
    met = is_met(view)
    if met is None:
        return Exit.NOTHING_FEASIBLE
    return Exit.DONE if met else Exit.NOT_MET
