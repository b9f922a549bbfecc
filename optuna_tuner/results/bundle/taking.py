"""From the store and this machine's files to bundles."""

from __future__ import annotations

from pathlib import Path

from optuna_tuner.errors import NotFoundError
from optuna_tuner.home import artifacts_folder
from optuna_tuner.results.bundle.describing import Source, described, known_of
from optuna_tuner.results.bundle.run import Run
from optuna_tuner.results.bundle.writing import write_study, write_trial
from optuna_tuner.results.levels import with_levels
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.store.store import Store
from optuna_tuner.values import Handle


def bundled(store: Store, study: StudyView, folder: Path, number: int | None) -> tuple[Run, ...]:
    """Of one trial, or of each that has a number. Of one that ran elsewhere, what the database knows.

    Raises BundleError and NotFoundError.
    """
    if number is not None:
        return (write_trial(_source(store, study, study.trial(number)), folder),)
    numbered = [trial for trial in study.trials if trial.number is not None]
    return write_study(study, [_source(store, study, trial) for trial in numbered], folder)


def run_of(store: Store, study: StudyView, trial: TrialView) -> Run:
    """What the bundle of a trial would say of it; no file is written, and none of requests is read."""
    source = _source(store, study, trial)
    return described(source, known_of(source), {}, ())


def _source(store: Store, study: StudyView, trial: TrialView) -> Source:
    folder = artifacts_folder() / study.id / trial.attempt_id
    return Source(study=study, trial=with_levels(trial, folder), folder=folder, handle=_server(store, trial.attempt_id))


def _server(store: Store, attempt_id: str) -> Handle | None:
    """Its name in the ledger, which is the attempt's; None where nothing was started."""
    try:
        return store.ledger.get(attempt_id).handle
    except NotFoundError:
        return None
