"""Database trouble is weather: it is waited out, with jitter, for as long as an outage may last."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event
from typing import TypeVar

import stamina
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

OUTAGE_BUDGET_S = 600.0
_SAY_FIRST, _SAY_EVERY = 3, 20  # retries; a lock that is free again at once is no news

_SQLITE = frozenset({5, 6, 10, 13, 15})  # BUSY, LOCKED, IOERR, FULL, PROTOCOL (a race for the write-ahead log)
_POSTGRESQL_CLASSES = (
    "08",
    "40",
    "53",
    "57",
    "58",
)  # connection, rollback, resources (disk full too), operator, system
# Read only (while the roles of two servers change), idle in a transaction, transaction too long, lock not available.
_POSTGRESQL = frozenset({"25006", "25P03", "25P04", "55P03"})
_MYSQL_DISK = (3, 1021, 1026, 1030, 1114)
_MYSQL_LOCKS = (1020, 1180, 1205, 1206, 1213, 3572)
_MYSQL_BUSY = (1037, 1040, 1041, 1135, 1203, 1226)
_MYSQL_AWAY = (0, 1047, 1053, 1152, 1158, 1159, 1160, 1161, 1184, 1290, 1836, 1927, 4031)
_MYSQL_STOPPED = (1317, 1969, 3024)  # the statement: killed, or too slow
_MYSQL_CLIENT = (2002, 2003, 2005, 2006, 2013, 2014, 2026, 2027, 2045, 2055)
_MYSQL = frozenset({*_MYSQL_DISK, *_MYSQL_LOCKS, *_MYSQL_BUSY, *_MYSQL_AWAY, *_MYSQL_STOPPED, *_MYSQL_CLIENT})
_TORN = "Packet sequence number wrong"  # PyMySQL gives this one no number
_NOT_YET = ("starting up", "shutting down", "recovery mode", "not yet accepting", "too many", "remaining connection")


def weathered(call: Callable[[], Result], patience_s: float = OUTAGE_BUDGET_S, hurry: Event | None = None) -> Result:
    """What the call returns, tried again while the database is away or busy; its last error after `patience_s`.

    Once `hurry` is set, the next error is the last one; that is known within a second. The call must be idempotent: a
    commit whose reply was lost is repeated.
    """

    def passes(error: Exception) -> bool:
        return not (hurry is not None and hurry.is_set()) and is_weather(error)

    weather = stamina.retry_context(
        passes, attempts=None, timeout=patience_s, wait_initial=0.05, wait_max=1.0, wait_jitter=0.5
    )
    for attempt in weather:
        with attempt:
            return call()
    raise AssertionError("unreachable: the last attempt returns or raises")


def say_retries() -> None:
    """Log the retries of this process that last; by itself stamina says each, in its own words, or even on stdout."""
    stamina.instrumentation.set_on_retry_hooks([_say])


def _say(details: stamina.instrumentation.RetryDetails) -> None:
    if details.retry_num % _SAY_EVERY != _SAY_FIRST:
        return
    kind = type(getattr(details.caused_by, "orig", None) or details.caused_by).__name__  # its text may hold a secret
    logger.warning("the database is busy or away (%s); it is tried again since %.1f s", kind, details.waited_so_far)


def is_weather(error: Exception) -> bool:
    """Whether the same call may succeed later. Looks behind errors that wrap those of SQLAlchemy or of a driver."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PoolTimeoutError) or _passes(cause):
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
    driver = type(error).__module__.partition(".")[0]
    if driver == "psycopg":
        return _passes_postgresql(error)
    return driver == "pymysql" and _passes_mysql(error)


def _passes_mysql(error: BaseException) -> bool:
    code = error.args[0] if error.args else None
    return code in _MYSQL or _TORN in str(code)


def _passes_postgresql(error: BaseException) -> bool:
    from psycopg import InterfaceError, OperationalError  # noqa: PLC0415  an extra: only here when it is in use

    state = getattr(error, "sqlstate", None)
    if state is None:  # libpq gives none when there is no connection (any more)
        return isinstance(error, OperationalError | InterfaceError)
    return state in _POSTGRESQL or state.startswith(_POSTGRESQL_CLASSES)
