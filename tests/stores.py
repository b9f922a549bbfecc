"""A store on SQLite for unit tests, and values to put into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection

from optuna_tuner.store import schema
from optuna_tuner.store.database import Database
from optuna_tuner.store.records import Desired, Outcome, StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Load, Measurement, Params, Phase, Slot

OLD_STUDY = """INSERT INTO tuner_study (id, name, spec_json, space_hash, budget, reserved, desired, created_at)
    VALUES ('s1', 'llama', '{}', 'h', 7, 3, 'pause', '2026-01-02 03:04:05.000006')"""
OLD_WORKER = """INSERT INTO tuner_worker (id, study_id, host, boot_id, pid, pid_start, beat, slot, retired)
    VALUES ('w1', 's1', 'h', 'b', 12, 34.5, 6, '{"name":"0","host":"h","gpus":[],"cores":[]}', false)"""
DONE = Outcome(
    verdict=Verdict.COMPLETE,
    values=(12.5,),
    constraints={"ttft_ms.p99 <= 500": -0.5},
    measurements=(Measurement(load=Load(value=8), metrics={"ttft_ms.p99": 250.0}),),
    phases_s={Phase.START_UP: 3.25},
    intermediate={0: 1.5},
)
BROKEN = Outcome(verdict=Verdict.FAIL, cause=Cause.NODE_LOST, reason="gone")
STOPPED = Outcome(verdict=Verdict.FAIL, cause=Cause.STOPPED)
PARAMS = Params(flags={"max_num_seqs": 64, "ratio": 0.5}, env={"A": "b"})


def make_first_version(url: str) -> None:
    """Tables as the first version made them, with a study and a worker in them."""
    database = Database(url)
    schema._make_optuna_tables(database)

    def make(connection: Connection) -> None:
        config = schema._alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(OLD_STUDY)
        connection.exec_driver_sql(OLD_WORKER)

    database.write(make)
    database.close()


def check_first_version(store: Store) -> None:
    """What `make_first_version` wrote is still there."""
    study, worker = store.studies.get("llama"), store.workers.get("w1")
    assert (study.budget, study.reserved, study.desired, study.ended_because) == (7, 3, Desired.PAUSE, None)
    assert (worker.pid_start, worker.beat, worker.slot.name, worker.machine) == (34.5, 6, "0", "")


def register(store: Store, study: StudyRecord) -> WorkerRecord:
    slot = Slot(name="0", host="h", gpus=("GPU-1",), cores=(0, 1))
    return store.workers.register(study_id=study.id, slot=slot, host="h", boot_id="b", pid=7, pid_start=1763700000.25)


@pytest.fixture(scope="session")
def fresh_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without a study: made once, because making tables is slow."""
    file = tmp_path_factory.mktemp("store") / "studies.db"
    Store.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def store(tmp_path: Path, fresh_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    shutil.copy(fresh_file, tmp_path)
    with Store.open(f"sqlite:///{tmp_path}/studies.db") as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> StudyRecord:
    return store.studies.add(name="llama", spec_json='{"name": "llama"}', space_hash="s" * 64, budget=3)


@pytest.fixture
def worker(store: Store, study: StudyRecord) -> WorkerRecord:
    return register(store, study)
