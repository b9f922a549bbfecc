"""The small process that stands between a worker and its server, so that nothing outlives either.

It ends the server's whole tree, also what left its session or was orphaned in it, when the worker dies (by whatever
signal), when somebody sends SIGTERM, when the server's main process ends, and when `max_life_s` has passed.

It can be sure of that: it is the reaper of all its descendants (PR_SET_CHILD_SUBREAPER), so while one of them lives,
it has a child to wait for. And a process that was waited for has released its devices, locks and ports.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from optuna_tuner.deployers.supervision.bounded_log import BoundedLog
from optuna_tuner.deployers.supervision.locks import LOOPBACK, hold_devices, hold_port
from optuna_tuner.deployers.supervision.processes import Process, below, lives, pidfd, send, this
from optuna_tuner.deployers.supervision.record import Record, asked_grace_s, write_record
from optuna_tuner.deployers.supervision.spawn import Program, become_reaper, spawn

EXITED, STOPPED, OWNER_DIED, TOO_OLD = "exited", "stopped", "owner_died", "too_old"  # what ended a server
_ORPHAN_GRACE_S = 3.0  # nobody waits for a dead worker's server, and its GPUs are wanted
_PRESS_EVERY_S = 0.02
_LOOK_EVERY_S = (0.25, 10.0)  # the tree is noted often while it grows, seldom later: a look costs a few milliseconds
_CHUNK = 1 << 18
_PIPE_GULPS = 64  # far more than any pipe holds
_LIFELINE, _ANSWER = 0, 1


class Order(NamedTuple):
    """What the worker wants, sent as one line of JSON. The secrets in `env` stay in memory."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    cores: list[int]
    ports: tuple[int, int]
    locks_folder: str
    device_locks: list[str]
    folder: str
    log: str
    max_log_bytes: int
    grace_s: float
    max_life_s: float
    owner: tuple[int, int]
    mark: int


