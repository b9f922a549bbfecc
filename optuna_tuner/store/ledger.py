"""The ledger: every server is written down before it is started, so that anybody can end it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, select, true, update

from optuna_tuner.errors import NotFoundError
from optuna_tuner.store.codec import decode_handle, decode_request, encode
from optuna_tuner.store.database import Database
from optuna_tuner.store.events import note
from optuna_tuner.store.records import AttemptState, EventKind, ResourceRecord, ResourceState
from optuna_tuner.store.tables import ATTEMPT, RESOURCE
from optuna_tuner.store.workers import is_fenced
from optuna_tuner.values import Handle, Request


class Ledger:
    """What was started outside our processes.

    A reaper first retires the worker. From then on neither `intend` nor `created` succeeds for it, so what `open_of`
    returns is complete, and nothing that was only intended may come to life.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def intend(self, *, id: str, attempt_id: str, worker_id: str, request: Request) -> bool:  # noqa: A002  the row's id
        """Write down what is about to be started; False when the attempt is not this worker's any more.

        `id` is made by `new_id`, and names the resource wherever it runs.
        """
        record = ResourceRecord(
            id=id,
            attempt_id=attempt_id,
            worker_id=worker_id,
            request=request,
            handle=None,
            state=ResourceState.INTENT,
        )
        return self._database.write(lambda connection: _intend(connection, record))

    def created(self, resource_id: str, handle: Handle) -> bool:
        """Write down that it exists; False when a reaper has declared it dead: then it must be stopped at once."""
        return self._database.write(lambda connection: _created(connection, resource_id, handle))

    def gone(self, resource_id: str) -> None:
        """Write down that it is confirmed not to run. Again is fine."""
        self._database.write(lambda connection: _gone(connection, resource_id))

    def get(self, resource_id: str) -> ResourceRecord:
        """The resource with that id. Raises NotFoundError."""
        return self._database.read(lambda connection: _resource(connection, resource_id))

    def open_of(self, worker_id: str) -> tuple[ResourceRecord, ...]:
        """What this worker started or was about to start, and is not gone."""
        return self._open(RESOURCE.c.worker_id == worker_id)

    def open_all(self) -> tuple[ResourceRecord, ...]:
        """All that is not gone, the oldest first."""
        return self._open(true())

    def _open(self, which: ColumnElement[bool]) -> tuple[ResourceRecord, ...]:
        query = select(RESOURCE).where(which, RESOURCE.c.state != ResourceState.GONE.value).order_by(RESOURCE.c.id)
        rows = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(_record(row) for row in rows)


def _intend(connection: Connection, record: ResourceRecord) -> bool:
    if is_fenced(connection, record.worker_id):
        return False
    if connection.scalar(select(RESOURCE.c.id).where(RESOURCE.c.id == record.id)) is not None:
        return True  # it is written already: only the reply was lost
    mine = (
        (ATTEMPT.c.id == record.attempt_id)
        & (ATTEMPT.c.worker_id == record.worker_id)
        & (ATTEMPT.c.state == AttemptState.RUNNING.value)
    )
    if connection.scalar(select(ATTEMPT.c.id).where(mine).with_for_update(key_share=True)) is None:
        return False
    connection.execute(
        insert(RESOURCE).values(
            id=record.id,
            attempt_id=record.attempt_id,
            worker_id=record.worker_id,
            request=encode(record.request),
            state=record.state.value,
        )
    )
    note(connection, record.attempt_id, EventKind.INTENT, resource=record.id)
    return True


def _created(connection: Connection, resource_id: str, handle: Handle) -> bool:
    record = _resource(connection, resource_id)
    if is_fenced(connection, record.worker_id):
        return False
    change = {"state": ResourceState.CREATED.value, "handle": encode(handle)}
    if _move(connection, resource_id, (ResourceState.INTENT,), change):
        note(connection, record.attempt_id, EventKind.CREATED, resource=resource_id)
        return True
    record = _resource(connection, resource_id)
    return record.state is ResourceState.CREATED and record.handle == handle  # equal: only the reply was lost


def _gone(connection: Connection, resource_id: str) -> None:
    record = _resource(connection, resource_id)
    change = {"state": ResourceState.GONE.value}
    if _move(connection, resource_id, (ResourceState.INTENT, ResourceState.CREATED), change):
        note(connection, record.attempt_id, EventKind.GONE, resource=resource_id)


def _move(connection: Connection, resource_id: str, states: tuple[ResourceState, ...], change: dict[str, str]) -> bool:
    there = (RESOURCE.c.id == resource_id) & RESOURCE.c.state.in_([state.value for state in states])
    return connection.execute(update(RESOURCE).where(there).values(change)).rowcount == 1


def _resource(connection: Connection, resource_id: str) -> ResourceRecord:
    row = connection.execute(select(RESOURCE).where(RESOURCE.c.id == resource_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"the ledger holds no resource {resource_id!r}")
    return _record(row)


def _record(row: RowMapping) -> ResourceRecord:
    return ResourceRecord(
        id=row["id"],
        attempt_id=row["attempt_id"],
        worker_id=row["worker_id"],
        request=decode_request(row["request"]),
        handle=None if row["handle"] is None else decode_handle(row["handle"]),
        state=ResourceState(row["state"]),
    )
