"""How much GPU time a study has spent."""

from __future__ import annotations

import pytest

from optuna_tuner.search.evidence import TOOK_S
from optuna_tuner.store.attempts import Attempts
from optuna_tuner.store.records import AttemptRecord, Outcome, StudyRecord, Verdict
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.attributes import attributes_of
from optuna_tuner.tuning.budget import GpuTime
from optuna_tuner.tuning.newly_ended import PAGE
from optuna_tuner.values import Phase, Slot

RAN = Outcome(
    verdict=Verdict.COMPLETE, values=(1.0,), phases_s={Phase.QUEUE: 500.0, Phase.START_UP: 2.0, Phase.BENCHMARK: 8.0}
)


def register(store: Store, study: StudyRecord, gpus: int) -> str:
    slot = Slot(name="s", host="h", gpus=tuple(f"GPU-{number}" for number in range(gpus)))
    return store.workers.register(study_id=study.id, slot=slot, host="h", boot_id="b", pid=7, pid_start=1.0).id


def run(store: Store, study: StudyRecord, worker_id: str, count: int = 1) -> None:
    for _ in range(count):
        attempt = store.attempts.claim(study.id, worker_id, baseline=False)
        assert attempt is not None
        assert store.attempts.end(attempt.id, worker_id, RAN, retry=False)


def test_each_attempt_counts_with_its_own_workers_slot_and_without_the_queue(store: Store, study: StudyRecord) -> None:
    one, four = register(store, study, 1), register(store, study, 4)
    run(store, study, one)
    run(store, study, four)
    assert GpuTime(store, study.id).spent_s() == 10.0 + 40.0


def test_the_sum_is_kept_and_only_new_ends_are_added(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.studies.set_budget(study.id, 4 * PAGE)
    worker_id = register(store, study, 1)
    run(store, study, worker_id, 3 * PAGE)
    spent = GpuTime(store, study.id)
    assert spent.spent_s() == 30.0 * PAGE
    read: list[int] = []
    real = Attempts.last_ended

    def counted(attempts: Attempts, study_id: str, count: int) -> tuple[AttemptRecord, ...]:
        read.append(count)
        return real(attempts, study_id, count)

    monkeypatch.setattr(Attempts, "last_ended", counted)
    run(store, study, worker_id, 2)
    assert spent.spent_s() == 30.0 * PAGE + 20.0
    assert read == [PAGE]


def test_a_cpu_slot_spends_no_gpu_time(store: Store, study: StudyRecord) -> None:
    run(store, study, register(store, study, 0))
    assert GpuTime(store, study.id).spent_s() == 0.0


def test_optunas_history_is_told_how_long_the_slot_was_held(store: Store, study: StudyRecord) -> None:
    attempt = store.attempts.claim(study.id, register(store, study, 1), baseline=False)
    assert attempt is not None
    assert attributes_of(attempt, RAN)[TOOK_S] == 10.0
