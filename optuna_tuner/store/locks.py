"""Locks among processes, also on several hosts; they end with the process that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

from filelock import FileLock, Timeout
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import StoreError
from optuna_tuner.store.database import Database
from optuna_tuner.store.retry import OUTAGE_BUDGET_S, weathered

_POLL_S = 0.05
_TAKE = {"postgresql": "SELECT pg_try_advisory_lock(:key)", "mysql": "SELECT GET_LOCK(:key, 0)"}
_FREE = {"postgresql": "SELECT pg_advisory_unlock(:key)", "mysql": "SELECT RELEASE_LOCK(:key)"}


@contextmanager
def held(database: Database, name: str) -> Iterator[None]:
    """Hold the lock of that name in this database, and wait for it for as long as an outage may last.

    Not re-entrant. A server that restarts forgets who held what: so whatever is done inside must also be guarded by
    the state of the rows. Raises StoreError when it cannot be had, in a hurry within a second.
    """
    holder = _held_file if database.file is not None else _held_session
    with holder(database, name):
        yield


@contextmanager
def _held_file(database: Database, name: str) -> Iterator[None]:
    file = f"{database.file}.locks/{name}.lock"
    lock = FileLock(file)
    try:
        if not _waited_for(lambda: _try(lock), database.hurry):
            raise _never_free(database, name)
    except OSError as error:
        raise StoreError(f"the lock {file} cannot be had: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _try(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def _waited_for(take: Callable[[], bool], hurry: Event) -> bool:
    def look() -> bool | None:
        return True if take() else False if hurry.is_set() else None

    return poll(look, Deadline.after(OUTAGE_BUDGET_S), _POLL_S) or False


@contextmanager
def _held_session(database: Database, name: str) -> Iterator[None]:
    try:
        connection = weathered(lambda: _locked_session(database, name), hurry=database.hurry)
    except SQLAlchemyError as error:
        raise database.refusal(error) from error
    try:
        yield
    finally:
        _release(database, name, connection)


def _locked_session(database: Database, name: str) -> Connection:
    connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    take, key = text(_TAKE[database.kind]), {"key": _key(database, name)}
    try:
        taken = _waited_for(lambda: bool(connection.scalar(take, key)), database.hurry)
    except BaseException:
        _hang_up(connection)  # it may be locked and nobody would know
        raise
    if not taken:
        connection.close()
        raise _never_free(database, name)
    return connection


def _release(database: Database, name: str, connection: Connection) -> None:
    try:
        connection.execute(text(_FREE[database.kind]), {"key": _key(database, name)})
    except SQLAlchemyError:
        _hang_up(connection)  # the server frees what a closed session held
    else:
        connection.close()


def _hang_up(connection: Connection) -> None:
    connection.invalidate()
    connection.close()


def _key(database: Database, name: str) -> str | int:
    # MySQL's locks belong to the whole server and have names; PostgreSQL's to one database and are 64-bit numbers.
    digest = hashlib.sha256(f"optuna-tuner {database.url.database} {name}".encode())
    return int.from_bytes(digest.digest()[:8], signed=True) if database.kind == "postgresql" else digest.hexdigest()


def _never_free(database: Database, name: str) -> StoreError:
    patience = "when it was wanted in a hurry" if database.hurry.is_set() else f"within {OUTAGE_BUDGET_S:g} s"
    return StoreError(f'{database.masked_url}: the lock "{name}" was not free {patience}')
