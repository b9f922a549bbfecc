from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from stores import BROKEN, DONE, PARAMS, STOPPED, register

from optuna_tuner.errors import ConflictError, NotFoundError
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Desired,
    EventKind,
    Outcome,
    StudyRecord,
    WorkerRecord,
)
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Params, Phase


def claimed(store: Store, worker: WorkerRecord, *, baseline: bool = False) -> AttemptRecord:
    attempt = store.attempts.claim(worker.study_id, worker.id, baseline=baseline)
    assert attempt is not None
    return attempt


def finish(store: Store, attempt: AttemptRecord, outcome: Outcome = DONE, *, retry: bool = False) -> bool:
    assert attempt.worker_id is not None
    return store.attempts.end(attempt.id, attempt.worker_id, outcome, retry=retry)


def test_the_first_attempt_is_the_baseline_and_the_next_a_search(store: Store, worker: WorkerRecord) -> None:
    first = claimed(store, worker, baseline=True)
    assert (first.kind, first.params, first.state) == (AttemptKind.BASELINE, Params(), AttemptState.RUNNING)
    finish(store, first)
    second = claimed(store, worker, baseline=True)
    assert (second.kind, second.params) == (AttemptKind.SEARCH, None)


def test_without_a_baseline_the_first_attempt_is_a_search(store: Store, worker: WorkerRecord) -> None:
    assert claimed(store, worker).kind is AttemptKind.SEARCH


SMALL, LARGE = Params(flags={"a": 1}), Params(flags={"a": 9}, env={"FAST": "1"})


def opened(store: Store, worker: WorkerRecord, *first: Params) -> AttemptRecord:
    attempt = store.attempts.claim(worker.study_id, worker.id, baseline=True, first=first)
    assert attempt is not None
    return attempt


def test_what_a_study_tries_first_comes_in_order_between_baseline_and_search(
    store: Store, worker: WorkerRecord
) -> None:
    store.studies.set_budget(worker.study_id, 4)
    seen = []
    for _ in range(4):
        attempt = opened(store, worker, SMALL, LARGE)
        assert opened(store, worker, SMALL, LARGE) == attempt  # the reply was lost, and the worker asks again
        seen.append((attempt.kind.value, attempt.params))
        finish(store, attempt)
    assert seen == [("baseline", Params()), ("first", SMALL), ("first", LARGE), ("search", None)]
    assert store.studies.by_id(worker.study_id).reserved == 4


def test_a_first_configuration_that_the_machine_failed_is_a_retry_and_no_second_first(
    store: Store, worker: WorkerRecord
) -> None:
    finish(store, opened(store, worker, SMALL))
    failed = opened(store, worker, SMALL)
    finish(store, failed, BROKEN, retry=True)
    again = opened(store, worker, SMALL)
    assert (again.kind, again.params, again.retry_of) == (AttemptKind.FIRST, SMALL, failed.id)
    finish(store, again)
    assert opened(store, worker, SMALL).kind is AttemptKind.SEARCH


def test_a_changed_list_tries_what_is_new_and_nothing_twice(store: Store, worker: WorkerRecord) -> None:
    store.studies.set_budget(worker.study_id, 5)
    for _ in range(3):  # the baseline, the first one, a search
        finish(store, opened(store, worker, SMALL))
    late = opened(store, worker, LARGE, SMALL)
    assert (late.kind, late.params) == (AttemptKind.FIRST, LARGE)
    finish(store, late)
    assert opened(store, worker, LARGE, SMALL).kind is AttemptKind.SEARCH


