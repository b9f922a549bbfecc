"""Nothing is given but the baseline until its answers are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from stores import BROKEN, DONE, STOPPED, register

from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Desired,
    Outcome,
    StudyRecord,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.store.store import Store
from optuna_tuner.values import Answer, Cause, Drift, Reference

REFERENCE = Reference(prompts=("Why?",), answers=(Answer(text="So.", tokens=("So", "."), logprobs=(-0.25, -1.5)),))
ANSWERED = replace(DONE, reference=REFERENCE, drift=Drift(by_prompt=(1.0,), logprob_drift=None))
CRASHED = Outcome(verdict=Verdict.PRUNED, cause=Cause.CRASHED, reason="exit 1")


def claim(store: Store, worker: WorkerRecord) -> AttemptRecord | None:
    return store.attempts.claim(worker.study_id, worker.id, baseline=True, answers_first=True)


def play(store: Store, worker: WorkerRecord, outcome: Outcome, *, retry: bool = False) -> AttemptRecord:
    attempt = claim(store, worker)
    assert attempt is not None
    assert store.attempts.end(attempt.id, worker.id, outcome, retry=retry)
    return attempt


def test_the_second_worker_waits_for_the_baselines_answers(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    baseline, other = claim(store, worker), register(store, study)
    assert baseline is not None
    assert claim(store, other) is None
    store.attempts.end(baseline.id, worker.id, ANSWERED, retry=False)
    found = claim(store, other)
    assert found is not None
    assert found.kind is AttemptKind.SEARCH


def test_the_answers_are_read_back_as_they_were_kept(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    assert store.attempts.reference(study.id) is None
    baseline = play(store, worker, ANSWERED)
    found = store.attempts.reference(study.id)
    assert found is not None
    assert (found.id, found.outcome) == (baseline.id, ANSWERED)


@pytest.mark.parametrize("outcome", [BROKEN, STOPPED])
def test_a_baseline_that_goes_back_to_the_queue_is_waited_for(
    store: Store, study: StudyRecord, worker: WorkerRecord, outcome: Outcome
) -> None:
    play(store, worker, outcome, retry=True)
    assert store.attempts.failed_baseline(study.id) is None
    again = claim(store, register(store, study))
    assert again is not None
    assert again.kind is AttemptKind.BASELINE


def test_a_default_that_breaks_only_under_load_is_reference_enough(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    play(store, worker, replace(CRASHED, reference=REFERENCE))
    assert store.attempts.failed_baseline(study.id) is None
    found = claim(store, worker)
    assert found is not None
    assert found.kind is AttemptKind.SEARCH


def test_after_a_baseline_without_answers_nothing_is_given(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    baseline = play(store, worker, CRASHED)
    assert claim(store, worker) is None
    failed = store.attempts.failed_baseline(study.id)
    assert failed is not None
    assert failed.id == baseline.id


def test_a_study_that_is_started_again_tries_the_baseline_anew_once_and_at_no_cost(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    baseline = play(store, worker, CRASHED)
    store.attempts.try_baseline_again(study.id)
    store.attempts.try_baseline_again(study.id)
    queued = [each for each in store.attempts.of(study.id) if each.state is AttemptState.QUEUED]
    assert [(each.kind, each.retry_of, each.tries) for each in queued] == [(AttemptKind.BASELINE, baseline.id, 1)]
    assert store.studies.by_id(study.id).reserved == 1


def test_a_baseline_is_not_tried_anew_in_a_study_that_was_ended(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    play(store, worker, CRASHED)
    store.studies.want(study.id, Desired.STOP)
    store.attempts.try_baseline_again(study.id)
    assert len(store.attempts.of(study.id)) == 1


def test_the_first_answers_stay_the_reference(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    first = play(store, worker, replace(BROKEN, reference=REFERENCE), retry=True)
    play(store, worker, ANSWERED)
    found = store.attempts.reference(study.id)
    assert found is not None
    assert found.id == first.id
