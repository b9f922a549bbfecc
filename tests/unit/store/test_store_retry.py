from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from threading import Event
from typing import TypeVar

import psycopg
import pymysql
import pytest
import stamina
from optuna.study import StudyDirection
from sqlalchemy import Connection, Engine, PoolProxiedConnection, event, insert
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from stores import BROKEN, PARAMS

from optuna_tuner.errors import ConflictError, StoreError
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import Desired, Drops, StudyRecord, WorkerRecord
from optuna_tuner.store.retry import is_weather, say_retries, weathered
from optuna_tuner.store.store import Store
from optuna_tuner.store.tables import STUDY
from optuna_tuner.values import Handle, Phase, Request

REQUEST = Request(deployer="local", name="x", body={})
HANDLE = Handle(deployer="local", name="x", ref={})


@pytest.fixture(autouse=True)
def hurried() -> Iterator[None]:
    with stamina.set_testing(testing=True, attempts=5):
        yield


def wrapped(error: Exception) -> OperationalError:
    return OperationalError("SELECT 1", {}, error)


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("trouble")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "error",
    [
        wrapped(sqlite_error(sqlite3.SQLITE_BUSY)),
        wrapped(sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT)),
        wrapped(sqlite_error(sqlite3.SQLITE_FULL)),
        wrapped(psycopg.OperationalError("server closed the connection unexpectedly")),
        wrapped(psycopg.errors.DeadlockDetected()),
        wrapped(psycopg.errors.SerializationFailure()),
        wrapped(psycopg.errors.AdminShutdown()),
        wrapped(psycopg.errors.TooManyConnections()),
        wrapped(psycopg.errors.DiskFull()),
        wrapped(psycopg.errors.CannotConnectNow()),
        wrapped(psycopg.errors.CrashShutdown()),
        wrapped(psycopg.errors.QueryCanceled()),
        wrapped(psycopg.errors.IdleInTransactionSessionTimeout()),
        wrapped(psycopg.errors.ReadOnlySqlTransaction()),
        wrapped(psycopg.errors.LockNotAvailable()),
        wrapped(psycopg.errors.IoError()),
        wrapped(psycopg.OperationalError("connection refused")),
        wrapped(psycopg.InterfaceError("the connection is closed")),
        wrapped(sqlite_error(sqlite3.SQLITE_LOCKED)),
        wrapped(sqlite_error(sqlite3.SQLITE_IOERR_WRITE)),
        wrapped(sqlite_error(sqlite3.SQLITE_PROTOCOL)),
        wrapped(pymysql.OperationalError(1040, "Too many connections")),
        wrapped(pymysql.OperationalError(1927, "Connection was killed")),
        wrapped(pymysql.OperationalError(2003, "Can't connect")),
        wrapped(pymysql.OperationalError(2006, "Server has gone away")),
        wrapped(pymysql.OperationalError(4031, "The client was disconnected by the server because of inactivity")),
        wrapped(pymysql.OperationalError(1290, "running with the --read-only option")),
        wrapped(pymysql.OperationalError(1114, "The table is full")),
        wrapped(pymysql.err.InternalError("Packet sequence number wrong - got 1 expected 2")),
        psycopg.errors.AdminShutdown(),
        sqlite_error(sqlite3.SQLITE_BUSY),
        wrapped(pymysql.OperationalError(1213, "Deadlock found")),
        wrapped(pymysql.OperationalError(1205, "Lock wait timeout exceeded")),
        wrapped(pymysql.OperationalError(2013, "Lost connection")),
        PoolTimeoutError(),
    ],
)
def test_what_passes_is_weather(error: Exception) -> None:
    assert is_weather(error)
    outer = RuntimeError("what Optuna makes of it")
    outer.__cause__ = error
    assert is_weather(outer)


@pytest.mark.parametrize(
    "error",
    [
        wrapped(sqlite_error(sqlite3.SQLITE_ERROR)),
        wrapped(sqlite_error(sqlite3.SQLITE_CANTOPEN)),
        wrapped(psycopg.errors.InvalidPassword()),
        ProgrammingError("SELECT", {}, psycopg.errors.UndefinedTable()),
        ProgrammingError("SELECT", {}, pymysql.ProgrammingError(1146, "no such table")),
        IntegrityError("INSERT", {}, psycopg.errors.UniqueViolation()),
        wrapped(pymysql.OperationalError(1045, "Access denied")),
        IntegrityError("INSERT", {}, pymysql.IntegrityError(1062, "Duplicate entry")),
        ValueError("no database at all"),
    ],
)
def test_what_does_not_pass_is_no_weather(error: Exception) -> None:
    assert not is_weather(error)


def test_weather_is_waited_out_and_other_errors_are_not() -> None:
    calls: list[int] = []

    def fails(times: int, error: Exception) -> int:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return 7

    assert weathered(lambda: fails(3, wrapped(sqlite_error(sqlite3.SQLITE_BUSY)))) == 7
    assert len(calls) == 4
    calls.clear()
    with pytest.raises(ValueError, match="mine"):
        weathered(lambda: fails(3, ValueError("mine")))
    assert len(calls) == 1


def test_in_a_hurry_the_next_error_is_the_last() -> None:
    hurry = Event()
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        if len(calls) == 3:
            hurry.set()
        raise wrapped(sqlite_error(sqlite3.SQLITE_BUSY))

    with pytest.raises(OperationalError):
        weathered(fails, hurry=hurry)
    assert len(calls) == 3


def test_a_store_in_a_hurry_raises_its_first_trouble_also_for_optuna(store: Store) -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise wrapped(sqlite_error(sqlite3.SQLITE_BUSY))

    store.hurry.set()
    with pytest.raises(StoreError, match="trouble"):
        store.weathered(fails)
    with pytest.raises(StoreError, match="trouble"):
        store._database.write(lambda _connection: fails())
    assert len(calls) == 2


