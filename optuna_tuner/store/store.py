"""The store: one database, and the folder of artifacts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from optuna_tuner.store import schema
from optuna_tuner.store.artifacts import Artifacts
from optuna_tuner.store.attempts import Attempts
from optuna_tuner.store.database import Database
from optuna_tuner.store.events import Events
from optuna_tuner.store.ids import checked_id
from optuna_tuner.store.ledger import Ledger
from optuna_tuner.store.locks import held
from optuna_tuner.store.retry import is_weather, weathered
from optuna_tuner.store.studies import Studies
from optuna_tuner.store.workers import Workers

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

Result = TypeVar("Result")


class Store:
    """What outlives a process. Threads may share one; a child process opens its own.

    Every method of its parts waits out database trouble for ten minutes, and then raises StoreError. Once `hurry` is
    set, for good, none waits any more, neither for the weather nor for the study lock: whoever must let go of a GPU
    within seconds sets it.
    """

    def __init__(self, url: str) -> None:
        """Use `Store.open`."""
        self.url = url
        self.hurry = Event()
        self._database = Database(url, self.hurry)
        self.masked_url = self._database.masked_url
        self.studies = Studies(self._database)
        self.attempts = Attempts(self._database)
        self.workers = Workers(self._database)
        self.ledger = Ledger(self._database)
        self.events = Events(self._database)
        self.artifacts = Artifacts()
        self._optuna: dict[bool, RDBStorage] = {}

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Self:
        """Open the database with current tables; with `create` they are made or upgraded first, by one process.

        Raises StoreError when the URL or the database cannot be used, and without `create` also when the tables are
        not current; the text names the command that helps.
        """
        store = cls(url)
        try:
            (schema.init if create else schema.demand)(store._database)
        except BaseException:
            store.close()
            raise
        return store

    def study_lock(self, study_id: str) -> AbstractContextManager[None]:
        """Hold the study for oneself: one process at a time, on any host. Not re-entrant.

        A database server that restarts frees the lock under its holder: what is done inside must bear that. Raises
        StoreError when it cannot be had within ten minutes, and in a hurry when it cannot be had at once.
        """
        return held(self._database, f"study-{checked_id(study_id)}")

    def optuna_storage(self, *, reading: bool = False) -> RDBStorage:
        """Optuna's storage on the same database, the same one each time. With `reading` it neither waits nor writes."""
        if reading not in self._optuna:
            self._optuna[reading] = self.weathered(lambda: self._database.optuna_storage(reading=reading))
        return self._optuna[reading]

    def weathered(self, call: Callable[[], Result]) -> Result:
        """What an idempotent call on Optuna's storage returns, waited for while the database is away.

        Raises StoreError when it is away for too long; every other error passes.
        """
        from optuna.exceptions import OptunaError  # noqa: PLC0415  heavy; loaded already where it is needed

        try:
            return weathered(call, hurry=self.hurry)
        except (SQLAlchemyError, OptunaError) as error:
            if is_weather(error):
                raise self._database.refusal(error) from error
            raise

    def close(self) -> None:
        """Close all connections."""
        self._database.close()
        for storage in self._optuna.values():
            storage.remove_session()
            storage.engine.dispose()
            self._database.forget(storage)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