def test_the_budget_is_never_overdrawn(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    for _ in range(study.budget):
        finish(store, claimed(store, worker))
    assert store.attempts.claim(study.id, worker.id, baseline=False) is None
    assert store.studies.by_id(study.id).reserved == study.budget
    store.studies.set_budget(study.id, study.budget + 1)
    finish(store, claimed(store, worker))
    assert store.attempts.claim(study.id, worker.id, baseline=False) is None


def test_a_lowered_budget_is_never_below_what_was_claimed(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    for _ in range(2):
        finish(store, claimed(store, worker))
    assert store.studies.set_budget(study.id, 1).budget == 2
    assert store.attempts.claim(study.id, worker.id, baseline=False) is None


@pytest.mark.parametrize("desired", [Desired.PAUSE, Desired.STOP, Desired.CANCEL])
def test_nothing_is_claimed_unless_the_study_shall_run(
    store: Store, study: StudyRecord, worker: WorkerRecord, desired: Desired
) -> None:
    store.studies.want(study.id, desired)
    assert store.attempts.claim(study.id, worker.id, baseline=False) is None
    assert store.studies.by_id(study.id).reserved == 0


def test_a_claim_whose_reply_was_lost_is_found_again(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    first = claimed(store, worker)
    assert claimed(store, worker) == first
    assert store.studies.by_id(study.id).reserved == 1


def test_a_retired_worker_claims_nothing(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    store.workers.retire(worker.id)
    assert store.attempts.claim(study.id, worker.id, baseline=False) is None


def test_an_unknown_study_or_worker_claims_nothing(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    with pytest.raises(NotFoundError):
        store.attempts.claim(new_id(), worker.id, baseline=False)
    with pytest.raises(NotFoundError):
        store.attempts.claim(study.id, new_id(), baseline=False)


def test_number_and_parameters_are_kept_once(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    assert not store.attempts.chosen(attempt.id, PARAMS), "it has no trial yet"
    for _ in range(2):  # the second time only the reply was lost
        assert store.attempts.asked(attempt.id, 4)
    assert not store.attempts.asked(attempt.id, 5)
    for _ in range(2):
        assert store.attempts.chosen(attempt.id, PARAMS)
    assert [event.data for event in store.events.of(attempt.id) if event.kind is EventKind.ASKED] == [{"number": 4}]
    found = store.attempts.by_number(study.id, 4)
    assert (found.id, found.params) == (attempt.id, PARAMS)
    with pytest.raises(NotFoundError):
        store.attempts.by_number(study.id, 5)


def test_the_numbers_are_those_of_all_trials_that_have_an_attempt(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    assert store.attempts.numbers(study.id) == frozenset()
    store.attempts.asked(claimed(store, worker).id, 4)
    claimed(store, register(store, study))
    assert store.attempts.numbers(study.id) == {4}
    assert store.attempts.numbers(new_id()) == frozenset()


def test_the_last_ends_are_the_newest_first(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    first, second = claimed(store, worker), claimed(store, register(store, study))
    assert store.attempts.last_ended(study.id, 5) == ()
    finish(store, second)
    finish(store, first, BROKEN)
    assert [attempt.id for attempt in store.attempts.last_ended(study.id, 5)] == [first.id, second.id]
    (newest,) = store.attempts.last_ended(study.id, 1)
    assert newest.outcome == BROKEN


def test_what_a_worker_asks_between_two_trials_reads_no_old_outcome(
    store: Store, study: StudyRecord, worker: WorkerRecord, tmp_path: Path
) -> None:
    old = claimed(store, worker)
    store.attempts.asked(old.id, 0)
    finish(store, old)
    store.attempts.told(old.id)
    connection = sqlite3.connect(tmp_path / "studies.db")
    with connection:
        connection.execute("UPDATE tuner_attempt SET outcome = 'none that can be read'")
    connection.close()
    with pytest.raises(json.JSONDecodeError):
        store.attempts.of(study.id)
    new = claimed(store, worker)
    assert store.attempts.numbers(study.id) == {0}
    assert store.attempts.asked(new.id, 1)
    assert store.attempts.chosen(new.id, PARAMS)
    assert store.attempts.running(study.id) == (store.attempts.get(new.id),)
    finish(store, new)
    assert [attempt.id for attempt in store.attempts.last_ended(study.id, 1)] == [new.id]
    assert [attempt.id for attempt in store.attempts.untold(study.id)] == [new.id]


def test_two_attempts_never_share_a_trial(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    assert store.attempts.asked(claimed(store, worker).id, 0)
    other = claimed(store, register(store, study))
    with pytest.raises(ConflictError):
        store.attempts.asked(other.id, 0)


def test_an_outcome_is_kept_exactly_and_told_once(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    store.attempts.asked(attempt.id, 0)
    store.attempts.chosen(attempt.id, PARAMS)
    assert finish(store, attempt)
    (untold,) = store.attempts.untold(study.id)
    assert (untold.outcome, untold.state, untold.told) == (DONE, AttemptState.ENDED, False)
    store.attempts.told(attempt.id)
    store.attempts.told(attempt.id)
    assert store.attempts.untold(study.id) == ()
    assert [event.kind for event in store.events.of(attempt.id)].count(EventKind.TOLD) == 1


def test_only_the_first_end_counts(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    assert finish(store, attempt, BROKEN, retry=True)
    assert not finish(store, attempt, DONE, retry=True)
    assert not finish(store, attempt, BROKEN, retry=True)
    assert store.attempts.get(attempt.id).outcome == BROKEN
    assert len(store.attempts.of(study.id)) == 2, "one successor, not two"


def test_nobody_ends_the_attempt_of_another_worker(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    assert not store.attempts.end(attempt.id, register(store, study).id, DONE, retry=False)
    assert store.attempts.running(study.id) == (attempt,)


def test_a_retry_has_the_same_parameters_and_costs_no_budget(
    store: Store, study: StudyRecord, worker: WorkerRecord
) -> None:
    attempt = claimed(store, worker, baseline=True)
    store.attempts.asked(attempt.id, 0)
    store.attempts.chosen(attempt.id, PARAMS)
    finish(store, attempt, BROKEN, retry=True)
    again = claimed(store, worker, baseline=True)
    assert (again.kind, again.params, again.tries, again.retry_of) == (AttemptKind.BASELINE, PARAMS, 2, attempt.id)
    assert again.number is None
    assert store.studies.by_id(study.id).reserved == 1


def test_an_interruption_is_not_counted_as_a_try(store: Store, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    store.attempts.end(attempt.id, worker.id, STOPPED, retry=True, count_try=False)
    assert claimed(store, worker).tries == 1


def test_what_optuna_was_never_asked_for_is_never_told(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    finish(store, attempt, STOPPED, retry=True)
    assert store.attempts.untold(study.id) == ()
    assert store.attempts.get(attempt.id).told
    assert claimed(store, worker).params is None


def test_the_oldest_waits_in_front(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    first, second = claimed(store, worker), claimed(store, register(store, study))
    finish(store, second, BROKEN, retry=True)
    finish(store, first, BROKEN, retry=True)
    assert claimed(store, worker).retry_of == second.id
    assert [attempt.id for attempt in store.attempts.of(study.id)][:2] == [first.id, second.id]


def test_nothing_is_written_after_the_end(store: Store, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    assert store.attempts.enter(attempt.id, Phase.START_UP)
    finish(store, attempt, BROKEN)
    assert not store.attempts.enter(attempt.id, Phase.BENCHMARK)
    assert not store.attempts.asked(attempt.id, 0)
    assert not store.attempts.chosen(attempt.id, PARAMS)
    assert store.attempts.get(attempt.id).phase is Phase.START_UP


def test_a_cancelled_attempt_is_flagged_for_its_worker(store: Store, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    assert not store.workers.beat(worker.id, attempt.id).cancel_attempt
    store.attempts.request_cancel(attempt.id)
    assert store.workers.beat(worker.id, attempt.id).cancel_attempt
    assert not store.workers.beat(worker.id, None).cancel_attempt


def test_a_cancelled_attempt_that_waits_ends_at_once(store: Store, study: StudyRecord, worker: WorkerRecord) -> None:
    finish(store, claimed(store, worker), BROKEN, retry=True)
    waiting = store.attempts.of(study.id)[1]
    store.attempts.request_cancel(waiting.id)
    ended = store.attempts.get(waiting.id)
    assert ended.outcome is not None
    assert (ended.state, ended.outcome.cause, ended.told) == (AttemptState.ENDED, Cause.CANCELLED, True)
    assert claimed(store, worker).id != waiting.id


def test_cancelling_what_has_ended_changes_nothing(store: Store, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    finish(store, attempt)
    before = store.attempts.get(attempt.id)
    store.attempts.request_cancel(attempt.id)
    assert store.attempts.get(attempt.id) == before


def test_every_step_is_in_the_history(store: Store, worker: WorkerRecord) -> None:
    attempt = claimed(store, worker)
    store.attempts.asked(attempt.id, 0)
    store.attempts.chosen(attempt.id, PARAMS)
    store.attempts.enter(attempt.id, Phase.START_UP)
    store.attempts.enter(attempt.id, Phase.START_UP)
    finish(store, attempt)
    events = store.events.of(attempt.id)
    assert [event.kind.value for event in events] == ["queued", "claimed", "asked", "phase", "ended"]
    assert events[-1].data == {"verdict": "complete", "cause": None}
    assert events[1].data == {"worker": worker.id}