Result = TypeVar("Result")


class LostReplies:
    """Cuts the line just behind the next commits: the database has kept them, the caller does not know."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.left = engine, 0
        self._commit = engine.dialect.do_commit
        engine.dialect.do_commit = self._cut  # type: ignore[assignment, method-assign]

    def _cut(self, connection: PoolProxiedConnection) -> None:
        self._commit(connection)
        if self.left:
            self.left -= 1
            raise sqlite_error(sqlite3.SQLITE_BUSY)


def test_a_commit_whose_reply_was_lost_counts_once(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    lost = LostReplies(store._database.engine)

    def losing(call: Callable[[], Result]) -> Result:
        lost.left = 2
        result = call()
        assert lost.left == 0, "the fault landed"
        return result

    other = losing(lambda: store.studies.add(name="other", spec_json="{}", space_hash="", budget=1))
    assert store.studies.get("other") == other
    second = losing(
        lambda: store.workers.register(study_id=study.id, slot=worker.slot, host="h", boot_id="b", pid=8, pid_start=0.0)
    )
    attempt = losing(lambda: store.attempts.claim(study.id, second.id, baseline=True))
    assert attempt is not None
    assert losing(lambda: store.attempts.asked(attempt.id, 0))
    assert losing(lambda: store.attempts.chosen(attempt.id, PARAMS))
    assert losing(lambda: store.attempts.enter(attempt.id, Phase.START_UP))
    resource = new_id()
    assert losing(lambda: store.ledger.intend(id=resource, attempt_id=attempt.id, worker_id=second.id, request=REQUEST))
    assert losing(lambda: store.ledger.created(resource, HANDLE))
    losing(lambda: store.ledger.gone(resource))
    losing(lambda: store.attempts.request_cancel(attempt.id))
    assert losing(lambda: store.workers.beat(second.id, attempt.id)).cancel_attempt
    assert losing(lambda: store.attempts.end(attempt.id, second.id, BROKEN, retry=True))
    losing(lambda: store.attempts.told(attempt.id))
    waiting = store.attempts.of(study.id)[1]
    losing(lambda: store.attempts.request_cancel(waiting.id))
    losing(lambda: store.workers.retire(second.id))
    assert losing(lambda: store.studies.set_budget(study.id, 5)).budget == 5
    seen = store.studies.by_id(study.id)
    assert losing(lambda: store.studies.conclude(seen, "enough")).budget == 1
    drops = Drops(winner=PARAMS, groups=(), default={})
    assert losing(lambda: store.studies.set_drops(seen, drops)).drops == drops
    assert losing(lambda: store.studies.give_up(study.id, "why")).ended_because == "why"
    assert losing(lambda: store.studies.want(study.id, Desired.RUN)).ended_because is None
    assert store.studies.by_id(study.id).reserved == 1
    assert len(store.attempts.of(study.id)) == 2
    assert [found.kind.value for found in store.events.of(waiting.id)] == ["queued", "ended"]
    assert [found.kind.value for found in store.events.of(attempt.id)] == [
        "queued",
        "claimed",
        "asked",
        "phase",
        "intent",
        "created",
        "gone",
        "cancel",
        "ended",
        "told",
    ]


def write_half_a_study(connection: Connection) -> None:
    connection.execute(insert(STUDY).values(id="1", name="canary"))


def test_an_outage_that_does_not_end_is_a_store_error_without_values(store: Store) -> None:
    @event.listens_for(store._database.engine, "before_cursor_execute")
    def cut(*_args: object) -> None:
        raise wrapped(sqlite_error(sqlite3.SQLITE_BUSY))

    with pytest.raises(StoreError, match=r"studies\.db: trouble") as caught:
        store._database.write(write_half_a_study)
    assert "canary" not in str(caught.value)


def test_what_the_database_refuses_is_told_without_values(store: Store) -> None:
    with pytest.raises(ConflictError) as caught:
        store._database.write(write_half_a_study)
    assert "canary" not in f"{caught.value} {caught.value.__cause__}"


def test_weather_on_optunas_connections_is_not_waited_out_by_optuna_itself(store: Store, study: StudyRecord) -> None:
    """It would make a second trial where only the reply to the first one's commit was lost."""
    storage = store.optuna_storage()
    number = storage.create_new_study([StudyDirection.MINIMIZE], study.name)
    lost = LostReplies(storage.engine)
    lost.left = 1
    with pytest.raises(StoreError, match="trouble"):
        storage.create_new_trial(number)
    assert (lost.left, storage.get_n_trials(number)) == (0, 1)


def test_optunas_own_calls_are_waited_out_too(store: Store) -> None:
    storage = store.optuna_storage()
    calls: list[int] = []

    def ask() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise wrapped(sqlite_error(sqlite3.SQLITE_BUSY))
        return len(storage.get_all_studies())

    assert store.weathered(ask) == 0
    assert len(calls) == 3


def test_retries_that_last_are_said_in_words_that_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    before = stamina.instrumentation.get_on_retry_hooks()
    tries = iter([OperationalError("SELECT 'secret'", {}, sqlite_error(sqlite3.SQLITE_BUSY)) for _ in range(4)])

    def call() -> str:
        error = next(tries, None)
        if error is not None:
            raise error
        return "done"

    try:
        say_retries()
        assert weathered(call) == "done"
    finally:
        stamina.instrumentation.set_on_retry_hooks(before)
    assert len(caplog.messages) == 1
    assert "the database is busy or away" in caplog.text
    assert "secret" not in caplog.text
