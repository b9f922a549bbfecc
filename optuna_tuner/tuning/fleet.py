"""All workers that one `run` starts: a process each, started again when it dies, ended together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.home import STORAGE_VARIABLE
from optuna_tuner.store.codec import encode
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.interrupts import AT_ONCE_S, INTERRUPTED
from optuna_tuner.values import Slot

LOOK_EVERY_S = 0.5
RESTARTS = 3  # a worker that dies more often has a reason that another start will not mend
SOON_S = 600.0  # one that worked for so long had no such reason: its deaths are counted from the beginning again
END_S = AT_ONCE_S + 10.0  # a worker that has not ended by then is stopped, or stuck
FINAL = {0, 2, 4, INTERRUPTED}  # done, or a reason that another start would meet again

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Member:
    slot: Slot
    log: Path
    process: subprocess.Popen[bytes]
    started_at: float
    restarts: int = 0


@dataclass(slots=True)
class Fleet:
    """The worker processes of one study on this host, one a slot; none starts a trial after the deadline."""

    store: Store
    study_id: str
    slots: Sequence[Slot]
    deadline: Deadline
    _members: list[_Member] = field(default_factory=list)
    _ending: bool = False

    def run(self, tick: Callable[[], None]) -> None:
        """Start the workers and wait until they are done; `tick` is called about twice a second.

        The first interrupt ends them gracefully, the second at once; then KeyboardInterrupt goes on to the caller, as
        does, after a graceful end, whatever else `tick` raises.
        """
        with _interruptible():
            try:
                for slot in self.slots:
                    self._members.append(self._start(slot))  # one by one: an interrupt finds those that are there
                self._wait(tick)
            except KeyboardInterrupt:
                self._end(tick)
                raise
            except BaseException:
                self._end(lambda: None)
                raise
            finally:
                self._kill()
        self._complain()

    def _start(self, slot: Slot) -> _Member:
        folder = self.store.artifacts.study_folder(self.study_id) / "workers"
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"{slot.name}.log"
        return _Member(slot=slot, log=log, process=self._spawn(slot, log), started_at=now())

    def _spawn(self, slot: Slot, log: Path) -> subprocess.Popen[bytes]:
        arguments = [self.study_id, repr(self.deadline.at), encode(slot)]
        with log.open("ab") as out:
            return subprocess.Popen(  # noqa: S603  our own module, no shell
                [sys.executable, "-m", "optuna_tuner.tuning.process", *arguments],
                env=os.environ | {STORAGE_VARIABLE: self.store.url},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a Ctrl-C of the terminal is ours to pass on
            )

    def _wait(self, tick: Callable[[], None], seconds: float = float("inf")) -> None:
        def all_done() -> bool | None:
            tick()
            busy = [self._is_busy(member) for member in self._members]  # all: each look may start a dead one again
            return None if any(busy) else True

        poll(all_done, Deadline.after(seconds), LOOK_EVERY_S)

    def _is_busy(self, member: _Member) -> bool:
        code = member.process.poll()
        if code is None:
            return True
        if now() - member.started_at > SOON_S:
            member.restarts = 0
        if self._ending or code in FINAL or member.restarts >= RESTARTS:
            return False
        member.restarts, member.started_at = member.restarts + 1, now()
        logger.warning("worker %s died (%d); it is started again", member.slot.name, code)
        _close(member.process)
        member.process = self._spawn(member.slot, member.log)
        return True

    def _end(self, tick: Callable[[], None]) -> None:
        self._ending = True
        for member in self._members:
            member.process.send_signal(signal.SIGTERM)
        self._wait(tick, END_S)

    def _kill(self) -> None:
        for member in self._members:
            if member.process.poll() is None:
                member.process.kill()
            member.process.wait()
            _close(member.process)

    def _complain(self) -> None:
        dead = [member for member in self._members if member.process.returncode not in {0, INTERRUPTED}]
        for member in dead:
            logger.warning("worker %s gave up (%d): %s", member.slot.name, member.process.returncode, member.log)
        if len(dead) == len(self._members):
            words = dead[0].log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = words[-1].partition(" ERROR ")[2] or words[-1] if words else "nothing"  # without the log's time
            raise EnvironmentFaultError(f"no worker could go on; one said: {said} ({dead[0].log})")


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
