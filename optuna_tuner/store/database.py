"""One database: its connections as each kind needs them, and short transactions that wait out the weather."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import Connection, Dialect, Engine, ExceptionContext, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from optuna_tuner.errors import ConflictError, StoreError
from optuna_tuner.store import urls
from optuna_tuner.store.connections import BEGIN, NONE, READER, WRITER, options, prepare
from optuna_tuner.store.retry import OUTAGE_BUDGET_S, is_not_yet, is_weather, weathered

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

Result = TypeVar("Result")

_EXTRAS = {"psycopg": "postgresql", "pymysql": "mysql"}


class Database:
    """Where everything is kept. Making one touches nothing; the first transaction connects.

    Once `hurry` is set, no call waits for the weather any more: its first failure is its last.
    """

    def __init__(self, url: str, hurry: Event | None = None) -> None:
        """Read the URL. Raises StoreError when it is none that can be used; never repeats a password."""
        self.hurry = hurry or Event()
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
            engine = create_engine(self.url, **options(self.kind))
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get(error.name or "")
            hint = f'; get it by: pip install "optuna-tuner[{extra}]"' if extra else ""
            raise StoreError(f"{self.masked_url} needs the Python package {error.name}{hint}") from None
        prepare(engine, self.kind, self.hurry)
        return engine

    def optuna_storage(self, *, reading: bool, new: bool = False) -> RDBStorage:
        """Optuna's storage on the same database. `new` makes its tables; `reading` never waits for a writer.

        Optuna's constructor nests two connections, which would wait for each other for ever if both began as writers;
        so it gets plain ones, which are closed afterwards. Raises StoreError for tables of another version of Optuna.
        """
        from optuna_tuner.store.optuna_reading import LeanStorage  # noqa: PLC0415  heavy

        try:
            storage = LeanStorage(urls.literal(self.url), engine_kwargs=options(self.kind), skip_table_creation=not new)
        except RuntimeError as error:
            raise StoreError(
                f"Optuna's tables in {self.masked_url} were made by another version of Optuna; "
                "bring them up with: optuna-tuner db upgrade"
            ) from error
        storage.engine.dispose()
        prepare(storage.engine, self.kind, self.hurry)
        event.listen(storage.engine, "handle_error", self._replaced)
        if reading:
            storage.engine.update_execution_options(**{BEGIN: READER})
        return storage

    def forget(self, storage: RDBStorage) -> None:
        """Optuna's storage is closed: nothing of it stays.

        SQLAlchemy keeps dialects with what it compiled for them, up to a hundred statements a mapped class: 0.1 to 0.2
        MiB a store, in pieces that hold on to many a page. Whoever is at work with such a class compiles anew.
        """
        from optuna.storages._rdb.models import BaseModel  # noqa: PLC0415  heavy

        event.remove(storage.engine, "handle_error", self._replaced)
        for mapper in BaseModel.registry.mappers:
            vars(mapper).pop("_compiled_cache", None)  # SQLAlchemy's memo; it has no other way to it
        _forget_questions(storage.engine.dialect)

    def _replaced(self, context: ExceptionContext) -> StoreError | None:
        """What Optuna gets instead of weather: its own, it would wait out by itself and then make a second trial."""
        error = context.sqlalchemy_exception
        return self.refusal(error) if error is not None and is_weather(error) else None

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, run in one transaction that only reads. Raises StoreError when the database says no."""
        return self._run(work, OUTAGE_BUDGET_S, READER)

    def write(self, work: Callable[[Connection], Result], *, patience_s: float = OUTAGE_BUDGET_S) -> Result:
        """What `work` returns, run in one transaction and committed.

        `work` must be idempotent: it is run again when the database was away, also when only the reply to a commit was
        lost. Raises StoreError when the database is away for longer than `patience_s`, and ConflictError when a row
        contradicts another one.
        """
        return self._run(work, patience_s, WRITER)

    def _run(self, work: Callable[[Connection], Result], patience_s: float, begin: str) -> Result:
        def once() -> Result:
            with self.engine.connect().execution_options(**{BEGIN: begin}) as connection, connection.begin():
                return work(connection)

        def twice() -> Result:
            try:
                return once()
            except IntegrityError:
                # The row in the way may be our own, whose commit was on its way when the line was cut: now it is seen.
                return once()

        try:
            return weathered(twice, patience_s, self.hurry)
        except IntegrityError as error:
            raise ConflictError(self.reason(error)) from error
        except SQLAlchemyError as error:
            raise self.refusal(error) from error

    def use_write_ahead_log(self) -> None:
        """Let readers and one writer of the SQLite file work side by side. The file remembers it."""

        def switch() -> str:
            # Not in a transaction: SQLite refuses the change there.
            with self.engine.connect().execution_options(**{BEGIN: NONE}) as connection:
                return str(connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar())

        try:
            mode = weathered(switch, hurry=self.hurry)
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
            weathered(connect, hurry=self.hurry)

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
            _forget_questions(self.engine.dialect)


def _forget_questions(dialect: Dialect) -> None:
    """PostgreSQL's dialect keeps its last hundred questions about tables, each with the dialect that asked."""
    for kind in type(dialect).__mro__:
        for method in vars(kind).values():
            if hasattr(method, "cache_clear"):
                method.cache_clear()
