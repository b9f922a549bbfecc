"""One attempt's row: read, added and moved, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select, true, update

from optuna_tuner.errors import NotFoundError
from optuna_tuner.store.codec import decode_outcome, decode_params, encode
from optuna_tuner.store.events import note
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, EventKind
from optuna_tuner.store.tables import ATTEMPT
from optuna_tuner.values import Params, Phase


def attempt_of(connection: Connection, attempt_id: str) -> AttemptRecord:
    """The attempt with that id. Raises NotFoundError."""
    found = attempts_where(connection, ATTEMPT.c.id == attempt_id)
    if not found:
        raise NotFoundError(f"no attempt has the id {attempt_id!r}")
    return found[0]


def attempts_where(connection: Connection, which: ColumnElement[bool]) -> tuple[AttemptRecord, ...]:
    """All such attempts, in the order in which they were made."""
    query = select(ATTEMPT).where(which).order_by(ATTEMPT.c.created_at, ATTEMPT.c.id)
    return tuple(_record(row) for row in connection.execute(query).mappings())


def last_ended(connection: Connection, study_id: str, count: int) -> tuple[AttemptRecord, ...]:
    """So many attempts of the study that ended last, the newest first; no other row is read."""
    ended = (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.state == AttemptState.ENDED.value)
    query = select(ATTEMPT).where(ended).order_by(ATTEMPT.c.ended_at.desc(), ATTEMPT.c.id.desc()).limit(count)
    return tuple(_record(row) for row in connection.execute(query).mappings())


def queue(connection: Connection, record: AttemptRecord) -> None:
    """Add a queued attempt."""
    connection.execute(
        insert(ATTEMPT).values(
            id=record.id,
            study_id=record.study_id,
            kind=record.kind.value,
            state=record.state.value,
            tries=record.tries,
            retry_of=record.retry_of,
            params=None if record.params is None else encode(record.params),
            phase=record.phase.value,
            cancel=record.cancel,
            told=record.told,
            created_at=record.created_at,
            pair=record.pair,
        )
    )
    note(connection, record.id, EventKind.QUEUED, tries=record.tries, retry_of=record.retry_of)


def queued(
    attempt_id: str,
    study_id: str,
    kind: AttemptKind,
    params: Params | None,
    *,
    retry_of: str | None = None,
    pair: int | None = None,
) -> AttemptRecord:
    """A new attempt that nobody has claimed yet."""
    return AttemptRecord(
        id=attempt_id,
        study_id=study_id,
        kind=kind,
        state=AttemptState.QUEUED,
        tries=1,
        retry_of=retry_of,
        params=params,
        number=None,
        worker_id=None,
        phase=Phase.QUEUE,
        cancel=False,
        outcome=None,
        told=False,
        created_at=datetime.now(UTC),
        claimed_at=None,
        ended_at=None,
        pair=pair,
    )


def move(
    connection: Connection,
    attempt_id: str,
    state: AttemptState,
    change: Mapping[str, object],
    also: ColumnElement[bool] | None = None,
) -> bool:
    """Change the row if the attempt is still in that state, and `also` holds; whether it was.

    Writers move first and read afterwards: the move waits for whoever has the row, and the reader then sees what became
    of it. That other one may be an earlier call of one's own, whose commit was on its way when the line was cut.
    """
    there = (ATTEMPT.c.id == attempt_id) & (ATTEMPT.c.state == state.value) & (true() if also is None else also)
    return connection.execute(update(ATTEMPT).where(there).values(dict(change))).rowcount == 1


def _record(row: RowMapping) -> AttemptRecord:
    values = {name: value for name, value in row.items() if name != "ended_by"}
    return AttemptRecord(
        **{
            **values,
            "kind": AttemptKind(row["kind"]),
            "state": AttemptState(row["state"]),
            "phase": Phase(row["phase"]),
            "params": None if row["params"] is None else decode_params(row["params"]),
            "outcome": None if row["outcome"] is None else decode_outcome(row["outcome"]),
        }
    )
