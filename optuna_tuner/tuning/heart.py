"""A worker's heart: it says that the worker lives, brings back what is wanted of it, and ends a worker unheard of."""

from __future__ import annotations

import logging
from dataclasses import replace
from threading import Event, Lock
from typing import Self

from optuna_tuner.clock import now
from optuna_tuner.store.records import Desired, Orders
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.pulse import Pulse
from optuna_tuner.values import Cause

BEAT_EVERY_S = 1.0
BEATS_A_LEASE = 10  # at least
SILENT_SHARE = 2 / 3  # of a lease: then a worker takes itself for dead, long before others do
FAREWELL_S = 2.0  # a beat under way is waited for; one that waits for the database ends with the process

logger = logging.getLogger(__name__)


class Heart:
    """Beats in a thread of its own. `stop` is the flag of the attempt in hand, `cause` says who set it.

    Others declare a worker dead when they saw its beat stand still for a lease. So a second thread, which asks nobody,
    watches by its own monotonic clock when a beat was acknowledged last, and after two thirds of a lease without one
    ends the trial in hand and the worker. A process that was stopped for longer finds itself dead when it goes on.
    """

    def __init__(self, store: Store, worker_id: str, lease_s: float) -> None:
        self._store, self._worker_id = store, worker_id
        self._silent_s = SILENT_SHARE * lease_s
        self._lock, self._heard, self._closed = Lock(), Event(), Event()
        self._acknowledged_at = now()
        every_s = min(BEAT_EVERY_S, lease_s / BEATS_A_LEASE)
        self._pulses = (Pulse("heart", self.beat, every_s), Pulse("lease", self.judge, every_s))
        self._attempt_id: str | None = None
        self.orders = Orders(desired=Desired.RUN, cancel_attempt=False, fenced=False)
        self.stop, self.cause = Event(), Cause.STOPPED
        self.interrupted = Event()

    def __enter__(self) -> Self:
        """Wait for the first orders; also for their absence, which ends the worker."""
        self._acknowledged_at = now()
        for pulse in self._pulses:
            pulse.start()
        self._heard.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()  # before the last beat: the worker's farewell must not look like a fence
        for pulse in self._pulses:
            pulse.close(FAREWELL_S)

    def take(self, attempt_id: str | None) -> Event:
        """Say which attempt is in hand; returns its stop flag, already set if the worker is to end at once."""
        with self._lock:
            self._attempt_id, self.stop, self.cause = attempt_id, Event(), Cause.STOPPED
            if self.orders.fenced:
                self._end(Cause.WORKER_LOST)
            if self.interrupted.is_set():
                self.stop.set()
            return self.stop

    def interrupt(self) -> None:
        """End the attempt in hand, give its parameters back, and let the worker end without waiting for anything."""
        self.interrupted.set()
        self._store.hurry.set()
        self._heard.set()
        self.stop.set()

    def beat(self) -> None:
        """Say once that the worker lives, and obey. Raises StoreError when nobody could be told."""
        attempt_id, said_at = self._attempt_id, now()
        orders = self._store.workers.beat(self._worker_id, attempt_id)
        with self._lock:
            if self._closed.is_set():
                return
            self._acknowledged_at = max(self._acknowledged_at, said_at)
            self.orders = replace(orders, fenced=orders.fenced or self.orders.fenced)
            if attempt_id == self._attempt_id:
                self._obey(self.orders)
        self._heard.set()

    def _obey(self, orders: Orders) -> None:
        if orders.fenced:
            self._end(Cause.WORKER_LOST)
        elif orders.cancel_attempt or orders.desired is Desired.CANCEL:
            self._end(Cause.CANCELLED)

    def _end(self, cause: Cause) -> None:
        if self._attempt_id is not None and not self.stop.is_set():
            self.cause = cause
            self.stop.set()

    def judge(self) -> None:
        """Take the worker for dead when it was not heard of for too long; asks nobody and waits for nothing."""
        with self._lock:
            silent_s = now() - self._acknowledged_at
            if silent_s <= self._silent_s or self.orders.fenced or self._closed.is_set():
                return
            self.orders = replace(self.orders, fenced=True)
            self._end(Cause.WORKER_LOST)
        self._store.hurry.set()
        self._heard.set()
        logger.error("no beat was acknowledged for %.0f s; this worker ends, as others will take it for dead", silent_s)
