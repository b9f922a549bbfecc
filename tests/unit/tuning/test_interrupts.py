"""What a signal does to a worker."""

from __future__ import annotations

import signal
from threading import Event, Lock

import pytest

from optuna_tuner.tuning.interrupts import Interruption, on_signals


def test_a_signal_may_come_while_the_main_thread_holds_a_lock_that_the_interrupt_needs() -> None:
    lock, got = Lock(), Event()

    def interrupt() -> None:
        if lock.acquire(timeout=5):
            got.set()

    with on_signals() as interruption:
        interruption.answer(interrupt)
        with lock:
            signal.raise_signal(signal.SIGTERM)
        assert got.wait(5)


def test_afterwards_signals_mean_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with on_signals():
        assert signal.getsignal(signal.SIGINT) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_before_anybody_answers_a_signal_ends_the_start(number: signal.Signals) -> None:
    def start() -> None:
        with on_signals():
            signal.raise_signal(number)
            Event().wait(5)

    with pytest.raises(KeyboardInterrupt):
        start()


def test_who_answers_too_late_is_told_at_once() -> None:
    told = Event()
    interruption = Interruption()
    interruption.ask()
    interruption.answer(told.set)
    assert told.is_set()


def test_the_end_is_asked_for_once() -> None:
    told: list[int] = []
    interruption = Interruption()
    interruption.answer(lambda: told.append(1))
    interruption.ask()
    interruption.ask()
    assert told == [1]