class Supervisor:
    """Watches one server from its start to the end of its last descendant. `locks` are its devices' descriptors."""

    def __init__(self, order: Order, locks: list[int]) -> None:
        self._order = order
        self._log = BoundedLog(order.log, order.max_log_bytes)
        self._poll = select.poll()
        self._signals = _signals()
        self._owner = pidfd(Process(*order.owner))
        self._output, output = os.pipe()
        port = hold_port(*order.ports, order.locks_folder)
        self._record = Record(this(), port)
        # From here on anybody can find and stop it. Where somebody did before us, this fails, and nothing is started.
        write_record(order.folder, self._record)
        self._told: set[Process] = set()
        self._kill_at = math.inf
        self._stop_asked = False
        self._kills = _memory_kills()
        main = spawn(_program(order, port, locks), output)
        os.close(output)
        self._old_at = time.monotonic() + order.max_life_s
        self._look_at, self._look_every_s = 0.0, _LOOK_EVERY_S[0]
        self._note(main=main)
        os.set_blocking(self._output, False)
        for fd in (_LIFELINE, self._signals, self._output, self._owner):
            if fd is not None:
                self._poll.register(fd, select.POLLIN)

    @property
    def record(self) -> Record:
        """What is known now."""
        return self._record

    def run(self) -> None:
        """Return when no descendant is left."""
        while self._reap():
            self._listen()
            reason, grace_s = self._reason()
            if reason:
                self._end(reason, grace_s)
            if self._record.ended_by:
                self._press()
            else:
                self._remember()
        self._drain()

    def _reap(self) -> bool:
        """Wait for all children that have ended. False when there is none left: then nothing of the tree is."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._record.main.pid:
                self._drain()  # whoever sees the exit code must find the last words in the log
                code = os.waitstatus_to_exitcode(status)
                self._note(
                    exit_code=code,
                    ended_by=self._record.ended_by or EXITED,
                    detail=_detail(code, _memory_kills() - self._kills),
                )
                self._kill_at = min(self._kill_at, time.monotonic() + self._order.grace_s)

    def _listen(self) -> None:
        now = time.monotonic()
        pause = _PRESS_EVERY_S if self._record.ended_by else max(0.0, min(self._look_at, self._old_at) - now)
        for fd, events in self._poll.poll(math.ceil(pause * 1000)):
            if fd == self._output:
                if not self._pump() and events & select.POLLHUP:
                    self._poll.unregister(fd)
            elif fd == self._signals:
                self._stop_asked = any(number != signal.SIGCHLD for number in os.read(fd, 1024)) or self._stop_asked
            elif fd == self._owner or not os.read(fd, 1024):
                self._poll.unregister(fd)
                self._owner_died()

    def _owner_died(self) -> None:
        self._end(OWNER_DIED, min(_ORPHAN_GRACE_S, self._order.grace_s))

    def _reason(self) -> tuple[str, float]:
        if self._stop_asked:
            self._stop_asked = False
            asked = asked_grace_s(self._order.folder)
            return STOPPED, self._order.grace_s if asked is None else asked
        if time.monotonic() >= self._old_at:
            self._old_at = math.inf
            return TOO_OLD, self._order.grace_s
        return "", 0.0

    def _end(self, reason: str, grace_s: float) -> None:
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)
        if not self._record.ended_by:
            self._note(ended_by=reason)

    def _press(self) -> None:
        """Ask the main process first, so that it can end its own; then all; and kill all when the grace is over."""
        if time.monotonic() >= self._kill_at:
            send(below({os.getpid()}), signal.SIGKILL)
            return
        main = self._record.main
        wanted = {main} if self._record.exit_code is None else set(below({os.getpid()}))
        send(wanted - self._told, signal.SIGTERM)
        self._told |= wanted

    def _remember(self) -> None:
        if time.monotonic() < self._look_at:
            return
        before = {process for process in self._record.seen if lives(process)}
        seen = tuple(sorted((before | set(below({os.getpid()}))) - {self._record.main}))
        if seen != self._record.seen:
            self._look_every_s = _LOOK_EVERY_S[0]
            self._note(seen=seen)
        self._look_at = time.monotonic() + self._look_every_s
        self._look_every_s = min(2 * self._look_every_s, _LOOK_EVERY_S[1])

    def _pump(self) -> bool:
        """Take one gulp of the server's output to the log; whether there may be more."""
        try:
            data = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._log.write(data)
        return bool(data)

    def _drain(self) -> None:
        """Take what lies in the pipe; of what somebody still floods into it, a part."""
        for _ in range(_PIPE_GULPS):
            if not self._pump():
                return

    def _note(self, **changes: object) -> None:
        self._record = self._record._replace(**changes)  # type: ignore[arg-type]  # checked by _replace itself
        with suppress(OSError):  # a full disk must not keep a server alive
            write_record(self._order.folder, self._record)


def main() -> None:
    """Read the order, answer with the record or an error as one line of JSON, and stay until the end."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    order = _read_order()
    if order is None:
        return
    become_reaper()
    try:
        supervisor = Supervisor(order, hold_devices(order.device_locks))
    except OSError as error:
        _answer(json.dumps({"error": str(error)}))
        return
    _answer(json.dumps({"record": supervisor.record._asdict()}))
    supervisor.run()


def _read_order() -> Order | None:
    text = b""
    while not text.endswith(b"\n"):
        part = os.read(_LIFELINE, 1 << 16)
        if not part:
            return None  # the worker died before it had said what it wanted
        text += part
    return Order(**json.loads(text))


def _answer(line: str) -> None:
    with suppress(BrokenPipeError):  # the worker died: the lifeline says so, too
        os.write(_ANSWER, line.encode() + b"\n")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, _ANSWER)


def _program(order: Order, port: int, locks: list[int]) -> Program:
    chosen = {"{host}": LOOPBACK, "{port}": str(port)}
    argv = [argument.replace("{host}", chosen["{host}"]).replace("{port}", chosen["{port}"]) for argument in order.argv]
    return Program(argv, order.env, order.cwd, order.cores, order.mark, locks)


def _signals() -> int:
    """A descriptor that yields the number of each signal, one a byte."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return reader


def _memory_kills() -> int:
    """How often the kernel has killed for want of memory since boot."""
    with open("/proc/vmstat", encoding="ascii") as file:  # noqa: PTH123  pathlib doubles the start-up
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)


def _detail(exit_code: int, memory_kills: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    killed = f"killed by {signal.Signals(-exit_code).name}"
    if exit_code == -signal.SIGKILL and memory_kills:
        return f"{killed}; the kernel ran out of memory meanwhile and killed {memory_kills} process(es)"
    return killed
