"""What a signal, a failing heart or a failing watch does to a worker."""

from __future__ import annotations

import signal
from threading import Event, Lock

import pytest

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import StoreError
from optuna_tuner.store.records import Orders, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import heart as heart_module
from optuna_tuner.tuning.heart import Heart
from optuna_tuner.tuning.process import on_signals
from optuna_tuner.values import Cause


def test_a_signal_may_come_while_the_main_thread_holds_a_lock_that_the_interrupt_needs() -> None:
    lock, got = Lock(), Event()

    def interrupt() -> None:
        if lock.acquire(timeout=5):
            got.set()

    with on_signals(interrupt):
        with lock:
            signal.raise_signal(signal.SIGTERM)
        assert got.wait(5)


def test_afterwards_signals_mean_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with on_signals(lambda: None):
        assert signal.getsignal(signal.SIGINT) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_whose_heart_died_ends(
    store: Store, study: StudyRecord, worker: WorkerRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    Beats(store, monkeypatch, RuntimeError("nobody foresaw this"))
    with Heart(store, worker.id) as heart:
        stop = heart.take(study.id)
        assert stop.wait(5)
        assert (heart.orders.fenced, heart.cause) == (True, Cause.WORKER_LOST)


def test_a_database_that_is_away_does_not_stop_the_heart_and_costs_one_line(
    store: Store, worker: WorkerRecord, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beats = Beats(store, monkeypatch, StoreError("the database is away"))
    with Heart(store, worker.id) as heart:
        assert poll(lambda: beats.count > 3 or None, Deadline.after(5), 0.001)
        assert not heart.orders.fenced
    assert caplog.records[0].getMessage() == "no beat; trying again: the database is away"
    assert caplog.records[0].exc_info is None
