"""How an attempt ends: once, and in the same transaction its parameters are queued again where they should be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from optuna_tuner.store.attempt_rows import attempt_of, move, queue, queued
from optuna_tuner.store.codec import encode
from optuna_tuner.store.events import note
from optuna_tuner.store.records import AttemptRecord, AttemptState, EventKind, Outcome, Verdict
from optuna_tuner.store.studies import give_back, study_of
from optuna_tuner.store.tables import ATTEMPT
from optuna_tuner.values import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """One call of `end`; its own id tells, after a lost reply, that it was this call that won."""

    outcome: Outcome
    retry: bool
    count_try: bool
    call: str
    successor: str


def end(connection: Connection, attempt_id: str, worker_id: str, ending: Ending) -> bool:
    """What `Attempts.end` promises."""
    attempt = attempt_of(connection, attempt_id)
    if attempt.worker_id != worker_id:
        return False
    repeats = ending.outcome.same_as is not None
    if repeats:  # the study's row is locked first, as everywhere: else this and a claim wait for each other
        study_of(connection, attempt.study_id, lock=True)
    if not _close(connection, attempt, AttemptState.RUNNING, ending.outcome, ending.call):
        return connection.scalar(select(ATTEMPT.c.ended_by).where(ATTEMPT.c.id == attempt_id)) == ending.call
    if repeats:
        give_back(connection, attempt.study_id)
    if ending.retry:
        attempt = attempt_of(connection, attempt_id)  # again: `asked` may have come in between
        tries = attempt.tries + 1 if ending.count_try else attempt.tries
        again = queued(
            ending.successor,
            attempt.study_id,
            attempt.kind,
            attempt.params,
            retry_of=attempt_id,
            pair=attempt.pair,
        )
        queue(connection, replace(again, tries=tries))
    return True


def _close(connection: Connection, attempt: AttemptRecord, state: AttemptState, outcome: Outcome, call: str) -> bool:
    change = {
        "state": AttemptState.ENDED.value,
        "outcome": encode(outcome),
        "ended_by": call,
        "ended_at": datetime.now(UTC),
        "told": ATTEMPT.c.number.is_(None),  # read by the database: `asked` may have come in between
    }
    won = move(connection, attempt.id, state, change)
    if won:
        cause = None if outcome.cause is None else outcome.cause.value
        note(connection, attempt.id, EventKind.ENDED, verdict=outcome.verdict.value, cause=cause)
    return won


def cancel(connection: Connection, attempt_id: str, call: str) -> None:
    """What `Attempts.request_cancel` promises."""
    attempt = attempt_of(connection, attempt_id)
    cancelled = Outcome(verdict=Verdict.FAIL, cause=Cause.CANCELLED, reason="cancelled while it waited")
    if _close(connection, attempt, AttemptState.QUEUED, cancelled, call):
        return
    if move(connection, attempt_id, AttemptState.RUNNING, {"cancel": True}, ATTEMPT.c.cancel.is_(False)):
        note(connection, attempt_id, EventKind.CANCEL)
