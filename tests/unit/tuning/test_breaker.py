"""When a study is given up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optuna_tuner.store.records import Desired, Outcome, StudyRecord, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.testing.sample_study import sample_study
from optuna_tuner.tuning.breaker import fault_in_common, give_up_if_broken
from optuna_tuner.values import Cause

SAMPLE = sample_study().attempts


def failed(cause: Cause, reason: str = "") -> Outcome:
    verdict = Verdict.FAIL if cause.blame == "machine" else Verdict.PRUNED
    return Outcome(verdict=verdict, cause=cause, reason=reason)


def common(*causes: Cause, same_fault: int = 3) -> str | None:
    """What attempts that ended so, one after another, have in common."""
    ended = [replace(SAMPLE[place], outcome=failed(cause, f"fault {place}")) for place, cause in enumerate(causes)]
    return fault_in_common(ended[-same_fault:], same_fault)


def test_the_same_fault_of_the_machine_in_a_row_is_a_reason_that_names_cause_and_evidence() -> None:
    reason = common(Cause.CRASHED, Cause.BENCHMARK_FAILED, Cause.BENCHMARK_FAILED, Cause.BENCHMARK_FAILED)
    assert reason == "3 trials in a row failed by the same fault of the machine, benchmark_failed: fault 3"


@pytest.mark.parametrize(
    "causes",
    [
        (Cause.BENCHMARK_FAILED,) * 2,
        (Cause.BENCHMARK_FAILED, Cause.DEPLOYER_FAILED, Cause.BENCHMARK_FAILED),
        (Cause.BENCHMARK_FAILED, Cause.BENCHMARK_FAILED, Cause.CRASHED),
        (Cause.CRASHED,) * 3,
        (Cause.WORKER_LOST,) * 3,
        (Cause.STOPPED,) * 3,
    ],
)
def test_too_few_different_faults_and_those_of_others_are_no_reason(causes: tuple[Cause, ...]) -> None:
    assert common(*causes) is None


def test_a_trial_that_went_well_breaks_the_row() -> None:
    fault = replace(SAMPLE[6], outcome=failed(Cause.BENCHMARK_FAILED))
    assert fault_in_common([fault, SAMPLE[0], fault], 3) is None


def test_a_study_is_given_up_with_the_reason_and_goes_on_when_it_is_wanted_again(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    for count in range(3):
        give_up_if_broken(store, study.id, 3)
        assert store.studies.by_id(study.id).desired is Desired.RUN, count
        attempt = store.attempts.claim(study.id, worker.id, baseline=False)
        assert attempt is not None
        outcome = failed(Cause.DEPLOYER_FAILED, "no such file: vllm")
        store.attempts.end(attempt.id, worker.id, outcome, retry=True)
    give_up_if_broken(store, study.id, 3)
    found = store.studies.by_id(study.id)
    assert found.desired is Desired.STOP
    assert "deployer_failed: no such file: vllm" in (found.ended_because or "")
    assert store.attempts.claim(study.id, worker.id, baseline=False) is None
    assert store.studies.want(study.id, Desired.RUN).ended_because is None
