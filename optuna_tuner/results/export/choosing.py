"""Which trial is taken home, and which must not be."""

from __future__ import annotations

from optuna_tuner.errors import ExportError
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.store.records import AttemptKind


def chosen(study: StudyView, number: int | None) -> TrialView:
    """The trial of this number, or the best. Raises NotFoundError, and ExportError for one that nobody should start.

    The engine's own default may be taken also where it breaks a constraint: it is what a gain is stated against.
    """
    if number is not None:
        return _sound(study.trial(number))
    if study.best.trial is None:
        raise ExportError(f'study "{study.name}" has no trial to take home: {study.best.text}{_way_out(study)}')
    return study.best.trial


def _sound(trial: TrialView) -> TrialView:
    if trial.feasible or (trial.kind is AttemptKind.BASELINE and trial.metrics):
        return trial
    if trial.state is TrialState.REPEATED:
        raise ExportError(f"{trial.name} was not measured: it is the same server as trial {trial.same_as}; take that")
    if not trial.reason and trial.excess:
        broken = ", ".join(name for name, excess in trial.constraints.items() if excess > 0)
        raise ExportError(f"{trial.name} is {trial.state.value}: it breaks {broken}")
    cause = f": {trial.cause.value}" if trial.cause else ""
    raise ExportError(f"{trial.name} is {trial.state.value}{cause}{f': {trial.reason}' if trial.reason else ''}")


def _way_out(study: StudyView) -> str:
    """The default, where it can be taken."""
    base = study.baseline
    return f" Its default is {base.name}." if base is not None and base.metrics else ""
