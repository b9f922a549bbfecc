"""A study is created once and resumed ever after; a changed one needs a name of its own."""

from __future__ import annotations

import logging

from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import ConflictError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.search.grid import trials_of
from optuna_tuner.spec.confirm import Confirm
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import Desired, StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.beginning import beginning
from optuna_tuner.tuning.foreseen import anywhere
from optuna_tuner.tuning.history import ensure_optuna_study, optuna_study_exists

KINDS = InstalledKinds()
logger = logging.getLogger(__name__)


def create_or_resume(store: Store, spec: StudySpec, kinds: Kinds = KINDS) -> StudyRecord:
    """The study of this name, new or as it was left; its budget and limits become those of the file.

    Raises ConflictError where the name belongs to a study whose space, goals, engine, model or benchmark differ, or
    to a study that Optuna knows and we do not, and where an older study to start from is of another engine;
    NotFoundError where there is none of that name; EnvironmentFaultError where a prediction fails.
    """
    found = beginning(store, spec, kinds)
    for remark in found.predicted.remarks:
        logger.warning("%s", remark)
    spec = found.added_to(spec)
    trials = trials_of(spec, anywhere(spec, kinds))
    record = _known(store, spec.name) or _made(store, spec, trials)
    if record.space_hash != spec.space_hash():
        raise ConflictError(
            f'study "{spec.name}" exists with another space, goals, engine, model or benchmark: '
            "its trials cannot be compared with the new ones; give the changed study a new name"
        )
    store.studies.set_spec(record.id, spec.model_dump_json())
    store.studies.set_budget(record.id, trials)
    store.studies.want(record.id, Desired.RUN)
    ensure_optuna_study(store, spec)
    return store.studies.by_id(record.id)


def ask_for_confirmation(
    store: Store, record: StudyRecord, pairs: int | None = None, simplify: int | None = None
) -> None:
    """Have the best of a study confirmed, by so many pairs in all, and so many simpler ones tried; its search is over.

    What is not given is the study's own, or the usual. Raises ConflictError where several objectives are simplified.
    """
    spec = StudySpec.model_validate_json(record.spec_json)
    if simplify and len(spec.goals.objectives) > 1:
        raise ConflictError(f'study "{spec.name}" has several objectives: nothing can be said of its single flags')
    asked = {"pairs": pairs, "simplify": simplify}
    given = {name: count for name, count in asked.items() if count is not None}
    wanted = (spec.confirm or Confirm()).model_copy(update=given)
    store.studies.set_spec(record.id, spec.model_copy(update={"confirm": wanted}).model_dump_json())
    store.studies.set_budget(record.id, 0)  # what was claimed stays claimed


def _known(store: Store, name: str) -> StudyRecord | None:
    return next((each for each in store.studies.all() if each.name == name), None)


def _made(store: Store, spec: StudySpec, trials: int) -> StudyRecord:
    """A new study, or the one of this name that somebody else made in the same moment."""
    strange = optuna_study_exists(store, spec.name)
    if strange and not _known(store, spec.name):  # ours are made before Optuna's: this one has none of ours
        raise ConflictError(
            f'an Optuna study "{spec.name}" that this program did not make is in {store.masked_url}: '
            "choose another name"
        )
    try:
        return store.studies.add(
            name=spec.name, spec_json=spec.model_dump_json(), space_hash=spec.space_hash(), budget=trials
        )
    except ConflictError:
        return store.studies.get(spec.name)
