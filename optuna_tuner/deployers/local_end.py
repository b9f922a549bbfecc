"""The confirmed end of a local server."""

from __future__ import annotations

import signal
from contextlib import suppress

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.deployers.local_server import LocalServer
from optuna_tuner.deployers.supervision import locks, record
from optuna_tuner.deployers.supervision.processes import Process, lives, send
from optuna_tuner.errors import DeployerError

_KILL_S = 10.0  # a killed server with much memory needs a second or two until it has let go of everything
_LOOK_EVERY_S = 0.01
_SWEEP_EVERY_S = 0.1


def end(server: LocalServer, grace_s: float) -> None:
    """Return when every process ever seen of it is gone and its port is closed. Raises DeployerError otherwise."""
    if server.rebooted:
        return
    known = server.record()
    supervisor = known.supervisor if known else server.supervisor
    if supervisor.pid and lives(supervisor):
        _ask(server, supervisor, grace_s)
    _sweep(server, grace_s)
    port, folder = known.port if known else server.port, str(home.locks_folder())
    if port and not poll(lambda: locks.is_closed(folder, port) or None, Deadline.after(1.0), _SWEEP_EVERY_S):
        raise DeployerError(f"port {port} is still open, though no process of {server.name} is left")


def _ask(server: LocalServer, supervisor: Process, grace_s: float) -> None:
    with suppress(OSError):  # a full disk, or somebody else has stopped it meanwhile
        record.ask_to_stop(server.folder, grace_s)
    send([supervisor], signal.SIGTERM)
    send([supervisor], signal.SIGCONT)  # one that somebody stopped must answer, too
    poll(lambda: not lives(supervisor) or None, Deadline.after(grace_s + _KILL_S), _LOOK_EVERY_S)


def _sweep(server: LocalServer, grace_s: float) -> None:
    """End what a supervisor left behind that was killed itself, or that does not obey."""
    kill = Deadline.after(grace_s)
    told: set[Process] = set()
    ever: set[Process] = set()

    def look() -> bool | None:
        ever.update(server.left())
        left = {process for process in ever if lives(process)}  # also what no net leads to any more
        if kill.passed:
            send(left, signal.SIGKILL)
        else:
            send(left - told, signal.SIGTERM)
            told.update(left)
        return None if left else True

    if not poll(look, Deadline.after(grace_s + _KILL_S), _SWEEP_EVERY_S):
        pids = ", ".join(str(process.pid) for process in sorted(filter(lives, ever)))
        raise DeployerError(f"these processes of {server.name} do not end, although they were killed: {pids}")
