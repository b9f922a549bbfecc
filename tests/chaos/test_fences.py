"""Two who want the same at the same moment: real threads, each with a store of its own, on real databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier
from typing import TypeVar

import pytest
from commit_cuts import Cut, Cutter
from databases import DatabaseServer
from stores import BROKEN, DONE, PARAMS, register

from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import (
    AttemptRecord,
    AttemptState,
    Desired,
    EventKind,
    Outcome,
    ResourceState,
    StudyRecord,
    Verdict,
)
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Handle, Request

Reply = TypeVar("Reply")

LOST = Outcome(verdict=Verdict.FAIL, cause=Cause.WORKER_LOST)
REPEAT = Outcome(verdict=Verdict.COMPLETE, values=(12.5,), same_as=0)
REQUEST = Request(deployer="listed", name="s", body={})
HANDLE = Handle(deployer="listed", name="s", ref={})
CLAIMERS, BUDGET, ROUNDS = 8, 20, 12
OVERTAKES_S = 0.3  # so long has the second to overtake the first, if nothing holds it


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all: its tables are made once."""
    found = f"sqlite:///{tmp_path_factory.mktemp('fences')}/studies.db"
    if request.param != "sqlite":
        server: DatabaseServer = request.getfixturevalue(request.param)
        found = server.new_database()
    Store.open(found).close()
    return found


@pytest.fixture
def first(url: str) -> Iterator[Store]:
    """Whose commit can be held."""
    with Store.open(url, create=False) as opened:
        yield opened


@pytest.fixture
def second(url: str) -> Iterator[Store]:
    with Store.open(url, create=False) as opened:
        yield opened


@pytest.fixture
def study(first: Store) -> StudyRecord:
    return first.studies.add(name=new_id(), spec_json="{}", space_hash="", budget=BUDGET)


def claimed(store: Store, study: StudyRecord) -> tuple[AttemptRecord, str]:
    """An attempt of a worker of its own."""
    worker = register(store, study)
    attempt = store.attempts.claim(study.id, worker.id, baseline=False)
    assert attempt is not None
    return attempt, worker.id


