"""Studies: what was asked for, what is wanted now, and how much of the budget is taken."""

from __future__ import annotations

from datetime import UTC, datetime
from difflib import get_close_matches

from sqlalchemy import Connection, RowMapping, case, insert, select, update

from optuna_tuner.errors import ConflictError, NotFoundError
from optuna_tuner.store.codec import decode_drops, encode
from optuna_tuner.store.database import Database
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import AttemptState, Desired, Drops, StudyRecord
from optuna_tuner.store.tables import ATTEMPT, STUDY


class Studies:
    """All studies of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, *, name: str, spec_json: str, space_hash: str, budget: int) -> StudyRecord:
        """A new study that shall run `budget` trials. Raises ConflictError when the name is taken."""
        record = StudyRecord(
            id=new_id(),
            name=name,
            spec_json=spec_json,
            space_hash=space_hash,
            budget=budget,
            reserved=0,
            desired=Desired.RUN,
            created_at=datetime.now(UTC),
        )
        return self._database.write(lambda connection: _add(connection, record))

    def get(self, name: str) -> StudyRecord:
        """The study of that name. Raises NotFoundError, which lists names like it."""
        row = self._database.read(
            lambda connection: connection.execute(select(STUDY).where(STUDY.c.name == name)).mappings().one_or_none()
        )
        if row is None:
            raise NotFoundError(f'no study is called "{name}"{self._hint(name)}')
        return _record(row)

    def _hint(self, name: str) -> str:
        near = get_close_matches(name, [study.name for study in self.all()])
        return "; did you mean " + " or ".join(f'"{other}"' for other in near) if near else ""

    def by_id(self, study_id: str) -> StudyRecord:
        """The study with that id. Raises NotFoundError."""
        return self._database.read(lambda connection: study_of(connection, study_id))

    def all(self) -> tuple[StudyRecord, ...]:
        """All studies, the oldest first."""
        query = select(STUDY).order_by(STUDY.c.created_at, STUDY.c.id)
        rows = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(_record(row) for row in rows)

    def want(self, study_id: str, desired: Desired) -> StudyRecord:
        """Say what is wanted; workers hear it at their next beat. RUN forgets why the study was given up.

        Raises NotFoundError.
        """
        forget: dict[str, object] = {"ended_because": None} if desired is Desired.RUN else {}
        return self._database.write(lambda connection: _change(connection, study_id, desired=desired.value, **forget))

    def give_up(self, study_id: str, reason: str) -> StudyRecord:
        """Stop a study that shall still run, and keep why; nothing when it was told otherwise before.

        Raises NotFoundError.
        """
        return self._database.write(lambda connection: _give_up(connection, study_id, reason))

    def exhaust(self, study_id: str, reason: str, *, go_on: bool = False) -> StudyRecord:
        """Declare a search done before its budget is spent, and keep why: its budget becomes what was used of it.

        With `go_on` the study still runs: something is to be measured again. Nothing when it is told otherwise, when
        its budget is spent, or when an attempt runs or waits.

        Raises NotFoundError.
        """
        return self._database.write(lambda connection: _exhaust(connection, study_id, reason, go_on=go_on))

    def conclude(self, seen: StudyRecord, reason: str) -> StudyRecord:
        """Begin no more trials of a study that shall run, and keep why: its budget becomes what was claimed of it.

        What runs or waits goes on, and so does what is to be measured again. Nothing when the study is not any more as
        it was `seen` when this was decided. Raises NotFoundError.
        """
        return self._database.write(lambda connection: _conclude(connection, seen, reason))

    def set_drops(self, seen: StudyRecord, drops: Drops) -> StudyRecord:
        """Keep which flags may be left out. Nothing when somebody else has kept others than were `seen`.

        Raises NotFoundError.
        """
        return self._database.write(lambda connection: _set_drops(connection, seen, drops))

    def set_spec(self, study_id: str, spec_json: str) -> StudyRecord:
        """Keep the newer study file; workers that start from now on read it."""
        return self._database.write(lambda connection: _change(connection, study_id, spec_json=spec_json))

    def set_budget(self, study_id: str, trials: int) -> StudyRecord:
        """Change the budget. What was claimed already stays claimed: the budget is never below it."""
        enough = case((STUDY.c.reserved > trials, STUDY.c.reserved), else_=trials)
        return self._database.write(lambda connection: _change(connection, study_id, budget=enough))


def study_of(connection: Connection, study_id: str, *, lock: bool = False) -> StudyRecord:
    """The study's row; with `lock`, no other transaction claims or changes it until this one ends."""
    query = select(STUDY).where(STUDY.c.id == study_id)
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"no study has the id {study_id!r}")
    return _record(row)


