"""Eight processes that do the same thing to one database at the same moment."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

from optuna_tuner.errors import ConflictError
from optuna_tuner.store import schema
from optuna_tuner.store.database import Database
from optuna_tuner.store.records import Outcome, Verdict, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.values import Cause, Slot

Result = TypeVar("Result")

SIZE = 8
BROKEN = Outcome(verdict=Verdict.FAIL, cause=Cause.NODE_LOST)
DONE = Outcome(verdict=Verdict.COMPLETE, values=(1.0,))

_meeting: list[Barrier] = []


class Crowd:
    """The processes. They are kept from test to test, because starting Python eight times is slow."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def start(self, work: Callable[..., Result], *args: object) -> list[Future[Result]]:
        """Let every process do it, all from the same moment on."""
        return [self._pool.submit(_together, work, *args) for _ in range(SIZE)]

    def all(self, work: Callable[..., Result], *args: object) -> list[Result]:
        """What each of them returned."""
        return [future.result() for future in self.start(work, *args)]


@contextmanager
def gathered() -> Iterator[Crowd]:
    """A crowd for a while."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(SIZE)
    with ProcessPoolExecutor(SIZE, context, initializer=_meet, initargs=(barrier,)) as pool:
        yield Crowd(pool)


def _meet(barrier: Barrier) -> None:
    _meeting.append(barrier)


def _together(work: Callable[..., Result], *args: object) -> Result:
    _meeting[0].wait(60)
    return work(*args)


def register(store: Store, study_id: str) -> WorkerRecord:
    slot = Slot(name="0", host="h")
    return store.workers.register(study_id=study_id, slot=slot, host="h", boot_id="b", pid=1, pid_start=0.0)


def first_start(url: str) -> int:
    """Open a database that does not exist yet, and use both kinds of tables."""
    with Store.open(url) as store:
        return len(store.studies.all()) + len(store.optuna_storage().get_all_studies())


def first_study(url: str, spec_json: str) -> str:
    """Make the same new study in a database that does not exist yet, and be ready to ask."""
    from optuna_tuner.spec.study import StudySpec  # noqa: PLC0415  a new process needs it only here
    from optuna_tuner.tuning.history import History  # noqa: PLC0415  as above
    from optuna_tuner.tuning.study import create_or_resume  # noqa: PLC0415  as above

    spec = StudySpec.model_validate_json(spec_json)
    with Store.open(url) as store:
        record = create_or_resume(store, spec)
        History(store, record, spec)
        return record.id


def upgrade(url: str) -> None:
    """Bring the tables up to date."""
    database = Database(url)
    schema.upgrade(database)
    database.close()


def add(url: str, name: str) -> bool:
    """Add a study; False when the name was taken."""
    with Store.open(url, create=False) as store:
        try:
            store.studies.add(name=name, spec_json="{}", space_hash="", budget=1)
        except ConflictError:
            return False
    return True


def claim_all(url: str, study_id: str) -> list[str]:
    """Claim and end until nothing is left; every third attempt is broken once and retried."""
    claimed = []
    with Store.open(url, create=False) as store:
        worker = register(store, study_id)
        while attempt := store.attempts.claim(study_id, worker.id, baseline=True):
            claimed.append(attempt.id)
            retry = attempt.tries == 1 and len(claimed) % 3 == 0
            ended = store.attempts.end(attempt.id, worker.id, BROKEN if retry else DONE, retry=retry)
            assert ended
    return claimed


def end_each(url: str, attempts: list[tuple[str, str]]) -> list[bool]:
    """End these attempts of these workers, and ask for retries."""
    with Store.open(url, create=False) as store:
        return [store.attempts.end(attempt, worker, BROKEN, retry=True) for attempt, worker in attempts]


def count_up(url: str, study_id: str, file: str, times: int) -> None:
    """Add to a number in a file, which goes wrong whenever two do it at once."""
    with Store.open(url, create=False) as store:
        for _ in range(times):
            with store.study_lock(study_id), open(file, "r+", encoding="ascii") as stream:  # noqa: PTH123  r+
                number = int(stream.read())
                stream.seek(0)
                stream.write(str(number + 1))
