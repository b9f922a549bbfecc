"""The append-only history of every attempt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from optuna_tuner.store.codec import decode_choice, decode_data, encode
from optuna_tuner.store.database import Database
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import Choice, EventKind, EventRecord
from optuna_tuner.store.tables import ATTEMPT, EVENT


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

    def choices(self, study_id: str) -> Mapping[str, Choice]:
        """How the attempts of a study got their parameters, by attempt, where there is something to tell."""
        asked = (ATTEMPT.c.study_id == study_id) & (EVENT.c.kind == EventKind.ASKED.value)
        query = select(EVENT.c.attempt_id, EVENT.c.data).join(ATTEMPT, ATTEMPT.c.id == EVENT.c.attempt_id).where(asked)
        rows = self._database.read(lambda connection: connection.execute(query).all())
        found = {attempt_id: decode_choice(decode_data(data)) for attempt_id, data in rows}
        return {attempt_id: choice for attempt_id, choice in found.items() if choice != Choice()}


def has(connection: Connection, attempt_id: str, kind: EventKind) -> bool:
    """Whether the attempt's history has a line of that kind."""
    lines = select(EVENT.c.id).where(EVENT.c.attempt_id == attempt_id, EVENT.c.kind == kind.value).limit(1)
    return connection.scalar(lines) is not None


def note(connection: Connection, attempt_id: str, kind: EventKind, **data: object) -> None:
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
