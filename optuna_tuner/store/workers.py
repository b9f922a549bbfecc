"""Workers: who lives, judged by beats and never by a clock that two hosts would have to share."""

from __future__ import annotations

from dataclasses import fields
from typing import NotRequired, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select, true, update

from optuna_tuner.errors import NotFoundError
from optuna_tuner.store import schema
from optuna_tuner.store.codec import decode_slot, encode
from optuna_tuner.store.database import Database
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import Orders, WorkerRecord
from optuna_tuner.store.studies import study_of
from optuna_tuner.store.tables import ATTEMPT, WORKER
from optuna_tuner.values import Slot

BEAT_PATIENCE_S = 10.0


class ProcessName(TypedDict):
    """What names one process among all that ever were."""

    host: str
    boot_id: str
    pid: int
    pid_start: float  # in a unit of the caller's choice: it is only compared
    machine: NotRequired[str]  # 64 letters at most


class Workers:
    """All workers of the store. `retire` is the fence: after it, nothing that the worker writes is accepted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, *, study_id: str, slot: Slot, **process: Unpack[ProcessName]) -> WorkerRecord:
        """A new worker of a study, which is this process. Raises NotFoundError for an unknown study."""
        record = WorkerRecord(
            id=new_id(),
            study_id=study_id,
            beat=0,
            slot=slot,
            retired=False,
            **process,
        )
        return self._database.write(lambda connection: _add(connection, record))

    def get(self, worker_id: str) -> WorkerRecord:
        """The worker with that id. Raises NotFoundError."""
        return self._database.read(lambda connection: _worker(connection, worker_id))

    def beat(self, worker_id: str, attempt_id: str | None) -> Orders:
        """Show that the worker lives, and hear what it shall do.

        Raises StoreError after 10 s of trouble, so that the worker can judge how long it was not heard of.
        """
        return self._database.write(
            lambda connection: _beat(connection, worker_id, attempt_id), patience_s=BEAT_PATIENCE_S
        )

    def retire(self, worker_id: str) -> None:
        """Declare it ended or dead. Again is fine."""
        change = update(WORKER).where(WORKER.c.id == worker_id).values(retired=True)
        self._database.write(lambda connection: connection.execute(change).rowcount)

    def alive(self, study_id: str | None = None) -> tuple[WorkerRecord, ...]:
        """The workers that nobody retired, of one study or of all, the oldest first."""
        return self._where(study_id, WORKER.c.retired.is_(False))

    def all(self, study_id: str | None = None) -> tuple[WorkerRecord, ...]:
        """All workers that ever were, of one study or of all, the oldest first."""
        return self._where(study_id, true())

    def _where(self, study_id: str | None, which: ColumnElement[bool]) -> tuple[WorkerRecord, ...]:
        whose = true() if study_id is None else WORKER.c.study_id == study_id
        return self._database.read(lambda connection: _workers_where(connection, which & whose))


def workers_of(connection: Connection, study_id: str) -> tuple[WorkerRecord, ...]:
    """All workers that a study ever had, the oldest first."""
    return _workers_where(connection, WORKER.c.study_id == study_id)


def _workers_where(connection: Connection, which: ColumnElement[bool]) -> tuple[WorkerRecord, ...]:
    rows = connection.execute(select(WORKER).where(which).order_by(WORKER.c.id)).mappings()
    return tuple(_record(row) for row in rows)


def is_fenced(connection: Connection, worker_id: str) -> bool:
    """Whether the worker was retired; nobody can retire it until this transaction ends. Raises NotFoundError."""
    retired = connection.scalar(
        select(WORKER.c.retired).where(WORKER.c.id == worker_id).with_for_update(key_share=True)
    )
    if retired is None:
        raise NotFoundError(f"no worker has the id {worker_id!r}")
    return bool(retired)


def _add(connection: Connection, record: WorkerRecord) -> WorkerRecord:
    study_of(connection, record.study_id)
    if connection.scalar(select(WORKER.c.id).where(WORKER.c.id == record.id)) is None:
        values = {item.name: getattr(record, item.name) for item in fields(record)}
        connection.execute(insert(WORKER).values(values | {"slot": encode(record.slot)}))
    return record


def _beat(connection: Connection, worker_id: str, attempt_id: str | None) -> Orders:
    alive = (WORKER.c.id == worker_id) & WORKER.c.retired.is_(False)
    counted = connection.execute(update(WORKER).where(alive).values(beat=WORKER.c.beat + 1)).rowcount == 1
    worker = _worker(connection, worker_id)
    desired = study_of(connection, worker.study_id).desired
    cancel = attempt_id and connection.scalar(select(ATTEMPT.c.cancel).where(ATTEMPT.c.id == attempt_id))
    return Orders(
        desired=desired, cancel_attempt=bool(cancel), fenced=not counted, drain=not schema.is_current(connection)
    )


def _worker(connection: Connection, worker_id: str) -> WorkerRecord:
    row = connection.execute(select(WORKER).where(WORKER.c.id == worker_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"no worker has the id {worker_id!r}")
    return _record(row)


def _record(row: RowMapping) -> WorkerRecord:
    return WorkerRecord(**{**row, "slot": decode_slot(row["slot"])})