def together(*calls: Callable[[], Reply]) -> list[Reply]:
    """What they return, begun at the same moment."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Reply]) -> Reply:
        barrier.wait(60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def overtaken(holder: Store, one: Callable[[], object], other: Callable[[], Reply]) -> tuple[object, Reply]:
    """What both return, when `one` stands just before its commit while `other` comes along."""
    came, go = Cutter(holder).hold_next()
    with ThreadPoolExecutor(2) as pool:
        slow: Future[object] = pool.submit(one)
        assert came.wait(60)
        quick = pool.submit(other)
        wait([quick], OVERTAKES_S)
        go.set()
        return slow.result(), quick.result()


def test_eight_claimers_share_a_budget_of_twenty_exactly(first: Store, study: StudyRecord) -> None:
    def claim_on() -> list[str]:
        found = []
        with Store.open(first.url, create=False) as own:
            worker = register(own, study)
            while attempt := own.attempts.claim(study.id, worker.id, baseline=True):
                found.append(attempt.id)
                assert own.attempts.end(attempt.id, worker.id, DONE, retry=False)
        return found

    claims = Counter(attempt for found in together(*[claim_on] * CLAIMERS) for attempt in found)
    attempts = first.attempts.of(study.id)
    assert (len(claims), set(claims.values())) == (BUDGET, {1})
    assert {attempt.id for attempt in attempts} == set(claims)
    assert first.studies.by_id(study.id).reserved == BUDGET


def test_two_claims_at_once_never_take_the_last_trial_twice(first: Store, second: Store) -> None:
    study = first.studies.add(name=new_id(), spec_json="{}", space_hash="", budget=1)
    workers = [register(first, study).id, register(first, study).id]
    one, other = overtaken(
        first,
        lambda: first.attempts.claim(study.id, workers[0], baseline=False),
        lambda: second.attempts.claim(study.id, workers[1], baseline=False),
    )
    assert (one is None, other is None) == (False, True)
    assert len(first.attempts.of(study.id)) == 1


def test_two_reapers_at_once_retry_each_lost_attempt_once(first: Store, second: Store, study: StudyRecord) -> None:
    lost = [claimed(first, study) for _ in range(ROUNDS)]

    def reap(store: Store) -> list[bool]:
        for _, worker_id in lost:
            store.workers.retire(worker_id)
        return [store.attempts.end(attempt.id, worker_id, LOST, retry=True) for attempt, worker_id in lost]

    answers = together(lambda: reap(first), lambda: reap(second))
    assert [sum(each) for each in zip(*answers, strict=True)] == [1] * ROUNDS
    retries = Counter(each.retry_of for each in first.attempts.of(study.id) if each.retry_of)
    assert retries == {attempt.id: 1 for attempt, _ in lost}


def test_of_an_end_and_a_reapers_end_the_first_stands(first: Store, second: Store, study: StudyRecord) -> None:
    for _ in range(ROUNDS):
        attempt, worker_id = claimed(first, study)
        mine, theirs = together(
            lambda: first.attempts.end(attempt.id, worker_id, DONE, retry=False),  # noqa: B023  done within the round
            lambda: second.attempts.end(attempt.id, worker_id, LOST, retry=True),  # noqa: B023  done within the round
        )
        assert mine != theirs
        assert first.attempts.get(attempt.id).outcome == (DONE if mine else LOST)
        ends = [event for event in first.events.of(attempt.id) if event.kind is EventKind.ENDED]
        assert len(ends) == 1


def test_an_end_that_another_overtook_is_refused(first: Store, second: Store, study: StudyRecord) -> None:
    attempt, worker_id = claimed(first, study)
    one, other = overtaken(
        first,
        lambda: first.attempts.end(attempt.id, worker_id, DONE, retry=False),
        lambda: second.attempts.end(attempt.id, worker_id, LOST, retry=True),
    )
    assert (one, other) == (True, False)
    assert [each.outcome for each in first.attempts.of(study.id)] == [DONE]


def test_a_cancel_and_an_end_leave_one_end(first: Store, second: Store, study: StudyRecord) -> None:
    for _ in range(ROUNDS):
        attempt, worker_id = claimed(first, study)
        together(
            lambda: first.attempts.end(attempt.id, worker_id, DONE, retry=False),  # noqa: B023  done within the round
            lambda: second.attempts.request_cancel(attempt.id),  # noqa: B023  done within the round
        )
        assert first.attempts.get(attempt.id).outcome == DONE


def test_what_waits_is_either_cancelled_or_claimed_and_told_of_the_cancel(
    first: Store, second: Store, study: StudyRecord
) -> None:
    attempt, worker_id = claimed(first, study)
    first.attempts.end(attempt.id, worker_id, BROKEN, retry=True)
    waiting = next(each for each in first.attempts.of(study.id) if each.state is AttemptState.QUEUED)
    overtaken(
        first,
        lambda: first.attempts.claim(study.id, worker_id, baseline=False),
        lambda: second.attempts.request_cancel(waiting.id),
    )
    after = first.attempts.get(waiting.id)
    assert (after.state, after.worker_id, after.cancel) == (AttemptState.RUNNING, worker_id, True)


def test_what_a_worker_intends_before_its_fence_its_reaper_sees(
    first: Store, second: Store, study: StudyRecord
) -> None:
    attempt, worker_id = claimed(first, study)
    row = {"id": attempt.id, "attempt_id": attempt.id, "worker_id": worker_id}

    def reap() -> list[str]:
        second.workers.retire(worker_id)
        return [each.id for each in second.ledger.open_of(worker_id)]

    assert overtaken(first, lambda: first.ledger.intend(**row, request=REQUEST), reap) == (True, [attempt.id])


def test_what_a_worker_creates_before_its_fence_its_reaper_sees(
    first: Store, second: Store, study: StudyRecord
) -> None:
    attempt, worker_id = claimed(first, study)
    assert first.ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=worker_id, request=REQUEST)

    def reap() -> list[ResourceState]:
        second.workers.retire(worker_id)
        return [each.state for each in second.ledger.open_of(worker_id)]

    found = overtaken(first, lambda: first.ledger.created(attempt.id, HANDLE), reap)
    assert found == (True, [ResourceState.CREATED])


def test_what_a_worker_claims_before_its_fence_its_reaper_ends(first: Store, second: Store, study: StudyRecord) -> None:
    worker_id = register(first, study).id

    def reap() -> list[str | None]:
        second.workers.retire(worker_id)
        return [each.worker_id for each in second.attempts.running(study.id)]

    attempt, running = overtaken(first, lambda: first.attempts.claim(study.id, worker_id, baseline=False), reap)
    assert (attempt is not None, running) == (True, [worker_id])


def test_a_fenced_worker_neither_claims_nor_intends_nor_creates(first: Store, study: StudyRecord) -> None:
    attempt, worker_id = claimed(first, study)
    idle = register(first, study).id
    assert first.ledger.intend(id=attempt.id, attempt_id=attempt.id, worker_id=worker_id, request=REQUEST)
    other, other_id = claimed(first, study)
    for each in (worker_id, idle, other_id):
        first.workers.retire(each)
    assert first.attempts.claim(study.id, idle, baseline=False) is None
    assert not first.ledger.intend(id=other.id, attempt_id=other.id, worker_id=other_id, request=REQUEST)
    assert not first.ledger.created(attempt.id, HANDLE)
    assert first.workers.beat(worker_id, attempt.id).fenced


def test_what_optuna_was_asked_for_is_told_though_it_ends_at_that_moment(
    first: Store, second: Store, study: StudyRecord
) -> None:
    attempt, worker_id = claimed(first, study)
    found = overtaken(
        first,
        lambda: first.attempts.asked(attempt.id, 7),
        lambda: second.attempts.end(attempt.id, worker_id, LOST, retry=True),
    )
    assert found == (True, True)
    assert [(each.id, each.number) for each in first.attempts.untold(study.id)] == [(attempt.id, 7)]


def test_the_parameters_that_were_chosen_at_the_moment_of_the_end_are_those_of_the_retry(
    first: Store, second: Store, study: StudyRecord
) -> None:
    attempt, worker_id = claimed(first, study)
    assert first.attempts.asked(attempt.id, 7)
    overtaken(
        first,
        lambda: first.attempts.chosen(attempt.id, PARAMS),
        lambda: second.attempts.end(attempt.id, worker_id, LOST, retry=True),
    )
    assert [each.params for each in first.attempts.of(study.id)] == [PARAMS, PARAMS]


def test_who_ends_an_attempt_knows_it_also_when_the_reply_was_lost(first: Store, study: StudyRecord) -> None:
    attempt, worker_id = claimed(first, study)
    Cutter(first).cut_next(Cut.AFTER)
    assert first.attempts.end(attempt.id, worker_id, BROKEN, retry=True)
    assert len(first.attempts.of(study.id)) == 2


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER], ids=["before", "after"])
def test_a_repeat_gives_its_trial_back_once_also_when_the_line_was_cut(
    first: Store, study: StudyRecord, cut: Cut
) -> None:
    attempt, worker_id = claimed(first, study)
    Cutter(first).cut_next(cut)
    assert first.attempts.end(attempt.id, worker_id, REPEAT, retry=False)
    assert first.attempts.end(attempt.id, worker_id, REPEAT, retry=False) is False
    assert first.studies.by_id(study.id).reserved == 0


def test_an_end_that_does_not_count_gives_no_trial_back(first: Store, study: StudyRecord) -> None:
    attempt, worker_id = claimed(first, study)
    assert first.attempts.end(attempt.id, worker_id, LOST, retry=True)
    assert first.attempts.end(attempt.id, worker_id, REPEAT, retry=False) is False
    other = claimed(first, study)[0]
    assert first.attempts.end(other.id, worker_id, REPEAT, retry=False) is False
    assert first.studies.by_id(study.id).reserved == 1


def test_eight_workers_that_often_repeat_measure_exactly_the_budget(first: Store, study: StudyRecord) -> None:
    def claim_on() -> int:
        measured = 0
        with Store.open(first.url, create=False) as own:
            worker = register(own, study)
            while attempt := own.attempts.claim(study.id, worker.id, baseline=False):
                outcome = REPEAT if int(attempt.id[-1], 36) % 2 else DONE
                assert own.attempts.end(attempt.id, worker.id, outcome, retry=False)
                measured += outcome is DONE
        return measured

    assert sum(together(*[claim_on] * CLAIMERS)) == BUDGET
    assert first.studies.by_id(study.id).reserved == BUDGET


def test_nobody_claims_while_a_study_is_declared_exhausted(first: Store, second: Store, study: StudyRecord) -> None:
    attempt, worker_id = claimed(first, study)
    assert first.attempts.end(attempt.id, worker_id, DONE, retry=False)
    _, late = overtaken(
        first,
        lambda: first.studies.exhaust(study.id, "all was measured"),
        lambda: second.attempts.claim(study.id, worker_id, baseline=False),
    )
    record = first.studies.by_id(study.id)
    assert (late, record.reserved, record.budget, record.ended_because) == (None, 1, 1, "all was measured")


def test_a_study_is_not_declared_exhausted_while_somebody_claims(
    first: Store, second: Store, study: StudyRecord
) -> None:
    attempt, worker_id = claimed(first, study)
    assert first.attempts.end(attempt.id, worker_id, DONE, retry=False)
    found, _ = overtaken(
        first,
        lambda: first.attempts.claim(study.id, worker_id, baseline=False),
        lambda: second.studies.exhaust(study.id, "all was measured"),
    )
    record = first.studies.by_id(study.id)
    assert found is not None
    assert (record.desired, record.budget, record.ended_because) == (Desired.RUN, BUDGET, None)


def test_a_commit_that_never_came_is_repeated(first: Store, study: StudyRecord) -> None:
    attempt, worker_id = claimed(first, study)
    Cutter(first).cut_next(Cut.BEFORE)
    assert first.attempts.end(attempt.id, worker_id, DONE, retry=False)
    assert first.attempts.get(attempt.id).outcome == DONE
