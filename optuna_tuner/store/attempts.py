"""Attempts: claimed once, ended once, told once. Every change is a compare-and-set on the state that it leaves.

An attempt runs at most once: it never goes back from running, a retry is an attempt of its own. So "still running"
is the fence, and whoever comes late finds it ended.
"""

from __future__ import annotations

from typing import Unpack

from sqlalchemy import ColumnElement, Connection, and_, func, select

from optuna_tuner.errors import NotFoundError
from optuna_tuner.store.attempt_rows import attempt_of, attempts_where, last_ended, move
from optuna_tuner.store.claiming import Course, Wanted, claim
from optuna_tuner.store.codec import encode
from optuna_tuner.store.database import Database
from optuna_tuner.store.ending import Ending, cancel, end
from optuna_tuner.store.events import has, note
from optuna_tuner.store.ids import new_id
from optuna_tuner.store.records import AttemptKind, AttemptRecord, AttemptState, Choice, EventKind, Outcome
from optuna_tuner.store.references import failed_baseline, reference, try_baseline_again
from optuna_tuner.store.tables import ATTEMPT
from optuna_tuner.store.workers import BEAT_PATIENCE_S
from optuna_tuner.values import Params, Phase


class Attempts:
    """All attempts of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, study_id: str, worker_id: str, **course: Unpack[Wanted]) -> AttemptRecord | None:
        """An attempt for this worker to run, or None when there is none, or the study is not to run, or it is fenced.

        First what the worker already runs (so that a claim whose reply was lost is found again), then the oldest that
        waits (half of a pair waits for the slot that has measured the other), else a new one, which takes one trial of
        the budget. `baseline`: the study's very first attempt is of the engine's own defaults. `answers_first`: after
        it nothing new until its answers are kept. `first`: each of these configurations has an attempt, in this order,
        before any that the sampler chooses.

        Beside the budget: `baseline_every`: so many trials lie between two measurements of the default; 0 for the first
        alone. `again`: asked for what to measure again when all of the budget is claimed. Without `search` no trial of
        the budget is begun. Raises NotFoundError for an unknown study or worker.
        """
        fresh, whole = new_id(), Course(**course)
        return self._database.write(lambda connection: claim(connection, study_id, worker_id, fresh, whole))

    def reference(self, study_id: str) -> AttemptRecord | None:
        """The baseline whose answers the others are held against: the first that gave some; None while none did."""
        return self._database.read(lambda connection: reference(connection, study_id))

    def failed_baseline(self, study_id: str) -> AttemptRecord | None:
        """The baseline's last try, where all of them have ended and none gave answers; else None."""
        return self._database.read(lambda connection: failed_baseline(connection, study_id))

    def try_baseline_again(self, study_id: str) -> None:
        """Queue the baseline anew where all its tries have ended without answers, and the study is to run."""
        fresh = new_id()
        self._database.write(lambda connection: try_baseline_again(connection, study_id, fresh))

    def asked(self, attempt_id: str, number: int) -> bool:
        """Link it to Optuna's trial of that number; False when the attempt has ended or has another number.

        Raises ConflictError when another attempt has this number.
        """
        return self._database.write(lambda connection: _asked(connection, attempt_id, number))

    def asked_in_vain(self, study_id: str, number: int) -> AttemptRecord | None:
        """Link Optuna's trial of that number to an attempt that ended before it was linked; None when there is none.

        The attempt is to be told to Optuna from then on. For a study at rest: nobody else will take the trial.
        """
        return self._database.write(lambda connection: _asked_in_vain(connection, study_id, number))

    def chosen(self, attempt_id: str, params: Params, choice: Choice | None = None) -> bool:
        """Keep the parameters that its trial was given, and how; False when the attempt has ended or has no trial."""
        return self._database.write(lambda connection: _chosen(connection, attempt_id, params, choice or Choice()))

    def enter(self, attempt_id: str, phase: Phase) -> bool:
        """Keep the phase; False when the attempt has ended. Raises StoreError after 10 s: it is only news."""
        return self._database.write(
            lambda connection: _enter(connection, attempt_id, phase), patience_s=BEAT_PATIENCE_S
        )

    def end(self, attempt_id: str, worker_id: str, outcome: Outcome, *, retry: bool, count_try: bool = True) -> bool:
        """End it with this outcome; False when it was ended by somebody else, or is not this worker's.

        `worker_id` is the owner's, also when a reaper calls for a dead one. With `retry` the same parameters wait in
        the queue again, as the next try, or with `count_try=False` (interrupted: nobody's fault) as the same one. An
        attempt that Optuna was never asked for is not told either. One that repeats another trial (`same_as`) gives
        its trial of the budget back.
        """
        ending = Ending(outcome=outcome, retry=retry, count_try=count_try, call=new_id(), successor=new_id())
        return self._database.write(lambda connection: end(connection, attempt_id, worker_id, ending))

    def told(self, attempt_id: str) -> None:
        """Optuna knows its outcome. Again is fine."""
        self._database.write(lambda connection: _told(connection, attempt_id))

    def request_cancel(self, attempt_id: str) -> None:
        """Ask its worker to end it now; one that only waits ends at once. Nothing when it has ended."""
        call = new_id()
        self._database.write(lambda connection: cancel(connection, attempt_id, call))

    def get(self, attempt_id: str) -> AttemptRecord:
        """The attempt with that id. Raises NotFoundError."""
        return self._database.read(lambda connection: attempt_of(connection, attempt_id))

    def by_number(self, study_id: str, number: int) -> AttemptRecord:
        """The attempt of Optuna's trial with that number. Raises NotFoundError."""
        found = self._where(study_id, ATTEMPT.c.number == number)
        if not found:
            raise NotFoundError(f"the study has no trial {number}")
        return found[0]

    def of(self, study_id: str) -> tuple[AttemptRecord, ...]:
        """All attempts of a study, in the order in which they were made."""
        return self._where(study_id)

    def numbers(self, study_id: str) -> frozenset[int]:
        """The numbers of all Optuna trials that have an attempt."""
        query = select(ATTEMPT.c.number).where(ATTEMPT.c.study_id == study_id, ATTEMPT.c.number.is_not(None))
        return frozenset(self._database.read(lambda connection: connection.scalars(query).all()))

    def searched(self, study_id: str) -> int:
        """How many Optuna trials have an attempt that measures nothing again."""
        again = [kind.value for kind in AttemptKind if kind.again]
        query = select(func.count()).select_from(ATTEMPT).where(ATTEMPT.c.study_id == study_id)
        searched = query.where(ATTEMPT.c.number.is_not(None), ATTEMPT.c.kind.not_in(again))
        return self._database.read(lambda connection: connection.scalar(searched)) or 0

    def last_ended(self, study_id: str, count: int) -> tuple[AttemptRecord, ...]:
        """So many that ended last, the newest first."""
        return self._database.read(lambda connection: last_ended(connection, study_id, count))

    def running(self, study_id: str) -> tuple[AttemptRecord, ...]:
        """Those that run now."""
        return self._where(study_id, ATTEMPT.c.state == AttemptState.RUNNING.value)

    def active(self, study_id: str) -> bool:
        """Whether any runs or waits in the queue."""
        query = select(ATTEMPT.c.id).where(ATTEMPT.c.study_id == study_id, ATTEMPT.c.state != AttemptState.ENDED.value)
        return self._database.read(lambda connection: connection.scalar(query.limit(1))) is not None

    def waiting(self, study_id: str) -> bool:
        """Whether any waits in the queue."""
        query = select(ATTEMPT.c.id).where(ATTEMPT.c.study_id == study_id, ATTEMPT.c.state == AttemptState.QUEUED.value)
        return self._database.read(lambda connection: connection.scalar(query.limit(1))) is not None

    def untold(self, study_id: str) -> tuple[AttemptRecord, ...]:
        """Those that ended and that Optuna does not know yet, in the order of their ends."""
        found = self._where(study_id, ATTEMPT.c.state == AttemptState.ENDED.value, ATTEMPT.c.told.is_(False))
        return tuple(sorted(found, key=lambda attempt: (attempt.ended_at or attempt.created_at, attempt.id)))

    def _where(self, study_id: str, *conditions: ColumnElement[bool]) -> tuple[AttemptRecord, ...]:
        which = and_(ATTEMPT.c.study_id == study_id, *conditions)
        return self._database.read(lambda connection: attempts_where(connection, which))


