"""Whether there is a gain that can be confirmed."""

from __future__ import annotations

from optuna_tuner.errors import ConflictError
from optuna_tuner.results.views import AT_REST, StudyState, StudyView
from optuna_tuner.store.records import AttemptKind


def demand_gain(study: StudyView) -> None:
    """Raise ConflictError, which says why, where a study runs or has nothing to confirm."""
    if study.state not in {*AT_REST, StudyState.WAITING}:
        raise ConflictError(f'study "{study.name}" is {study.state.value}: end it first, with optuna-tuner stop')
    best = study.best.trial
    if best is None or best.kind is AttemptKind.BASELINE or not study.comparison.gains:
        raise ConflictError(f'study "{study.name}" has nothing to confirm: {study.comparison.text}')
