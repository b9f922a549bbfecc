"""The process of one worker: `python -m optuna_tuner.tuning.process STUDY SLOT`, started by the fleet.

The database URL comes in the environment, never in argv, since it may hold a password. The worker ends gracefully
when its standard input closes: the fleet that started it is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from types import FrameType

import stamina

from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Kinds
from optuna_tuner.errors import TunerError
from optuna_tuner.home import default_storage
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.codec import decode_slot
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.host import this_host
from optuna_tuner.tuning.model import prepare_model
from optuna_tuner.tuning.setting import Setting, assemble
from optuna_tuner.tuning.slots import holding
from optuna_tuner.tuning.worker import Worker
from optuna_tuner.values import Slot

INTERRUPTED = 130
DECLARED_DEAD = 3  # by another worker, or by its own heart: whoever started it may start another

logger = logging.getLogger(__name__)


def work(store: Store, study_id: str, slot: Slot, kinds: Kinds) -> Worker:
    """Register a worker for a study on a slot that the caller holds."""
    record = store.studies.by_id(study_id)
    spec = StudySpec.model_validate_json(record.spec_json)
    parts, model = assemble(spec, kinds), prepare_model(spec.model)
    me = this_host()
    row = store.workers.register(
        study_id=study_id, slot=slot, host=me.host, boot_id=me.boot_id, pid=me.pid, pid_start=me.pid_start
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
    return Worker(setting, record, Deadline.after(spec.budget.wall_time_s or float("inf")))


@contextmanager
def on_signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """First SIGTERM or SIGINT: end gracefully. Second: at once; the supervisors end the servers.

    Afterwards signals mean what they meant before. Outside the main thread, which alone gets them, nothing changes.
    """
    if current_thread() is not main_thread():
        yield
        return
    seen = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            os._exit(INTERRUPTED)
        seen = True
        # Not here: the main thread stands still just now, and may hold the lock that `interrupt` needs.
        Thread(target=interrupt, name="interrupt", daemon=True).start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent(interrupt: Callable[[], None]) -> None:
    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):  # unbuffered: a reader in a buffer would break the exit
            pass
        interrupt()

    Thread(target=wait, name="parent", daemon=True).start()


def main() -> int:
    """Run one worker until its study is done; 0, 3, 130 when it was interrupted, or the exit code of a TunerError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])
    try:
        return _work_alone(sys.argv[1], decode_slot(sys.argv[2]))
    except TunerError as error:
        logger.error("%s", error)  # noqa: TRY400  it is written for the user; a traceback would hide it
        return error.exit_code


def _work_alone(study_id: str, slot: Slot) -> int:
    with Store.open(default_storage(), create=False) as store, holding(slot):
        worker = work(store, study_id, slot, InstalledKinds())
        with on_signals(worker.heart.interrupt):
            _end_with_parent(worker.heart.interrupt)
            worker.run()
    if worker.heart.interrupted.is_set():
        return INTERRUPTED
    return DECLARED_DEAD if worker.heart.orders.fenced else 0


if __name__ == "__main__":
    sys.exit(main())
