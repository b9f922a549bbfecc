"""A store on SQLite for unit tests, and values to put into it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from optuna_tuner.store.records import Outcome, StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Load, Measurement, Params, Phase, Slot

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
