"""The process of one worker: `python -m optuna_tuner.tuning.process STUDY UNTIL SLOT`, started by the fleet.

`UNTIL` is the end of the run's wall time on this host's monotonic clock. The database URL comes in the environment,
never in argv, since it may hold a password. The worker ends gracefully when its standard input closes: the fleet that
started it is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial
from threading import Thread

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import DeclaredDeadError, StoreError, TunerError
from optuna_tuner.home import default_storage
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.codec import decode_slot
from optuna_tuner.store.retry import OUTAGE_BUDGET_S, is_weather, say_retries
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.budget import wall_time
from optuna_tuner.tuning.host import this_host
from optuna_tuner.tuning.interrupts import INTERRUPTED, Interruption, on_signals
from optuna_tuner.tuning.model import prepare_model
from optuna_tuner.tuning.reaper import Reaper
from optuna_tuner.tuning.setting import Setting, assemble, make_deployer
from optuna_tuner.tuning.slots import holding
from optuna_tuner.tuning.worker import Worker, surely
from optuna_tuner.values import Slot

OPEN_AGAIN_S = 2.0

logger = logging.getLogger(__name__)


def work(store: Store, study_id: str, slot: Slot, kinds: Kinds, deadline: Deadline | None = None) -> Worker:
    """Register a worker for a study on a slot that the caller holds; it starts no trial after the deadline.

    Without a deadline, the study's wall time begins now.
    """
    record = store.studies.by_id(study_id)
    spec = StudySpec.model_validate_json(record.spec_json)
    parts, model = assemble(spec, kinds), prepare_model(spec.model)
    reaper = reaper_of(store, kinds, study_id, spec)
    me = this_host()
    row = store.workers.register(
        study_id=study_id,
        slot=slot,
        host=me.host,
        boot_id=me.boot_id,
        pid=me.pid,
        pid_start=me.pid_start,
        machine=me.machine,
    )
    setting = Setting(
        study_id=study_id,
        worker_id=row.id,
        spec=spec,
        parts=parts,
        model=model,
        slot=slot,
        store=store,
    )
    return Worker(setting, record, reaper, deadline or wall_time(spec))


def reaper_of(store: Store, kinds: Kinds, study_id: str, spec: StudySpec) -> Reaper:
    """A worker's own: it ends what dead workers of all studies left, since that may hold this host's devices."""
    return Reaper(store, study_id, spec.limits, partial(make_deployer, store, kinds), everywhere=True)


def clear_devices(store: Store, kinds: Kinds, study_id: str) -> None:
    """End what dead workers left, before anybody looks whether a device is free.

    A local server ends with its worker. A container does not: on a GPU it would keep the next worker from the slot.
    """
    spec = StudySpec.model_validate_json(store.studies.by_id(study_id).spec_json)
    surely(reaper_of(store, kinds, study_id, spec).reap)


def main() -> int:
    """Run one worker until its study is done; 0, 3, 130 when it was interrupted, or the exit code of a TunerError."""
    with on_signals() as interruption:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        say_retries()
        _end_with_parent(interruption)
        try:
            return _work_alone(sys.argv[1], Deadline(float(sys.argv[2])), decode_slot(sys.argv[3]), interruption)
        except KeyboardInterrupt:
            return INTERRUPTED
        except TunerError as error:
            logger.error("%s", error)  # noqa: TRY400  it is written for the user; a traceback would hide it
            return INTERRUPTED if interruption.asked.is_set() else error.exit_code


def _end_with_parent(interruption: Interruption) -> None:
    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):  # unbuffered: a reader in a buffer would break the exit
            pass
        if not interruption.asked.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, name="parent", daemon=True).start()


def _work_alone(study_id: str, deadline: Deadline, slot: Slot, interruption: Interruption) -> int:
    with _opened(default_storage()) as store:
        clear_devices(store, InstalledKinds(), study_id)
        with holding(slot):
            worker = work(store, study_id, slot, InstalledKinds(), deadline)
            interruption.answer(worker.heart.interrupt)
            worker.run()
    if worker.heart.interrupted.is_set():
        return INTERRUPTED
    return DeclaredDeadError.exit_code if worker.heart.orders.fenced else 0


def _opened(url: str) -> Store:
    """The store; waited for while the database is away, since whoever started this process has used it before."""
    deadline = Deadline.after(OUTAGE_BUDGET_S)

    def look() -> Store | None:
        try:
            return Store.open(url, create=False)
        except StoreError as error:
            if deadline.passed or not (isinstance(error.__cause__, Exception) and is_weather(error.__cause__)):
                raise
            logger.warning("%s; trying again", error)
            return None

    store = poll(look, deadline, OPEN_AGAIN_S)
    return Store.open(url, create=False) if store is None else store


if __name__ == "__main__":
    sys.exit(main())
