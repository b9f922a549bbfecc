from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from stores import register

from optuna_tuner.errors import NotFoundError, StoreError
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import (
    AttemptRecord,
    Desired,
    Outcome,
    ResourceState,
    StudyRecord,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Handle, Request, Slot

REQUEST = Request(deployer="local", name="x", body={"argv": ["serve", "--port", "{port}"], "env": {}})
HANDLE = Handle(deployer="local", name="x", ref={"pid": 12, "start": 1.5})


@pytest.fixture
def attempt(store: Store, worker: WorkerRecord) -> AttemptRecord:
    found = store.attempts.claim(worker.study_id, worker.id, baseline=True)
    assert found is not None
    return found


def intend(store: Store, attempt: AttemptRecord, worker: WorkerRecord) -> str | None:
    name = new_id()
    done = store.ledger.intend(id=name, attempt_id=attempt.id, worker_id=worker.id, request=REQUEST)
    return name if done else None


def test_a_worker_is_kept_exactly(store: Store, worker: WorkerRecord) -> None:
    assert store.workers.get(worker.id) == worker
    assert worker.slot == Slot(name="0", host="h", gpus=("GPU-1",), cores=(0, 1))
    with pytest.raises(NotFoundError):
        store.workers.get(new_id())


def test_the_machine_is_kept_with_the_worker(store: Store, study: StudyRecord) -> None:
    slot = Slot(name="0", host="h")
    worker = store.workers.register(
        study_id=study.id, slot=slot, host="h", boot_id="b", pid=1, pid_start=0.0, machine="m"
    )
    assert store.workers.get(worker.id).machine == worker.machine == "m"


def test_a_worker_hears_that_the_tables_were_upgraded(store: Store, worker: WorkerRecord, tmp_path: Path) -> None:
    assert not store.workers.beat(worker.id, None).drain
    connection = sqlite3.connect(tmp_path / "studies.db")
    with connection:
        connection.execute("UPDATE tuner_alembic_version SET version_num = '9999'")
    connection.close()
    assert store.workers.beat(worker.id, None).drain
    assert store.workers.get(worker.id).beat == 2, "it still counts as alive"


def test_a_worker_needs_a_study(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.workers.register(
            study_id=new_id(), slot=Slot(name="0", host="h"), host="h", boot_id="b", pid=1, pid_start=0.0
        )


def test_each_beat_counts_and_brings_orders(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    assert store.workers.beat(worker.id, None).desired is Desired.RUN
    store.studies.want(study.id, Desired.PAUSE)
    assert store.workers.beat(worker.id, None).desired is Desired.PAUSE
    assert store.workers.get(worker.id).beat == 2
    with pytest.raises(NotFoundError):
        store.workers.beat(new_id(), None)


def test_a_retired_worker_hears_that_it_is_fenced_and_beats_no_more(store: Store, worker: WorkerRecord) -> None:
    assert not store.workers.beat(worker.id, None).fenced
    store.workers.retire(worker.id)
    store.workers.retire(worker.id)
    assert store.workers.beat(worker.id, None).fenced
    assert store.workers.get(worker.id).beat == 1


def test_the_living_are_those_that_nobody_retired(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    other = store.studies.add(name="other", spec_json="{}", space_hash="", budget=1)
    second, third = register(store, study), register(store, other)
    store.workers.retire(worker.id)
    assert store.workers.alive(study.id) == (second,)
    assert {living.id for living in store.workers.alive()} == {second.id, third.id}
    assert len(store.workers.all()) == 3


def test_a_resource_goes_from_intent_to_created_to_gone(
    store: Store, worker: WorkerRecord, attempt: AttemptRecord
) -> None:
    name = intend(store, attempt, worker)
    assert name is not None
    assert [found.state for found in store.ledger.open_of(worker.id)] == [ResourceState.INTENT]
    assert store.ledger.created(name, HANDLE)
    assert store.ledger.created(name, HANDLE), "the same again: only the reply was lost"
    (found,) = store.ledger.open_all()
    assert (found.request, found.handle, found.state) == (REQUEST, HANDLE, ResourceState.CREATED)
    store.ledger.gone(name)
    store.ledger.gone(name)
    assert store.ledger.open_of(worker.id) == store.ledger.open_all() == ()
    assert store.ledger.get(name).state is ResourceState.GONE
    assert [event.kind.value for event in store.events.of(attempt.id)][2:] == ["intent", "created", "gone"]
    assert not store.ledger.created(name, HANDLE), "what is gone stays gone"


def test_an_intent_whose_reply_was_lost_is_written_once(
    store: Store, worker: WorkerRecord, attempt: AttemptRecord
) -> None:
    name = new_id()
    for _ in range(2):
        assert store.ledger.intend(id=name, attempt_id=attempt.id, worker_id=worker.id, request=REQUEST)
    assert len(store.ledger.open_all()) == 1


def test_after_a_reaper_declared_it_gone_nothing_is_created(
    store: Store, worker: WorkerRecord, attempt: AttemptRecord
) -> None:
    name = intend(store, attempt, worker)
    assert name is not None
    store.ledger.gone(name)
    assert not store.ledger.created(name, HANDLE)
    assert store.ledger.get(name).state is ResourceState.GONE


def test_a_retired_worker_neither_intends_nor_creates(
    store: Store, worker: WorkerRecord, attempt: AttemptRecord
) -> None:
    name = intend(store, attempt, worker)
    assert name is not None
    store.workers.retire(worker.id)
    assert intend(store, attempt, worker) is None
    assert not store.ledger.created(name, HANDLE)
    assert [found.id for found in store.ledger.open_of(worker.id)] == [name], "the reaper still sees it"


def test_nothing_is_intended_for_an_attempt_that_ended_or_is_anothers(
    store: Store, study: StudyRecord, worker: WorkerRecord, attempt: AttemptRecord
) -> None:
    assert intend(store, attempt, register(store, study)) is None
    lost = Outcome(verdict=Verdict.FAIL, cause=Cause.WORKER_LOST)
    assert store.attempts.end(attempt.id, worker.id, lost, retry=True)
    assert intend(store, attempt, worker) is None


def test_an_unknown_resource_is_said(store: Store) -> None:
    for ask in (store.ledger.get, store.ledger.gone, lambda name: store.ledger.created(name, HANDLE)):
        with pytest.raises(NotFoundError, match="holds no resource"):
            ask(new_id())


def test_a_request_with_a_number_that_is_not_finite_is_refused(
    store: Store, worker: WorkerRecord, attempt: AttemptRecord
) -> None:
    bad = Request(deployer="local", name="x", body={"x": float("inf")})
    with pytest.raises(StoreError, match="not finite"):
        store.ledger.intend(id=new_id(), attempt_id=attempt.id, worker_id=worker.id, request=bad)
    assert store.ledger.open_all() == ()
