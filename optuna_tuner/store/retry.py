"""Database trouble is weather: it is waited out, with jitter, for as long as an outage may last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import stamina
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

Result = TypeVar("Result")

OUTAGE_BUDGET_S = 600.0

_PAUSES = {"wait_initial": 0.05, "wait_max": 2.0, "wait_jitter": 0.5}
_SQLITE = frozenset({5, 6, 10, 13})  # BUSY, LOCKED, IOERR, FULL
_POSTGRESQL_CLASSES = ("08", "40", "53", "57")  # connection, rollback, resources (disk full too), operator
_POSTGRESQL = frozenset({"55P03"})  # lock not available
_MYSQL = frozenset({0, 1021, 1040, 1053, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 2002, 2003, 2006, 2013, 2014, 2055})
_NOT_YET = ("starting up", "shutting down", "recovery mode", "not yet accepting", "too many", "remaining connection")


def weathered(call: Callable[[], Result], patience_s: float = OUTAGE_BUDGET_S) -> Result:
    """What the call returns, tried again while the database is away or busy; its last error after `patience_s`.

    The call must be idempotent: a commit whose reply was lost is repeated.
    """
    weather = stamina.retry_context(
        is_weather, attempts=None, timeout=patience_s, wait_initial=0.05, wait_max=2.0, wait_jitter=0.5
    )
    for attempt in weather:
        with attempt:
            return call()
    raise AssertionError("unreachable: the last attempt returns or raises")


def is_weather(error: Exception) -> bool:
    """Whether the same call may succeed later. Looks behind the errors that Optuna wraps around those of SQLAlchemy."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PoolTimeoutError):
            return True
        if isinstance(cause, DBAPIError):
            return cause.connection_invalidated or (cause.orig is not None and _passes(cause.orig))
        cause = cause.__cause__
    return False


def is_not_yet(error: DBAPIError) -> bool:
    """Whether a server that refuses a first connection says that it will accept one soon."""
    return any(sign in str(error.orig).lower() for sign in _NOT_YET)


def _passes(error: BaseException) -> bool:
    sqlite_code = getattr(error, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE  # the low byte is the primary code
    if type(error).__module__.startswith("psycopg"):
        return _passes_postgresql(error)
    code = error.args[0] if error.args else None
    return code in _MYSQL


def _passes_postgresql(error: BaseException) -> bool:
    from psycopg import InterfaceError, OperationalError  # noqa: PLC0415  an extra: only here when it is in use

    state = getattr(error, "sqlstate", None)
    if state is None:  # libpq gives none when there is no connection (any more)
        return isinstance(error, OperationalError | InterfaceError)
    return state in _POSTGRESQL or state.startswith(_POSTGRESQL_CLASSES)