def _asked(connection: Connection, attempt_id: str, number: int) -> bool:
    if move(connection, attempt_id, AttemptState.RUNNING, {"number": number}, ATTEMPT.c.number.is_(None)):
        return True
    attempt = attempt_of(connection, attempt_id)
    return attempt.state is AttemptState.RUNNING and attempt.number == number  # equal: only the reply was lost


def _asked_in_vain(connection: Connection, study_id: str, number: int) -> AttemptRecord | None:
    ours = (ATTEMPT.c.study_id == study_id) & (ATTEMPT.c.number == number)
    if connection.scalar(select(ATTEMPT.c.id).where(ours)) is None:
        unlinked = and_(ATTEMPT.c.study_id == study_id, ATTEMPT.c.number.is_(None), ATTEMPT.c.worker_id.is_not(None))
        ended = and_(unlinked, ATTEMPT.c.state == AttemptState.ENDED.value)
        attempt_id = connection.scalar(select(ATTEMPT.c.id).where(ended).order_by(ATTEMPT.c.ended_at.desc()).limit(1))
        if attempt_id is None:
            return None
        change = {"number": number, "told": False}
        move(connection, attempt_id, AttemptState.ENDED, change, ATTEMPT.c.number.is_(None))
    return attempts_where(connection, ours)[0]


def _chosen(connection: Connection, attempt_id: str, params: Params, choice: Choice) -> bool:
    linked = ATTEMPT.c.number.is_not(None)
    won = move(connection, attempt_id, AttemptState.RUNNING, {"params": encode(params)}, linked)
    if won and not has(connection, attempt_id, EventKind.ASKED):  # else only the reply was lost
        number = attempt_of(connection, attempt_id).number
        note(connection, attempt_id, EventKind.ASKED, number=number, **choice.parts)
    return won


def _enter(connection: Connection, attempt_id: str, phase: Phase) -> bool:
    if move(connection, attempt_id, AttemptState.RUNNING, {"phase": phase.value}, ATTEMPT.c.phase != phase.value):
        note(connection, attempt_id, EventKind.PHASE, phase=phase.value)
        return True
    attempt = attempt_of(connection, attempt_id)
    return attempt.state is AttemptState.RUNNING and attempt.phase is phase


def _told(connection: Connection, attempt_id: str) -> None:
    if move(connection, attempt_id, AttemptState.ENDED, {"told": True}, ATTEMPT.c.told.is_(False)):
        note(connection, attempt_id, EventKind.TOLD)
