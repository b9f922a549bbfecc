"""A connection to PostgreSQL that gives up on a server from which nothing comes any more.

The server ends a statement that takes too long, and TCP finds a dead line; but a proxy or a firewall that swallows
the reply keeps the line alive, and libpq would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event
from typing import TYPE_CHECKING, TypeVar

import psycopg

from optuna_tuner.clock import now
from optuna_tuner.store.connections import CONNECT_TIMEOUT_S, HURRY_S, STATEMENT_TIMEOUT_S

if TYPE_CHECKING:
    from psycopg.abc import PQGen

Value = TypeVar("Value")

SILENCE_S = STATEMENT_TIMEOUT_S + CONNECT_TIMEOUT_S  # the server itself ends a statement earlier


class _Patient(psycopg.Connection):
    hurry = Event()  # `connect` gives each one that of its process

    def wait(self, gen: PQGen[Value], interval: float = 0.1, timeout: float | None = None) -> Value:
        began = now()

        def is_silent() -> bool:
            return now() - began > (HURRY_S if self.hurry.is_set() else SILENCE_S)

        try:
            return super().wait(_bounded(gen, is_silent), interval, timeout)
        except psycopg.OperationalError:
            if is_silent():
                self.close()  # nobody may use it again: the reply may still come
            raise


def connect(hurry: Event, arguments: Mapping[str, object]) -> psycopg.Connection:
    """A new connection. `arguments`: what SQLAlchemy has made for psycopg's own `connect`."""
    connection = _Patient.connect(**arguments)  # type: ignore[arg-type]
    connection.hurry = hurry
    return connection


def _bounded(gen: PQGen[Value], is_silent: Callable[[], bool]) -> PQGen[Value]:
    """The same steps, but for an error once nothing came for too long; psycopg asks at each interval."""
    try:
        want = next(gen)
        while True:
            ready = yield want
            if not ready and is_silent():
                raise psycopg.OperationalError("the server fell silent")
            want = gen.send(ready)
    except StopIteration as end:
        value: Value = end.value
        return value
