"""Workers that are forked, so that one can be started for each of thousands of cases.

A worker is forked from a parent that has everything imported already, before that parent has any thread or connection;
so it begins at once, and it runs the same `main` as a worker that a fleet starts. Nothing of it is replaced.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tracing
from stage import FAKE_NVML, Stage

HUNG_S = 60.0  # a worker that takes longer says where it stands
Act = Callable[[], int]


@dataclass(slots=True)
class Traced:
    """A forked process. Its standard input stays open until `close`, as a fleet keeps it."""

    pid: int
    lifeline: int
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, minus the signal's number when one killed it; None while it lives."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                os.close(self.lifeline)
        return self.code

    def wait(self, seconds: float) -> int | None:
        """The same, waited for; after so many seconds it is killed, and None says so."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self.lifeline)
                return None
            time.sleep(0.005)
        return self.code


def fork(stage: Stage, log: str, act: Act, begin: Callable[[], None] | None = None) -> Traced:
    """Run `act` in a child with the environment of the stage; `begin` is called first, and may trace it."""
    read_end, lifeline = os.pipe()
    pid = os.fork()
    if pid:
        os.close(read_end)
        return Traced(pid, lifeline)
    code = 70
    try:
        os.close(lifeline)
        _settle(stage, stage.folder / "logs" / log, read_end)
        if begin is not None:
            begin()
        code = act()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  the child must never return into the parent's code
        traceback.print_exc()
    finally:
        _leave(code)
    raise AssertionError("unreachable")


def _settle(stage: Stage, log: Path, stdin: int) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((stdin, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    os.close(stdin)
    os.close(out)
    sys.stdin = os.fdopen(0, closefd=False)
    environment = stage.environment()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(stage.folder)
    faulthandler.dump_traceback_later(HUNG_S, file=sys.stderr)


def _leave(code: int) -> None:
    with contextlib.suppress(BaseException):
        tracing.end()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def worker(study_id: str, slot: str) -> Act:
    """Be one worker of the study, as a fleet starts it."""

    def act() -> int:
        from optuna_tuner.tuning import process  # noqa: PLC0415  the parent chooses when the product is loaded

        sys.argv = ["worker", study_id, "inf", slot]  # it has no wall time
        return process.main()

    return act


def warm(modules: Iterable[str] = ()) -> None:
    """Load the product, and what a worker loads on its way, so that every fork has it. Starts no thread."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if str(FAKE_NVML) not in sys.path:
        sys.path.insert(0, str(FAKE_NVML))
    importlib.import_module("optuna_tuner.tuning.process")
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("sqlalchemy.orm").configure_mappers()
    gc.collect()
    gc.freeze()  # else the first collection in a fork would copy all of this
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork wants a parent without threads, here are {threading.enumerate()}")


def slot_of(stage: Stage, number: int = 0) -> str:
    """The slot gpu-N of the stage, as a worker is told."""
    from optuna_tuner.store.codec import encode  # noqa: PLC0415  as above
    from optuna_tuner.tuning.slots import divide_gpus  # noqa: PLC0415  as above

    return encode(divide_gpus(dict(enumerate(stage.uuids)), stage.gpus, 1)[number])


def become_reaper() -> None:
    """Orphans among our descendants become our children: so none of them escapes the count."""
    import ctypes  # noqa: PLC0415  only here

    if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0):  # PR_SET_CHILD_SUBREAPER
        raise OSError("the kernel refuses PR_SET_CHILD_SUBREAPER")


def reaped() -> Iterator[int]:
    """Wait for all children that have ended by now."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid


def keep(folder: Path, at: Path) -> None:
    """Copy a stage as evidence, over an older one."""
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(folder, at)
