"""The study lock keeps workers apart; where it is lost in the middle, the rows do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from databases import DatabaseServer
from history_player import DATABASES, Player, check_agreement, empty_database, spec
from sqlalchemy import text

from optuna_tuner.store import locks
from optuna_tuner.store.records import StudyRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.study import create_or_resume


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    with Store.open(empty_database(request, tmp_path)) as opened:
        yield opened


def test_a_trial_that_somebody_else_linked_meanwhile_is_left_to_him(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the database takes the study lock from its holder, who does not know."""
    record = create_or_resume(store, spec())
    me, other = Player(store, record, spec()), Player(store, record, spec())
    theirs, mine = other.claim(), me.claim()
    asked = store.attempts.asked
    beaten: list[int] = []

    def second(attempt_id: str, number: int) -> bool:
        if attempt_id == mine.id and not beaten:
            beaten.append(number)
            assert asked(theirs.id, number)
        return asked(attempt_id, number)

    monkeypatch.setattr(store.attempts, "asked", second)
    trial, _ = me.history.ask(mine)
    monkeypatch.undo()
    assert (beaten, trial.number) == ([0], 1)
    assert other.history.ask(theirs)[0].number == 0, "its own, from where it was cut off"


@pytest.mark.postgresql
@pytest.mark.filterwarnings("ignore:The constraint value is ignored")  # two tell the same outcome
def test_who_loses_the_study_lock_in_the_middle_does_no_harm(
    postgresql: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four workers that all believe to hold the lock ask and tell at the same moment, again and again."""
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    url, workers, each = postgresql.new_database(), 4, 3
    with Store.open(url) as store:
        record = create_or_resume(store, spec(budget=workers * each))
        monkeypatch.setitem(locks._TAKE, "postgresql", "SELECT CAST(:key AS bigint) IS NOT NULL")
        together = Barrier(workers)

        def work(_: int) -> None:
            with Store.open(url) as own:
                player = Player(own, record, spec())
                for _turn in range(each):
                    together.wait(60)
                    player.play()

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))
        assert len(store.attempts.numbers(record.id)) == workers * each
        strays = adopt_strays(store, record)
        check_agreement(store, record)
        assert strays <= workers


def adopt_strays(store: Store, record: StudyRecord) -> int:
    """Let later attempts take what two askers at once left over; how many there were."""
    store.studies.set_budget(record.id, 1000)
    player, count = Player(store, record, spec()), 0
    while player.history._strays():
        player.play()
        count += 1
    return count


@pytest.mark.postgresql
def test_the_study_lock_is_free_when_its_session_was_ended_by_the_server(postgresql: DatabaseServer) -> None:
    with Store.open(postgresql.new_database()) as store:
        study = store.studies.add(name="a", spec_json="{}", space_hash="", budget=1)
        with store.study_lock(study.id):
            kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'"
            assert store._database.read(lambda connection: connection.scalar(text(kill))) == 1
            with store.study_lock(study.id):
                pass
        with store.study_lock(study.id):
            pass
