"""A worker's heartbeat: it says that the worker lives, and brings back what is wanted of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from threading import Event, Lock, Thread
from typing import Self

from optuna_tuner.errors import StoreError
from optuna_tuner.store.records import Desired, Orders
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause

BEAT_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Heart:
    """Beats in a thread of its own. `stop` is the flag of the attempt in hand, `cause` says who set it."""

    def __init__(self, store: Store, worker_id: str) -> None:
        self._store, self._worker_id = store, worker_id
        self._lock, self._done = Lock(), Event()
        self._thread = Thread(target=self._beat_on, name="heart", daemon=True)
        self._attempt_id: str | None = None
        self.orders = Orders(desired=Desired.RUN, cancel_attempt=False, fenced=False)
        self.stop, self.cause = Event(), Cause.STOPPED
        self.interrupted = Event()

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def take(self, attempt_id: str | None) -> Event:
        """Say which attempt is in hand; returns its stop flag, already set if the worker was interrupted."""
        with self._lock:
            self._attempt_id, self.stop, self.cause = attempt_id, Event(), Cause.STOPPED
            if self.interrupted.is_set():
                self.stop.set()
            return self.stop

    def interrupt(self) -> None:
        """End the attempt in hand, give its parameters back, and let the worker end."""
        self.interrupted.set()
        self.stop.set()

    def beat(self) -> None:
        """Say once that the worker lives, and obey."""
        attempt_id = self._attempt_id
        orders = self._store.workers.beat(self._worker_id, attempt_id)
        with self._lock:
            self.orders = orders
            if attempt_id == self._attempt_id:
                self._obey(orders)

    def _obey(self, orders: Orders) -> None:
        if orders.fenced:
            self._end(Cause.WORKER_LOST)
        elif orders.cancel_attempt or orders.desired is Desired.CANCEL:
            self._end(Cause.CANCELLED)

    def _end(self, cause: Cause) -> None:
        if self._attempt_id is not None and not self.stop.is_set():
            self.cause = cause
            self.stop.set()

    def _beat_on(self) -> None:
        try:
            while not self._done.wait(BEAT_EVERY_S):
                self._try_to_beat()
        finally:
            if not self._done.is_set():
                self._stop_silent_worker()

    def _try_to_beat(self) -> None:
        try:
            self.beat()
        except StoreError as error:
            logger.warning("no beat; trying again: %s", error)

    def _stop_silent_worker(self) -> None:
        """Without a heart it neither hears nor is heard: it ends as if others had declared it dead."""
        with self._lock:
            self.orders = replace(self.orders, fenced=True)
            self._obey(self.orders)
