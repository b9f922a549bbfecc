"""How an attempt is claimed: one short transaction, in which the budget cannot be overdrawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NotRequired, TypedDict

from sqlalchemy import Connection, func, select

from optuna_tuner.store.attempt_rows import attempt_of, attempts_where, move, queue, queued
from optuna_tuner.store.events import note
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Desired,
    Drops,
    EventKind,
    Extra,
    StudyRecord,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.store.references import lacks_reference
from optuna_tuner.store.studies import reserve, study_of
from optuna_tuner.store.tables import ATTEMPT
from optuna_tuner.store.workers import is_fenced, workers_of
from optuna_tuner.values import Params

# What is to be measured again by a worker, given all attempts and all workers of its study, and which flags may be
# left out; None: nothing now.
Again = Callable[[Sequence[AttemptRecord], Sequence[WorkerRecord], Drops | None, str], Extra | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What a study tries beside what its sampler chooses; `Attempts.claim` tells of each."""

    baseline: bool
    first: Sequence[Params] = ()
    answers_first: bool = False
    baseline_every: int = 0
    search: bool = True
    again: Again | None = None


class Wanted(TypedDict):
    """A course, as keywords."""

    baseline: bool
    first: NotRequired[Sequence[Params]]
    answers_first: NotRequired[bool]
    baseline_every: NotRequired[int]
    search: NotRequired[bool]
    again: NotRequired[Again | None]


def claim(connection: Connection, study_id: str, worker_id: str, fresh: str, course: Course) -> AttemptRecord | None:
    """What `Attempts.claim` promises; a new attempt gets the id `fresh`."""
    # The study's row is locked first, everywhere: claims of one study are served one after another.
    study = study_of(connection, study_id, lock=True)
    if is_fenced(connection, worker_id):
        return None
    running = ATTEMPT.c.state == AttemptState.RUNNING.value
    mine = attempts_where(connection, (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.worker_id == worker_id) & running)
    if mine:
        return mine[0]
    if study.desired is not Desired.RUN:
        return None
    chosen = _oldest_queued(connection, study_id, worker_id)
    if chosen is None and not (course.answers_first and lacks_reference(connection, study_id)):
        chosen = _made(connection, study, worker_id, fresh, course)
    if chosen is None or not _take(connection, chosen, worker_id):
        return None
    return attempt_of(connection, chosen)


def _oldest_queued(connection: Connection, study_id: str, worker_id: str) -> str | None:
    waiting = (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.state == AttemptState.QUEUED.value)
    if connection.scalar(select(ATTEMPT.c.id).where(waiting & ATTEMPT.c.pair.is_not(None)).limit(1)) is not None:
        elsewhere = _pairs_elsewhere(connection, study_id, worker_id)
        waiting &= ATTEMPT.c.pair.is_(None) | ATTEMPT.c.pair.not_in(elsewhere)
    # Locked, so that a cancellation in the same moment comes before or after, never in between.
    query = select(ATTEMPT.c.id).where(waiting).order_by(ATTEMPT.c.created_at, ATTEMPT.c.id).limit(1)
    return connection.scalar(query.with_for_update())


def _pairs_elsewhere(connection: Connection, study_id: str, worker_id: str) -> Collection[int]:
    """The pairs that belong to another slot: it has measured a half of them, and somebody works there."""
    workers = {worker.id: worker for worker in workers_of(connection, study_id)}
    others = {worker.place for worker in workers.values() if not worker.retired} - {workers[worker_id].place}
    ours = (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.state == AttemptState.ENDED.value)
    halves = attempts_where(connection, ours & ATTEMPT.c.pair.is_not(None))
    gave = [half for half in halves if half.outcome is not None and half.outcome.verdict is not Verdict.FAIL]
    return {half.pair or 0 for half in gave if half.worker_id and workers[half.worker_id].place in others}


def _made(connection: Connection, study: StudyRecord, worker_id: str, fresh: str, course: Course) -> str | None:
    """A new attempt: of the budget while there is some left, and what measures again beside it."""
    if study.reserved >= study.budget:
        return _extra(connection, study.id, fresh, _again(connection, study, worker_id, course))
    if not course.search:
        return None
    if course.baseline_every and _control_is_due(connection, study, course):
        return _extra(connection, study.id, fresh, Extra(kind=AttemptKind.CONTROL, params=Params()))
    return _reserved(connection, study.id, fresh, course)


def _again(connection: Connection, study: StudyRecord, worker_id: str, course: Course) -> Extra | None:
    if course.again is None:
        return None
    attempts = attempts_where(connection, ATTEMPT.c.study_id == study.id)
    return course.again(attempts, workers_of(connection, study.id), study.drops, worker_id)


def _control_is_due(connection: Connection, study: StudyRecord, course: Course) -> bool:
    """Counted in trials of the budget, which retries and repeats are not."""
    controls = (ATTEMPT.c.study_id == study.id) & (ATTEMPT.c.kind == AttemptKind.CONTROL.value)
    made = connection.scalar(select(func.count()).select_from(ATTEMPT).where(controls & ATTEMPT.c.retry_of.is_(None)))
    return (study.reserved - course.baseline) // course.baseline_every > (made or 0)


def _extra(connection: Connection, study_id: str, fresh: str, extra: Extra | None) -> str | None:
    if extra is None:
        return None
    queue(connection, queued(fresh, study_id, extra.kind, extra.params, pair=extra.pair))
    return fresh


def _reserved(connection: Connection, study_id: str, fresh: str, course: Course) -> str | None:
    kind, params = _next(connection, study_id, course)
    if not reserve(connection, study_id):
        return None
    queue(connection, queued(fresh, study_id, kind, params))
    return fresh


def _next(connection: Connection, study_id: str, course: Course) -> tuple[AttemptKind, Params | None]:
    """What a new attempt is for. Nobody else makes one of this study meanwhile: its row is locked."""
    ours = ATTEMPT.c.study_id == study_id
    if course.baseline and connection.scalar(select(ATTEMPT.c.id).where(ours).limit(1)) is None:
        return AttemptKind.BASELINE, Params()
    if course.first:
        # Told apart by what they are and not by their place: so the list may change when a study is resumed.
        tried = [each.params for each in attempts_where(connection, ours & (ATTEMPT.c.kind == AttemptKind.FIRST.value))]
        left = next((params for params in course.first if params not in tried), None)
        if left is not None:
            return AttemptKind.FIRST, left
    return AttemptKind.SEARCH, None


def _take(connection: Connection, attempt_id: str, worker_id: str) -> bool:
    change = {"state": AttemptState.RUNNING.value, "worker_id": worker_id, "claimed_at": datetime.now(UTC)}
    won = move(connection, attempt_id, AttemptState.QUEUED, change)
    if won:
        note(connection, attempt_id, EventKind.CLAIMED, worker=worker_id)
    return won
