"""One database: its connections as each kind needs them, and short transactions that wait out the weather."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from optuna_tuner.errors import ConflictError, StoreError
from optuna_tuner.store import urls
from optuna_tuner.store.retry import OUTAGE_BUDGET_S, is_not_yet, weathered

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

Result = TypeVar("Result")

BUSY_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
_BEGIN = "tuner_begin"  # execution option: how a transaction begins on SQLite
_READER, _WRITER, _NONE = "BEGIN", "BEGIN IMMEDIATE", ""

_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}
_CONNECT_ARGS: Final[dict[str, dict[str, object]]] = {
    "sqlite": {"timeout": BUSY_TIMEOUT_S},
    "postgresql": {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": 1000 * STATEMENT_TIMEOUT_S},
    # A wait for a row's lock ends after 50 s in MySQL itself; a dead line must not look shorter than that.
    "mysql": {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": BUSY_TIMEOUT_S, "write_timeout": BUSY_TIMEOUT_S},
}
# Both servers keep the locks of a host that vanished until its connections are found dead: by default, for hours.
_SETTINGS = {
    "sqlite": ("PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"),
    "postgresql": (
        f"SET statement_timeout = '{STATEMENT_TIMEOUT_S}s'",
        f"SET idle_in_transaction_session_timeout = '{BUSY_TIMEOUT_S}s'",
        *(f"SET tcp_keepalives_{name} = {value}" for name, value in (("idle", 10), ("interval", 5), ("count", 4))),
    ),
    "mysql": (f"SET SESSION wait_timeout = {2 * BUSY_TIMEOUT_S}",),
}


class Database:
    """Where everything is kept. Making one touches nothing; the first transaction connects."""

    def __init__(self, url: str) -> None:
        """Read the URL. Raises StoreError when it is none that can be used; never repeats a password."""
        self.url = urls.parse(url)
        self.masked_url = urls.masked(self.url)
        self.kind = self.url.get_backend_name()
        if self.file is not None:
            urls.refuse_network_file_system(self.file)

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(self.url.database or "") if self.kind == "sqlite" else None

    @cached_property
    def engine(self) -> Engine:
        """The connections of this process. Raises StoreError when the driver is missing."""
        try:
            engine = create_engine(self.url, **self._options())
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get(error.name or "")
            hint = f'; get it by: pip install "optuna-tuner[{extra}]"' if extra else ""
            raise StoreError(f"{self.masked_url} needs the Python package {error.name}{hint}") from None
        _prepare(engine, self.kind)
        return engine

    def _options(self) -> dict[str, object]:
        options: dict[str, object] = {"connect_args": _CONNECT_ARGS[self.kind], "hide_parameters": True}
        if self.kind != "sqlite":
            options |= {
                "pool_pre_ping": True,
                "pool_size": 3,
                "pool_recycle": 1800,
                "isolation_level": "READ COMMITTED",
            }
        return options

    def optuna_storage(self, *, reading: bool, new: bool = False) -> RDBStorage:
        """Optuna's storage on the same database. `new` makes its tables; `reading` never waits for a writer.

        Optuna's constructor nests two connections, which would wait for each other for ever if both began as writers;
        so it gets plain ones, which are closed afterwards. Raises StoreError for tables of another version of Optuna.
        """
        from optuna.storages import RDBStorage  # noqa: PLC0415  heavy

        try:
            storage = RDBStorage(urls.literal(self.url), engine_kwargs=self._options(), skip_table_creation=not new)
        except RuntimeError as error:
            raise StoreError(
                f"Optuna's tables in {self.masked_url} were made by another version of Optuna; "
                "bring them up with: optuna-tuner db upgrade"
            ) from error
        storage.engine.dispose()
        _prepare(storage.engine, self.kind)
        if reading:
            storage.engine.update_execution_options(**{_BEGIN: _READER})
        return storage

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, run in one transaction that only reads. Raises StoreError when the database says no."""
        return self._run(work, OUTAGE_BUDGET_S, _READER)

    def write(self, work: Callable[[Connection], Result], *, patience_s: float = OUTAGE_BUDGET_S) -> Result:
        """What `work` returns, run in one transaction and committed.

        `work` must be idempotent: it is run again when the database was away, also when only the reply to a commit was
        lost. Raises StoreError when the database is away for longer than `patience_s`, and ConflictError when a row
        contradicts another one.
        """
        return self._run(work, patience_s, _WRITER)

    def _run(self, work: Callable[[Connection], Result], patience_s: float, begin: str) -> Result:
        def once() -> Result:
            with self.engine.connect().execution_options(**{_BEGIN: begin}) as connection, connection.begin():
                return work(connection)

        try:
            return weathered(once, patience_s)
        except IntegrityError as error:
            raise ConflictError(self.reason(error)) from error
        except SQLAlchemyError as error:
            raise self.refusal(error) from error

    def use_write_ahead_log(self) -> None:
        """Let readers and one writer of the SQLite file work side by side. The file remembers it."""

        def switch() -> str:
            # Not in a transaction: SQLite refuses the change there.
            with self.engine.connect().execution_options(**{_BEGIN: _NONE}) as connection:
                return str(connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar())

        try:
            mode = weathered(switch)
        except SQLAlchemyError as error:
            raise self.refusal(error) from error
        if mode != "wal":
            raise StoreError(f"{self.masked_url}: the file system refuses SQLite's write-ahead log; use a local folder")

    def greet(self) -> None:
        """Connect once. A wrong address or password is told at once and not waited for like weather."""

        def connect() -> None:
            with self.engine.connect():
                pass

        try:
            connect()
        except DBAPIError as error:
            if not is_not_yet(error):
                raise self.refusal(error) from error
            weathered(connect)

    def refusal(self, error: Exception) -> StoreError:
        """The error for the user."""
        return StoreError(f"{self.masked_url}: {self.reason(error)}")

    def reason(self, error: Exception) -> str:
        """What the database said, in one line and without a secret."""
        text = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        for secret in urls.secrets_of(self.url):
            text = text.replace(secret, "***")
        return text

    def close(self) -> None:
        """Close every connection of this process."""
        if "engine" in self.__dict__:
            self.engine.dispose()


def _prepare(engine: Engine, kind: str) -> None:
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
            how = connection.get_execution_options().get(_BEGIN, _WRITER)
            if how:
                connection.exec_driver_sql(how)
