"""Connections as each kind of database needs them: none waits for ever, and on SQLite writers begin as writers."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from optuna_tuner.clock import now
from optuna_tuner.errors import StoreError
from optuna_tuner.store.retry import is_weather

if TYPE_CHECKING:
    from psycopg import Connection as PostgresqlConnection
    from sqlalchemy import Dialect
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
HURRY_S = 2.0  # a call of a process that is in a hurry takes no longer than this once the database falls silent
BEGIN = "tuner_begin"  # execution option: how a transaction begins on SQLite
READER, WRITER, NONE = "BEGIN", "BEGIN IMMEDIATE", ""

# SQLite waits for another writer inside one call, in which Python handles no signal: so in slices, see `_begin`.
_SLICE_S = 1.0
_ROW_LOCK_S = 10
_KEEPALIVES: Final = {"idle": 10, "interval": 5, "count": 4}
_CONNECT_ARGS: Final[dict[str, dict[str, object]]] = {
    "sqlite": {"timeout": _SLICE_S},
    "postgresql": {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": 1000 * STATEMENT_TIMEOUT_S,
        **{f"keepalives_{name}": value for name, value in _KEEPALIVES.items()},
    },
    # A dead line must not look shorter than the wait for a row's lock.
    "mysql": {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": 2 * _ROW_LOCK_S,
        "write_timeout": 2 * _ROW_LOCK_S,
    },
}
# Both servers keep the locks of a host that vanished until its connections are found dead: by default, for hours.
_SETTINGS = {
    "sqlite": ("PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"),
    "postgresql": (
        f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'",
        f"SET idle_in_transaction_session_timeout = '{BUSY_TIMEOUT_S}s'",
        *(f"SET tcp_keepalives_{name} = {value}" for name, value in _KEEPALIVES.items()),
    ),
    "mysql": (
        f"SET SESSION wait_timeout = {2 * BUSY_TIMEOUT_S}",
        f"SET SESSION innodb_lock_wait_timeout = {_ROW_LOCK_S}",
    ),
}


def options(kind: str) -> dict[str, object]:
    """What SQLAlchemy's `create_engine` is called with."""
    chosen: dict[str, object] = {"connect_args": _CONNECT_ARGS[kind], "hide_parameters": True}
    if kind != "sqlite":
        chosen |= {"pool_pre_ping": True, "pool_size": 3, "pool_recycle": 1800, "isolation_level": "READ COMMITTED"}
    return chosen


def prepare(engine: Engine, kind: str, hurry: Event) -> None:
    """Set up each connection of the engine from now on. Once `hurry` is set, none waits for more than `HURRY_S`."""

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        if kind == "sqlite":
            connection.isolation_level = None  # the driver shall not begin by itself: `begin` below does
        cursor = connection.cursor()
        for setting in _SETTINGS[kind]:
            cursor.execute(setting)
        cursor.close()
        connection.commit()

    if kind == "sqlite":

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # A reader that turns writer fails at once when another wrote in between, whatever the time-out.
            how = connection.get_execution_options().get(BEGIN, WRITER)
            if how:
                _begin(connection, how, hurry)

    if kind == "postgresql":
        from optuna_tuner.store.postgresql import connect  # noqa: PLC0415  the driver is an extra

        @event.listens_for(engine, "do_connect")
        def do_connect(
            _dialect: Dialect, _entry: ConnectionPoolEntry, _unnamed: list[object], arguments: dict[str, object]
        ) -> PostgresqlConnection:
            return connect(hurry, arguments)


def _begin(connection: Connection, how: str, hurry: Event) -> None:
    began = now()
    while True:
        slice_began = now()
        try:
            connection.exec_driver_sql(how)
        except (OperationalError, StoreError) as error:  # the latter on Optuna's engine, which is told nothing else
            # An answer that comes at once is no wait for another writer: whoever retries shall pause before.
            waited = is_weather(error) and now() - slice_began > _SLICE_S / 2
            if not waited or now() - began > (HURRY_S if hurry.is_set() else BUSY_TIMEOUT_S):
                raise
        else:
            return
