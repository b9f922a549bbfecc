from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.errors import ConflictError, NotFoundError, StoreError
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import Desired, StudyRecord
from optuna_tuner.store.store import Store


def test_a_study_is_found_by_name_and_by_id(store: Store, study: StudyRecord) -> None:
    assert store.studies.get("llama") == store.studies.by_id(study.id) == study
    assert store.studies.all() == (study,)
    assert (study.desired, study.reserved, study.budget) == (Desired.RUN, 0, 3)


def test_a_name_is_taken_once(store: Store, study: StudyRecord) -> None:
    with pytest.raises(ConflictError, match=f'already called "{study.name}"'):
        store.studies.add(name=study.name, spec_json="{}", space_hash="", budget=1)
    assert store.studies.all() == (study,)


def test_an_unknown_name_lists_names_like_it(store: Store, study: StudyRecord) -> None:
    with pytest.raises(NotFoundError, match='did you mean "llama"'):
        store.studies.get("lama")
    with pytest.raises(NotFoundError, match=r'no study is called "qwen"$'):
        store.studies.get("qwen")
    with pytest.raises(NotFoundError):
        store.studies.by_id(study.id[::-1])


def test_what_is_wanted_is_kept(store: Store, study: StudyRecord) -> None:
    assert store.studies.want(study.id, Desired.STOP).desired is Desired.STOP
    assert store.studies.by_id(study.id).desired is Desired.STOP
    with pytest.raises(NotFoundError):
        store.studies.want(new_id(), Desired.RUN)


def test_a_study_that_is_given_up_says_why_until_it_shall_run_again(store: Store, study: StudyRecord) -> None:
    given_up = store.studies.give_up(study.id, "the disk is full")
    assert (given_up.desired, given_up.ended_because) == (Desired.STOP, "the disk is full")
    assert store.studies.give_up(study.id, "another reason").ended_because == "the disk is full", "the first counts"
    assert store.studies.want(study.id, Desired.CANCEL).ended_because == "the disk is full"
    again = store.studies.want(study.id, Desired.RUN)
    assert (again.desired, again.ended_because) == (Desired.RUN, None)
    with pytest.raises(NotFoundError):
        store.studies.give_up(new_id(), "")


@pytest.mark.parametrize("desired", [Desired.PAUSE, Desired.STOP, Desired.CANCEL])
def test_what_a_user_wanted_is_not_given_up(store: Store, study: StudyRecord, desired: Desired) -> None:
    store.studies.want(study.id, desired)
    found = store.studies.give_up(study.id, "the disk is full")
    assert (found.desired, found.ended_because) == (desired, None)


def test_the_study_lock_wants_an_id(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.study_lock("../../etc/passwd")


def test_another_thread_waits_for_the_study_lock(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optuna_tuner.store.locks.OUTAGE_BUDGET_S", 0.0)
    with (
        store.study_lock(study.id),
        pytest.raises(StoreError, match=f'lock "study-{study.id}" was not free'),
        store.study_lock(study.id),
    ):
        pass
    with store.study_lock(study.id):
        pass


def test_a_lock_that_cannot_be_had_is_a_clear_error(store: Store, study: StudyRecord, tmp_path: Path) -> None:
    (tmp_path / "studies.db.locks").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be had"), store.study_lock(study.id):
        pass


def test_the_study_lock_is_free_after_an_error(store: Store, study: StudyRecord) -> None:
    with pytest.raises(ZeroDivisionError), store.study_lock(study.id):
        raise ZeroDivisionError
    with store.study_lock(study.id):
        pass
