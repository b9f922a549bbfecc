"""How an attempt is claimed: one short transaction, in which the budget cannot be overdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select

from optuna_tuner.store.attempt_rows import attempt_of, attempts_where, move, queue, queued
from optuna_tuner.store.events import note
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, Desired, EventKind
from optuna_tuner.store.references import lacks_reference
from optuna_tuner.store.studies import reserve, study_of
from optuna_tuner.store.tables import ATTEMPT
from optuna_tuner.store.workers import is_fenced
from optuna_tuner.values import Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a study tries before its sampler chooses: the engine's own default, then these configurations."""

    baseline: bool
    first: Sequence[Params] = ()
    answers_first: bool = False  # nothing after the baseline until its answers are kept


def claim(connection: Connection, study_id: str, worker_id: str, fresh: str, opening: Opening) -> AttemptRecord | None:
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
    chosen = _oldest_queued(connection, study_id)
    if chosen is None and not (opening.answers_first and lacks_reference(connection, study_id)):
        chosen = _reserved(connection, study_id, fresh, opening)
    if chosen is None or not _take(connection, chosen, worker_id):
        return None
    return attempt_of(connection, chosen)


def _oldest_queued(connection: Connection, study_id: str) -> str | None:
    waiting = (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.state == AttemptState.QUEUED.value)
    # Locked, so that a cancellation in the same moment comes before or after, never in between.
    query = select(ATTEMPT.c.id).where(waiting).order_by(ATTEMPT.c.created_at, ATTEMPT.c.id).limit(1)
    return connection.scalar(query.with_for_update())


def _reserved(connection: Connection, study_id: str, fresh: str, opening: Opening) -> str | None:
    kind, params = _next(connection, study_id, opening)
    if not reserve(connection, study_id):
        return None
    queue(connection, queued(fresh, study_id, kind, params=params))
    return fresh


def _next(connection: Connection, study_id: str, opening: Opening) -> tuple[AttemptKind, Params | None]:
    """What a new attempt is for. Nobody else makes one of this study meanwhile: its row is locked."""
    ours = ATTEMPT.c.study_id == study_id
    if opening.baseline and connection.scalar(select(ATTEMPT.c.id).where(ours).limit(1)) is None:
        return AttemptKind.BASELINE, Params()
    if opening.first:
        # Told apart by what they are and not by their place: so the list may change when a study is resumed.
        tried = [each.params for each in attempts_where(connection, ours & (ATTEMPT.c.kind == AttemptKind.FIRST.value))]
        left = next((params for params in opening.first if params not in tried), None)
        if left is not None:
            return AttemptKind.FIRST, left
    return AttemptKind.SEARCH, None


def _take(connection: Connection, attempt_id: str, worker_id: str) -> bool:
    change = {"state": AttemptState.RUNNING.value, "worker_id": worker_id, "claimed_at": datetime.now(UTC)}
    won = move(connection, attempt_id, AttemptState.QUEUED, change)
    if won:
        note(connection, attempt_id, EventKind.CLAIMED, worker=worker_id)
    return won
