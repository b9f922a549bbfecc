"""The promises of the store that only real processes on real databases can break."""

from __future__ import annotations

import gc
import signal
import sqlite3
import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from databases import DatabaseServer, PostgresqlServer
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy import Connection, Dialect, event, text
from store_crowd import (
    DONE,
    SIZE,
    Crowd,
    add,
    claim_all,
    count_up,
    end_each,
    first_start,
    first_study,
    gathered,
    register,
    upgrade,
)
from stores import check_first_version, make_first_version

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import ConflictError, StoreError
from optuna_tuner.store.optuna_reading import PIECE
from optuna_tuner.store.records import AttemptKind, AttemptState, EventKind, StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.testing.sample_study import sample_study
from optuna_tuner.values import Params

BUDGET = 100
PATIENCE_S = 60.0
SOON_S = 15.0  # on a loaded machine; without the hurry it would be minutes
SERVERS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgresql", "mysql")]


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with gathered() as found:
        yield found


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    return empty_database(request, tmp_path)


def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studies.db"
    server: DatabaseServer = request.getfixturevalue(request.param)
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> StudyRecord:
    return store.studies.add(name="Ünïcode 😀", spec_json="{}", space_hash="", budget=BUDGET)


def check_books(store: Store, study: StudyRecord, claimed: list[list[str]]) -> None:
    """Each attempt was claimed once and ended once, and the budget is exact."""
    attempts = store.attempts.of(study.id)
    claims = Counter(attempt for one in claimed for attempt in one)
    assert set(claims.values()) == {1}
    assert set(claims) == {attempt.id for attempt in attempts}
    assert {attempt.state for attempt in attempts} == {AttemptState.ENDED}
    assert sum(attempt.retry_of is None for attempt in attempts) == BUDGET
    firsts = [attempt.kind for attempt in attempts if attempt.retry_of is None]
    assert firsts.count(AttemptKind.BASELINE) == 1
    assert store.studies.by_id(study.id).reserved == BUDGET
    for attempt in attempts:
        kinds = Counter(event.kind for event in store.events.of(attempt.id))
        assert (kinds[EventKind.CLAIMED], kinds[EventKind.ENDED]) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "times"), [("sqlite", 5), pytest.param("postgresql", 5, marks=pytest.mark.postgresql)]
)
def test_eight_first_starts_at_once_all_succeed(
    crowd: Crowd, kind: str, times: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for turn in range(times):
        url = f"sqlite:///{tmp_path}/{turn}/new.db"
        if kind != "sqlite":
            url = request.getfixturevalue(kind).new_database()
        assert crowd.all(first_start, url) == [0] * SIZE


@pytest.mark.mysql
def test_eight_first_starts_at_once_all_succeed_on_mariadb(crowd: Crowd, mysql: DatabaseServer) -> None:
    assert crowd.all(first_start, mysql.new_database()) == [0] * SIZE


@pytest.mark.parametrize("kind", ["sqlite", *SERVERS])
def test_eight_who_start_the_same_study_in_an_empty_database_share_it(
    crowd: Crowd, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for turn in range(3):
        url = f"sqlite:///{tmp_path}/{turn}/new.db"
        if kind != "sqlite":
            url = request.getfixturevalue(kind).new_database()
        ids = crowd.all(first_study, url, sample_study("shared").spec.model_dump_json())
        with Store.open(url, create=False) as store:
            assert set(ids) == {study.id for study in store.studies.all()}
            assert [found.study_name for found in store.optuna_storage().get_all_studies()] == ["shared"]


def dialects_after_one(url: str) -> int:
    """How many engines the process still knows something of when another store was used and closed."""
    with Store.open(url) as store:
        store.optuna_storage().get_all_studies()
    gc.collect()
    return sum(isinstance(each, Dialect) for each in gc.get_objects())


def test_a_closed_store_leaves_nothing_of_its_engines(url: str) -> None:
    left = [dialects_after_one(url) for _ in range(4)]
    assert left[3] <= left[1]


def test_eight_upgrades_at_once_keep_every_row(crowd: Crowd, url: str) -> None:
    make_first_version(url)
    assert crowd.all(upgrade, url) == [None] * SIZE
    with Store.open(url, create=False) as store:
        check_first_version(store)
        assert store.studies.give_up("s1", "why").ended_because is None


def test_of_eight_who_add_a_name_exactly_one_does(crowd: Crowd, store: Store) -> None:
    assert sum(crowd.all(add, store.url, "taken")) == 1
    assert [study.name for study in store.studies.all()] == ["taken"]


def test_eight_workers_share_a_budget_exactly(crowd: Crowd, store: Store, study: StudyRecord) -> None:
    check_books(store, study, crowd.all(claim_all, store.url, study.id))


def test_of_eight_who_end_an_attempt_exactly_one_does(crowd: Crowd, store: Store, study: StudyRecord) -> None:
    running = []
    for _ in range(10):
        worker = register(store, study.id)
        attempt = store.attempts.claim(study.id, worker.id, baseline=False)
        assert attempt is not None
        running.append((attempt.id, worker.id))
    answers = crowd.all(end_each, store.url, running)
    assert [sum(each) for each in zip(*answers, strict=True)] == [1] * 10
    assert len(store.attempts.of(study.id)) == 20, "one retry each"


def test_the_study_lock_holds_among_processes(crowd: Crowd, store: Store, study: StudyRecord, tmp_path: Path) -> None:
    file = tmp_path / "number"
    file.write_text("0")
    crowd.all(count_up, store.url, study.id, str(file), 5)
    assert file.read_text() == str(5 * SIZE)


def test_a_killed_process_leaves_no_study_lock(store: Store, study: StudyRecord) -> None:
    code = (
        "import sys\nfrom optuna_tuner.store.store import Store\nstore = Store.open(sys.argv[1])\n"
        "with store.study_lock(sys.argv[2]):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, store.url, study.id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
    with store.study_lock(study.id):
        pass


def test_values_and_names_are_kept_exactly(store: Store, study: StudyRecord) -> None:
    assert store.studies.get("Ünïcode 😀") == study
    assert store.studies.add(name="ünïcode 😀", spec_json="x" * 200_000, space_hash="", budget=1).name != study.name
    with pytest.raises(ConflictError):
        store.studies.add(name="Ünïcode 😀", spec_json="{}", space_hash="", budget=1)
    worker = register(store, study.id)
    attempt = store.attempts.claim(study.id, worker.id, baseline=False)
    assert attempt is not None
    params = Params(flags={"f": 0.1 + 0.2, "i": 2**70, "t": "\0 \ud800 😀 ' \\ %", "b": True})
    assert store.attempts.asked(attempt.id, 0)
    assert store.attempts.chosen(attempt.id, params)
    assert store.attempts.end(attempt.id, worker.id, DONE, retry=False)
    kept = store.attempts.get(attempt.id)
    assert (kept.params, kept.outcome) == (params, DONE)
    assert kept.ended_at is not None
    assert kept.created_at == attempt.created_at <= kept.ended_at
    assert store.workers.get(worker.id) == worker


def test_optuna_works_beside_it(store: Store, study: StudyRecord) -> None:
    import optuna  # noqa: PLC0415  heavy

    storage = store.optuna_storage()
    ours = optuna.create_study(storage=storage, study_name=study.id)
    with store.study_lock(study.id):
        trial = ours.ask()
        trial.suggest_float("x", 0, 1)
        trial.set_constraint("slo", -1.0)
        ours.tell(trial, 0.5)
    reader = optuna.load_study(storage=store.optuna_storage(reading=True), study_name=study.id)
    assert (reader.best_value, reader.trials[0].constraints) == (0.5, {"slo": -1.0})


def long_history(storage: RDBStorage, trials: int) -> int:
    """A study of Optuna's with so many trials, of all states."""
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "long")
    states = list(TrialState)
    for number in range(trials):
        state = states[number % len(states)]
        trial = create_trial(
            state=state,
            params={"x": number / trials},
            distributions={"x": FloatDistribution(0, 1)},
            value=float(number) if state is TrialState.COMPLETE else None,
            user_attrs={"number": number},
        )
        storage.create_new_trial(study_id, trial)
    return study_id


def test_a_long_history_of_optunas_is_read_in_pieces_and_whole(store: Store) -> None:
    storage = store.optuna_storage()
    study_id = long_history(storage, 2 * PIECE + 1)
    storage.create_new_study([StudyDirection.MINIMIZE], "empty")
    plain = partial(RDBStorage._get_trials, storage, study_id, included_trial_ids=set(), trial_id_greater_than=-1)
    alive, most = weakref.WeakSet[TrialModel](), 0

    def loaded(trial: TrialModel, _context: object) -> None:
        nonlocal most
        alive.add(trial)
        most = max(most, len(alive))

    event.listen(TrialModel, "load", loaded)
    try:
        assert storage.get_all_trials(study_id) == plain(states=None)
        assert most > PIECE, "Optuna itself reads in pieces; ours may go"
        alive.clear()
        most = 0
        assert len(storage.get_all_trials(study_id)) == 2 * PIECE + 1
        assert most <= PIECE
    finally:
        event.remove(TrialModel, "load", loaded)
    ended = (TrialState.COMPLETE, TrialState.FAIL)
    assert storage.get_all_trials(study_id, states=ended) == plain(states=ended)
    assert storage.get_all_trials(storage.get_study_id_from_name("empty")) == []
    with pytest.raises(KeyError):
        storage.get_all_trials(study_id + 7)


def test_attributes_of_optunas_are_read_as_optuna_reads_them(store: Store) -> None:
    storage = store.optuna_storage()
    first, second = (storage.create_new_study([StudyDirection.MINIMIZE], name) for name in ("first", "second"))
    storage.set_study_system_attr(first, "note", {"text": "Ünïcode 😀", "list": [1, 2.5, None]})
    storage.set_study_system_attr(first, "long", "x" * 2045)
    assert storage.get_study_system_attrs(first) == RDBStorage.get_study_system_attrs(storage, first)
    assert len(storage.get_study_system_attrs(first)) == 2
    assert storage.get_study_system_attrs(second) == {}
    with pytest.raises(KeyError):
        storage.get_study_system_attrs(second + 7)


@pytest.mark.postgresql
def test_claims_survive_a_database_that_crashes_and_comes_back(crowd: Crowd, own_postgresql: PostgresqlServer) -> None:
    with Store.open(own_postgresql.new_database()) as store:
        study = store.studies.add(name="a", spec_json="{}", space_hash="", budget=BUDGET)
        futures = crowd.start(claim_all, store.url, study.id)
        for reserved in (10, 40):
            seen = reserved_at_least(store, study, reserved)
            own_postgresql.kill()
            own_postgresql.start()
            assert seen < BUDGET, "the crash came in the middle"
        check_books(store, study, [future.result() for future in futures])


def reserved_at_least(store: Store, study: StudyRecord, number: int) -> int:
    def look() -> int | None:
        reserved = store.studies.by_id(study.id).reserved
        return reserved if reserved >= number else None

    seen = poll(look, Deadline.after(PATIENCE_S), every_s=0.01)
    assert seen is not None
    return seen


def locks(stranger: sqlite3.Connection) -> bool | None:
    """Whether the file could be locked now; asked often, since SQLite has no queue and eight others want it."""
    try:
        stranger.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return None
    return True


def test_claims_survive_a_stranger_who_locks_the_sqlite_file(crowd: Crowd, tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/studies.db") as store:
        study = store.studies.add(name="a", spec_json="{}", space_hash="", budget=BUDGET)
        futures = crowd.start(claim_all, store.url, study.id)
        reserved_at_least(store, study, 10)
        stranger = sqlite3.connect(tmp_path / "studies.db", timeout=0, isolation_level=None)
        assert poll(lambda: locks(stranger), Deadline.after(PATIENCE_S), every_s=0.0005)
        before = store.studies.by_id(study.id).reserved
        assert poll(lambda: True if all(future.done() for future in futures) else None, Deadline.after(3.0)) is None
        assert store.studies.by_id(study.id).reserved == before < BUDGET, "the lock came in the middle, and held"
        stranger.execute("ROLLBACK")
        stranger.close()
        check_books(store, study, [future.result() for future in futures])


@pytest.mark.postgresql
def test_a_wrong_address_is_told_at_once_and_without_the_password(postgresql: DatabaseServer) -> None:
    good = postgresql.new_database()
    wrong = good.replace("tuner@", "tuner:c{an}ary@") + "_not_there"
    with pytest.raises(StoreError, match="does not exist") as caught:
        Store.open(wrong)
    assert "ary" not in str(caught.value)


def _setting(connection: Connection, name: str) -> object:
    return connection.scalar(text(f"SHOW {name}"))


@pytest.mark.postgresql
def test_postgresql_frees_the_locks_of_a_host_that_vanished_within_a_minute(postgresql: DatabaseServer) -> None:
    with Store.open(postgresql.new_database()) as store:
        idle, interval, count = (
            int(str(store._database.read(partial(_setting, name=f"tcp_keepalives_{name}"))))
            for name in ("idle", "interval", "count")
        )
    assert 0 < idle + interval * count < 60


@pytest.mark.mysql
def test_mysql_frees_the_locks_of_a_host_that_vanished_within_minutes(mysql: DatabaseServer) -> None:
    with Store.open(mysql.new_database()) as store:
        found = store._database.read(lambda connection: connection.scalar(text("SELECT @@SESSION.wait_timeout")))
    assert int(str(found)) <= 120