def reserve(connection: Connection, study_id: str) -> bool:
    """Take one trial of the budget; False when none is left."""
    left = (STUDY.c.id == study_id) & (STUDY.c.reserved < STUDY.c.budget)
    return connection.execute(update(STUDY).where(left).values(reserved=STUDY.c.reserved + 1)).rowcount == 1


def give_back(connection: Connection, study_id: str) -> None:
    """Return one trial to the budget: it was reserved by an attempt that came to nothing of its own."""
    connection.execute(update(STUDY).where(STUDY.c.id == study_id).values(reserved=STUDY.c.reserved - 1))


def _add(connection: Connection, record: StudyRecord) -> StudyRecord:
    taken = connection.scalar(select(STUDY.c.id).where(STUDY.c.name == record.name))
    if taken is None:
        values = {name: getattr(record, name) for name in record.__slots__}
        connection.execute(insert(STUDY).values(values | {"desired": record.desired.value}))
    elif taken != record.id:  # else it is this very study: only the reply was lost
        raise ConflictError(f'a study is already called "{record.name}"')
    return record


def _change(connection: Connection, study_id: str, **values: object) -> StudyRecord:
    connection.execute(update(STUDY).where(STUDY.c.id == study_id).values(values))
    return study_of(connection, study_id)


def _give_up(connection: Connection, study_id: str, reason: str) -> StudyRecord:
    wanted = (STUDY.c.id == study_id) & (STUDY.c.desired == Desired.RUN.value)
    connection.execute(update(STUDY).where(wanted).values(desired=Desired.STOP.value, ended_because=reason))
    return study_of(connection, study_id)


def _exhaust(connection: Connection, study_id: str, reason: str, *, go_on: bool) -> StudyRecord:
    study_of(connection, study_id, lock=True)  # nobody claims meanwhile
    open_attempts = (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.state != AttemptState.ENDED.value)
    if connection.scalar(select(ATTEMPT.c.id).where(open_attempts).limit(1)) is None:
        left = (STUDY.c.id == study_id) & (STUDY.c.budget > STUDY.c.reserved)
        desired = Desired.RUN if go_on else Desired.STOP
        change = {"desired": desired.value, "ended_because": reason, "budget": STUDY.c.reserved}
        connection.execute(update(STUDY).where(left & (STUDY.c.desired == Desired.RUN.value)).values(change))
    return study_of(connection, study_id)


def _conclude(connection: Connection, seen: StudyRecord, reason: str) -> StudyRecord:
    study = study_of(connection, seen.id, lock=True)  # nobody claims, resumes or changes it meanwhile
    if study != seen or study.desired is not Desired.RUN:
        return study
    return _change(connection, seen.id, budget=study.reserved, ended_because=reason)


def _set_drops(connection: Connection, seen: StudyRecord, drops: Drops) -> StudyRecord:
    study = study_of(connection, seen.id, lock=True)
    return _change(connection, seen.id, drops=encode(drops)) if study.drops == seen.drops else study


def _record(row: RowMapping) -> StudyRecord:
    drops = None if row["drops"] is None else decode_drops(row["drops"])
    return StudyRecord(**{**row, "desired": Desired(row["desired"]), "drops": drops})
