"""What a heart hears, and what it does when nobody hears it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import StoreError
from optuna_tuner.store.records import Desired, Orders, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import heart as heart_module
from optuna_tuner.tuning.heart import Heart
from optuna_tuner.values import Cause

LEASE_S = 90.0


class Beats:
    """The beats of a store with an error after the first one."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.real, self.count, self.error = store.workers.beat, 0, error
        monkeypatch.setattr(store.workers, "beat", self.beat)
        monkeypatch.setattr(heart_module, "BEAT_EVERY_S", 0.001)

    def beat(self, worker_id: str, attempt_id: str | None) -> Orders:
        self.count += 1
        if self.count > 1:
            raise self.error
        return self.real(worker_id, attempt_id)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1000.0
        monkeypatch.setattr(heart_module, "now", lambda: self.at)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def heart(store: Store, worker: WorkerRecord, clock: Clock) -> Iterator[Heart]:  # noqa: ARG001  before the first look
    """A heart that beats when the test says so."""
    yield Heart(store, worker.id, LEASE_S)
    store.hurry.clear()


@pytest.mark.parametrize("error", [RuntimeError("nobody foresaw this"), StoreError("the database is away")])
def test_no_error_stops_the_heart_and_a_database_that_is_away_costs_one_line(
    store: Store,
    worker: WorkerRecord,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    beats = Beats(store, monkeypatch, error)
    with Heart(store, worker.id, LEASE_S) as heart:
        assert poll(lambda: beats.count > 3 or None, Deadline.after(5), 0.001)
        assert not heart.orders.fenced
    assert all((record.exc_info is None) == isinstance(error, StoreError) for record in caplog.records)


def test_a_worker_unheard_of_for_two_thirds_of_a_lease_ends_its_trial_and_itself(
    heart: Heart, clock: Clock, store: Store, study: StudyRecord
) -> None:
    heart.beat()
    stop = heart.take(study.id)
    clock.at += 60
    heart.judge()
    assert (stop.is_set(), heart.orders.fenced) == (False, False)
    clock.at += 0.1
    heart.judge()
    assert (stop.is_set(), heart.orders.fenced, heart.cause) == (True, True, Cause.WORKER_LOST)
    assert store.hurry.is_set(), "nothing is waited for any more"


def test_what_counts_is_when_the_acknowledged_beat_was_sent(
    heart: Heart, clock: Clock, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others count from the commit at the latest; its acknowledgement may have been long on its way."""
    real = store.workers.beat

    def slow(worker_id: str, attempt_id: str | None) -> Orders:
        clock.at += 50
        return real(worker_id, attempt_id)

    monkeypatch.setattr(store.workers, "beat", slow)
    heart.beat()
    clock.at += 20
    heart.judge()
    assert heart.orders.fenced


def test_a_beat_that_comes_through_late_does_not_make_the_worker_live_again(heart: Heart, clock: Clock) -> None:
    heart.beat()
    clock.at += 61
    heart.judge()
    heart.beat()
    assert heart.orders.fenced


def test_what_is_taken_after_the_fence_is_stopped_at_once(heart: Heart, clock: Clock, study: StudyRecord) -> None:
    clock.at += 61
    heart.judge()
    assert heart.take(study.id).is_set()
    assert heart.cause is Cause.WORKER_LOST


def test_others_declare_it_dead_and_the_next_beat_tells(
    heart: Heart, store: Store, worker: WorkerRecord, study: StudyRecord
) -> None:
    stop = heart.take(study.id)
    store.workers.retire(worker.id)
    heart.beat()
    assert (stop.is_set(), heart.cause) == (True, Cause.WORKER_LOST)
    assert not store.hurry.is_set(), "the database answers: what is left can be said"


def test_a_cancelled_study_ends_the_attempt(heart: Heart, store: Store, study: StudyRecord) -> None:
    stop = heart.take(study.id)
    store.studies.want(study.id, Desired.CANCEL)
    heart.beat()
    assert (stop.is_set(), heart.cause) == (True, Cause.CANCELLED)


def test_a_worker_that_is_done_does_not_take_its_own_farewell_for_a_fence(
    store: Store, worker: WorkerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heart_module, "BEAT_EVERY_S", 0.0005)
    with Heart(store, worker.id, LEASE_S) as heart:
        pass
    store.workers.retire(worker.id)
    heart.beat()
    assert not heart.orders.fenced


def test_who_cannot_be_heard_even_once_ends_and_does_not_wait_for_ever(
    store: Store, worker: WorkerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_worker_id: str, _attempt_id: str | None) -> Orders:
        raise StoreError("the database is away")

    monkeypatch.setattr(store.workers, "beat", away)
    with Heart(store, worker.id, 0.03) as heart:
        assert heart.orders.fenced
    store.hurry.clear()


def test_an_interrupt_ends_the_attempt_and_all_waiting(heart: Heart, store: Store, study: StudyRecord) -> None:
    stop = heart.take(study.id)
    heart.interrupt()
    assert (stop.is_set(), heart.cause, store.hurry.is_set()) == (True, Cause.STOPPED, True)
    assert heart.take("the next").is_set()
