"""Which machine, host and process this is, so that nobody is mistaken for somebody else."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from optuna_tuner import home
from optuna_tuner.deployers.supervision import processes
from optuna_tuner.deployers.supervision.processes import Process
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.store.records import WorkerRecord

MACHINE_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process among all that ever were.

    `machine` outlives a restart, and tells machines of one name apart. `boot_id` names the machine's run and, behind a
    colon, the pid namespace: a pid means something only there. A host's name does not tell: containers and fresh
    machines share names. `pid_start` is in clock ticks since boot, which no step of the wall clock moves.
    """

    machine: str
    host: str
    boot_id: str
    pid: int
    pid_start: float


@cache
def _boot_id() -> str:
    return f"{processes.boot_id()}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116  a link that only stat follows


def this_host() -> Identity:
    """Who we are. Raises EnvironmentFaultError where the home folder cannot be written."""
    me, host = processes.this(), socket.gethostname()
    return Identity(
        machine=_machine(home.machine_file(), host), host=host, boot_id=_boot_id(), pid=me.pid, pid_start=me.start
    )


@cache
def _machine(file: Path, host: str) -> str:
    """The same as long as the home folder and the host's name stay."""
    try:
        own = _written_once(file)
    except OSError as error:
        raise EnvironmentFaultError(f"the name of this machine cannot be kept: {error}") from error
    return hashlib.sha256(f"{own} {host}".encode()).hexdigest()[:MACHINE_LENGTH]


def _written_once(file: Path) -> str:
    """What the file holds; a random name where nobody wrote one before. All who come at once read the same."""
    with suppress(FileNotFoundError):
        return file.read_text(encoding="ascii")
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.write_text(secrets.token_hex(16), encoding="ascii")
    try:
        with suppress(FileExistsError):
            file.hardlink_to(draft)  # complete or not at all, and never over another's
    finally:
        draft.unlink()
    return file.read_text(encoding="ascii")


def is_provably_gone(worker: WorkerRecord) -> bool:
    """Whether the worker's process cannot live any more, as far as it can be known from here and now.

    Its machine was restarted since, or it is a process of this boot and pid namespace and is not there. False where
    it cannot be seen: on another machine, in another container.
    """
    here = this_host()
    if worker.machine == here.machine and _boot(worker.boot_id) != _boot(here.boot_id):
        return True
    if (worker.host, worker.boot_id) == (here.host, here.boot_id):
        return not process_lives(worker.pid, worker.pid_start)
    return False


def is_of_this_machine(worker: WorkerRecord) -> bool:
    """Whether its servers, where they are bound to a host, can be seen and ended from here."""
    here = this_host()
    if not worker.machine:  # the row of an older version tells the host alone
        return worker.host == here.host
    return worker.machine == here.machine or (worker.host, worker.boot_id) == (here.host, here.boot_id)


def _boot(boot_id: str) -> str:
    return boot_id.partition(":")[0]


def process_lives(pid: int, pid_start: float) -> bool:
    """Whether a process of this boot and pid namespace still runs. A pid may be used again: its start tells."""
    return processes.lives(Process(pid, int(pid_start)))
