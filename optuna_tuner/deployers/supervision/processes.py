"""Linux processes by pid and start time, read from /proc."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

LEAST_MARK = 1 << 60
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


class Process(NamedTuple):
    """The name of a process. Pids come again; a pid with its start does not while the machine runs."""

    pid: int
    start: int  # clock ticks since boot


class Entry(NamedTuple):
    """A line of the process table."""

    process: Process
    parent: int
    dead: bool  # a zombie whose threads have all ended: its memory, devices, locks and ports are released


def boot_id() -> str:
    """A name of this machine's run, from boot to shutdown."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123  pathlib doubles the start-up
        return file.read().strip()


def look(pid: int) -> Entry | None:
    """The process with this pid; None when there is none."""
    raw = _read(f"/proc/{pid}/stat")
    if not raw:
        return None
    # The command's name stands in brackets and may hold anything, so the fields are counted behind the last one.
    fields = raw[raw.rindex(b")") + 2 :].split()
    # A leader shows as a zombie while its threads still hold the devices: only then is the thread count above one.
    dead = fields[0] in {b"Z", b"X"} and int(fields[17]) <= 1
    return Entry(Process(pid, int(fields[19])), int(fields[1]), dead)


def this() -> Process:
    """Who we are."""
    entry = look(os.getpid())
    return entry.process if entry else Process(os.getpid(), 0)


def lives(process: Process) -> bool:
    """Whether it runs or still holds anything."""
    entry = look(process.pid)
    return entry is not None and entry.process == process and not entry.dead


def table() -> Mapping[int, Entry]:
    """All processes."""
    return {entry.process.pid: entry for pid in _pids() if (entry := look(pid)) is not None}


def below(roots: Container[int]) -> list[Process]:
    """All living descendants of these pids."""
    entries = table()
    return [entry.process for entry in entries.values() if not entry.dead and _descends(entry, roots, entries)]


def _descends(entry: Entry, roots: Container[int], entries: Mapping[int, Entry]) -> bool:
    seen: set[int] = set()
    while entry.parent not in roots:
        above = entries.get(entry.parent)
        if above is None or above.process.pid in seen:  # the table is no snapshot: pids may come again meanwhile
            return False
        seen.add(above.process.pid)
        entry = above
    return True


def environments(variable: str) -> Iterator[tuple[Process, Mapping[str, str]]]:
    """Each living process of this user whose environment holds the variable, with its environment.

    A program that rewrites its title erases its environment, unless SPT_NOENV is set for setproctitle.
    """
    wanted = variable.encode() + b"="
    for pid in _pids():
        raw = _read(f"/proc/{pid}/environ")
        if wanted in raw and (entry := look(pid)) is not None and not entry.dead:
            pairs = (item.split("=", 1) for item in raw.decode(errors="replace").split("\0") if "=" in item)
            values = {name: value for name, value in pairs}  # noqa: C416  dict() does not accept lists of length two
            if variable in values:
                yield entry.process, values


def marked(mark: int) -> Iterator[Process]:
    """Each living process of this host, of whatever user, whose limit of file locks is this number."""
    if mark < LEAST_MARK:  # what other programs may have set means nothing here
        return
    wanted = b"%d" % mark
    for pid in _pids():
        words = _read(f"/proc/{pid}/limits").partition(b"Max file locks")[2].split(None, 1)
        if words[:1] == [wanted] and (entry := look(pid)) is not None and not entry.dead:
            yield entry.process


def send(processes: Iterable[Process], number: int) -> None:
    """Send a signal to each of these that still lives, and never to a newcomer with its pid."""
    for process in processes:
        fd = pidfd(process)
        try:
            if lives(process):
                signal.pidfd_send_signal(fd, number) if fd is not None else os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):  # gone meanwhile, or another user's, as below sudo
            continue
        finally:
            if fd is not None:
                os.close(fd)


def pidfd(process: Process) -> int | None:
    """A file descriptor that becomes readable when the process ends; None when it has, or before Linux 5.3.

    It has, too, when its pid is now that of another process's thread (ENOENT).
    """
    try:
        return os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno in {errno.ESRCH, errno.ENOENT, errno.ENOSYS, errno.EPERM, errno.EINVAL}:
            return None
        raise


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208  pathlib doubles the start-up


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  pathlib doubles the start-up
            return file.read()
    except _GONE:
        return b""
