"""Which host and which process this is, so that nobody is mistaken for somebody else."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache

from optuna_tuner.deployers.supervision import processes
from optuna_tuner.deployers.supervision.processes import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process among all that ever were.

    `boot_id` names the machine's run and, behind a colon, the pid namespace: a pid means something only there. A
    host's name does not tell: containers and fresh machines share names. `pid_start` is in clock ticks since boot,
    which no step of the wall clock moves.
    """

    host: str
    boot_id: str
    pid: int
    pid_start: float


@cache
def _boot_id() -> str:
    return f"{processes.boot_id()}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116  a link that only stat follows


def this_host() -> Identity:
    """Who we are."""
    me = processes.this()
    return Identity(host=socket.gethostname(), boot_id=_boot_id(), pid=me.pid, pid_start=me.start)


def process_lives(pid: int, pid_start: float) -> bool:
    """Whether a process of this boot and pid namespace still runs. A pid may be used again: its start tells."""
    return processes.lives(Process(pid, int(pid_start)))
