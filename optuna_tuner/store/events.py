"""The append-only history of every attempt."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from optuna_tuner.store.codec import decode_data, encode
from optuna_tuner.store.database import Database
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import EventKind, EventRecord
from optuna_tuner.store.tables import EVENT
from optuna_tuner.values import Scalar


class Events:
    """Reads the history. Only the transactions that it tells of write it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, attempt_id: str) -> tuple[EventRecord, ...]:
        """All that happened to an attempt, in order; empty for an unknown one."""
        query = select(EVENT).where(EVENT.c.attempt_id == attempt_id).order_by(EVENT.c.at, EVENT.c.id)
        rows = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(
            EventRecord(
                id=row["id"],
                attempt_id=row["attempt_id"],
                at=row["at"],
                kind=EventKind(row["kind"]),
                data=decode_data(row["data"]),
            )
            for row in rows
        )


def has(connection: Connection, attempt_id: str, kind: EventKind) -> bool:
    """Whether the attempt's history has a line of that kind."""
    lines = select(EVENT.c.id).where(EVENT.c.attempt_id == attempt_id, EVENT.c.kind == kind.value).limit(1)
    return connection.scalar(lines) is not None


def note(connection: Connection, attempt_id: str, kind: EventKind, **data: Scalar | None) -> None:
    """Add one line, in the caller's transaction."""
    connection.execute(
        insert(EVENT).values(
            id=new_id(),
            attempt_id=attempt_id,
            at=datetime.now(UTC),
            kind=kind.value,
            data=encode(data),
            end_of=attempt_id if kind is EventKind.ENDED else None,
        )
    )
