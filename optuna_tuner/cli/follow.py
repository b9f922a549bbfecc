"""Run a study and let the user watch it."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from optuna_tuner.cli.faults import Exit
from optuna_tuner.cli.panel import show_results
from optuna_tuner.cli.progress import progress
from optuna_tuner.cli.session import Session

if TYPE_CHECKING:
    from optuna_tuner.spec.study import StudySpec


def run_and_follow(session: Session, study: StudySpec | str, workers: int) -> Exit:
    """Run until the study is done, show its results, and return the exit code."""
    try:
        with progress(session) as show:
            view = session.tuner.run(study, workers=workers, progress=show)
            show(view)
    except KeyboardInterrupt as interrupt:
        name = study if isinstance(study, str) else study.name
        # The second one comes while the first is being answered: then nobody was left to give the trials back.
        at_once = isinstance(interrupt.__context__, KeyboardInterrupt)
        trials = "The next run puts the trials that ran" if at_once else "Running trials went"
        session.note(f"{trials} back into the queue. Go on with: optuna-tuner run {quote(name)}")
        raise
    show_results(session, view)
    return Exit.DONE if view.best.trials else Exit.NOTHING_FEASIBLE
