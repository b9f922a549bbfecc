"""How long the store waits for what does not come, and that a commit on its way is not made twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import psycopg
import pytest
from databases import DatabaseServer
from sqlalchemy import PoolProxiedConnection, func, select, update
from stores import BROKEN, PARAMS, register

from optuna_tuner.clock import now
from optuna_tuner.errors import StoreError
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import EventKind, StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.store.tables import STUDY
from optuna_tuner.values import Handle, Phase, Request

SOON_S = 15.0  # on a loaded machine; without the hurry it would be minutes
SERVERS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgresql", "mysql")]


@pytest.fixture(params=["sqlite", *SERVERS])
def weather_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/studies.db"
    if request.param != "sqlite":
        server: DatabaseServer = request.getfixturevalue(request.param)
        url = server.new_database()
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def weather_study(weather_store: Store) -> StudyRecord:
    return weather_store.studies.add(name="a", spec_json="{}", space_hash="", budget=5)


def test_in_a_hurry_the_study_lock_is_not_waited_for(weather_store: Store, weather_study: StudyRecord) -> None:
    with Store.open(weather_store.url, create=False) as holder, holder.study_lock(weather_study.id):
        Timer(0.5, weather_store.hurry.set).start()
        began = now()
        with pytest.raises(StoreError, match="was not free"), weather_store.study_lock(weather_study.id):
            pass
        assert now() - began < SOON_S
    with weather_store.study_lock(weather_study.id):
        pass


def test_in_a_hurry_another_writer_is_not_waited_for(weather_store: Store, weather_study: StudyRecord) -> None:
    with Store.open(weather_store.url, create=False) as other, other._database.engine.begin() as connection:
        connection.execute(update(STUDY).values(budget=7))
        Timer(0.5, weather_store.hurry.set).start()
        began = now()
        with pytest.raises(StoreError):
            weather_store.studies.set_budget(weather_study.id, 8)
        assert now() - began < SOON_S
    assert weather_store.studies.set_budget(weather_study.id, 9).budget == 9


@pytest.mark.postgresql
def test_a_server_that_falls_silent_is_given_up(postgresql: DatabaseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optuna_tuner.store.postgresql.SILENCE_S", 1.0)
    with Store.open(postgresql.new_database()) as store:
        took = iter((5, 0))
        assert store._database.read(lambda connection: connection.scalar(select(func.pg_sleep(next(took))))) == ""


class LateCommits:
    """The line is cut while a commit is on its way: the caller sees an error at once, the server commits later."""

    def __init__(self, store: Store, later_s: float) -> None:
        self._later_s, self.left = later_s, 0
        dialect = store._database.engine.dialect
        self._commit, self._disconnects, self._closes = dialect.do_commit, dialect.is_disconnect, dialect.do_terminate
        self._on_their_way: list[object] = []
        dialect.do_commit = self._cut  # type: ignore[method-assign, assignment]
        dialect.is_disconnect = self._is_disconnect  # type: ignore[method-assign, assignment]
        dialect.do_terminate = self._terminate  # type: ignore[method-assign, assignment]

    def _cut(self, proxied: PoolProxiedConnection) -> None:
        if not self.left:
            self._commit(proxied)
            return
        self.left -= 1
        connection = proxied.dbapi_connection
        assert isinstance(connection, psycopg.Connection)
        self._on_their_way.append(connection)
        Timer(self._later_s, lambda: (connection.commit(), connection.close())).start()
        raise psycopg.OperationalError("cut")

    def _is_disconnect(self, error: Exception, connection: object, cursor: object) -> bool:
        return str(error) == "cut" or self._disconnects(error, connection, cursor)  # type: ignore[arg-type]

    def _terminate(self, connection: object) -> None:
        if connection not in self._on_their_way:
            self._closes(connection)  # type: ignore[arg-type]


@pytest.mark.postgresql
def test_a_commit_that_comes_late_counts_once(postgresql: DatabaseServer) -> None:
    with Store.open(postgresql.new_database()) as store:
        late = LateCommits(store, later_s=0.4)
        late.left = 1
        study = store.studies.add(name="a", spec_json="{}", space_hash="", budget=5)
        late.left = 1
        worker = register(store, study)
        late.left = 1
        attempt = store.attempts.claim(study.id, worker.id, baseline=False)
        assert attempt is not None
        resource = new_id()
        request = Request(deployer="local", name="x", body={})
        writes: tuple[Callable[[], object], ...] = (
            lambda: store.attempts.asked(attempt.id, 0),
            lambda: store.attempts.chosen(attempt.id, PARAMS),
            lambda: store.attempts.enter(attempt.id, Phase.START_UP),
            lambda: store.ledger.intend(id=resource, attempt_id=attempt.id, worker_id=worker.id, request=request),
            lambda: store.ledger.created(resource, Handle(deployer="local", name="x", ref={})),
            lambda: store.ledger.gone(resource),
            lambda: store.attempts.request_cancel(attempt.id),
            lambda: store.attempts.end(attempt.id, worker.id, BROKEN, retry=True),
            lambda: store.attempts.told(attempt.id),
        )
        for write in writes:
            late.left = 1
            assert write() is not False
            assert late.left == 0, "the fault landed"
        kinds = [event.kind for event in store.events.of(attempt.id)]
        assert kinds == [kind for kind in EventKind if kind in kinds], "each once, in their order"
        assert len(kinds) == len(EventKind)
        assert store.studies.by_id(study.id).reserved == 1
        assert len(store.attempts.of(study.id)) == 2
        assert len(store.workers.all()) == 1
