"""Cuts at a commit: the connection is lost just before it, or after it and before its reply."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from enum import StrEnum
from threading import Event

from sqlalchemy.pool import PoolProxiedConnection

from optuna_tuner.store.store import Store

SQLITE_IOERR = 10
HELD_S = 60.0


class Cut(StrEnum):
    """Where the next commit of a store is cut."""

    NONE = "none"
    BEFORE = "before the commit"
    AFTER = "after the commit"


class Cutter:
    """Stands between a store and its database. The store sees what it sees when a server or a line dies."""

    def __init__(self, store: Store) -> None:
        self._dialect = store._database.engine.dialect
        self._sqlite = store._database.kind == "sqlite"
        self._commit = self._dialect.do_commit
        self._next, self._meanwhile, self._first = Cut.NONE, _nothing, _nothing
        self._dialect.do_commit = self._cut_commit  # type: ignore[assignment,method-assign]

    def cut_next(self, cut: Cut, meanwhile: Callable[[], None] | None = None) -> None:
        """Cut the next commit; `meanwhile` happens to the database before the store tries again."""
        self._next, self._meanwhile = cut, meanwhile or _nothing

    def hold_next(self) -> tuple[Event, Event]:
        """Let the next commit wait: the first event says that it has come, the second one lets it go."""
        came, go = Event(), Event()

        def wait() -> None:
            self._first = _nothing
            came.set()
            assert go.wait(HELD_S)

        self._first = wait
        return came, go

    @property
    def pending(self) -> bool:
        """Whether the planned cut has not come yet."""
        return self._next is not Cut.NONE

    def _cut_commit(self, connection: PoolProxiedConnection) -> None:
        self._first()
        cut, self._next = self._next, Cut.NONE
        if cut is not Cut.BEFORE:
            self._commit(connection)
        if cut is not Cut.NONE:
            self._meanwhile()
            raise self._error()

    def _error(self) -> Exception:
        if self._sqlite:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = SQLITE_IOERR
            return error
        from psycopg import OperationalError  # noqa: PLC0415  an extra

        return OperationalError("server closed the connection unexpectedly")


def _nothing() -> None:
    """Nothing happens meanwhile."""
