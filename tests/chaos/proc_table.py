"""Processes as /proc shows them, without a line of the product."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seen:
    """A living process and what it says of itself."""

    pid: int
    start: int  # clock ticks since boot; with the pid a name for ever
    argv: tuple[str, ...]
    environment: Mapping[str, str]


def start_of(pid: int) -> int | None:
    """When it was started; None when there is none, or only a zombie, which holds nothing any more."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = raw[raw.rindex(b")") + 2 :].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def lives(pid: int, start: float) -> bool:
    """Whether it is still the same process."""
    return start_of(pid) == int(start)


class Table:
    """All processes; what one says of itself is read once, because it does not change."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Seen] = {}

    def all(self) -> Iterator[Seen]:
        """Every process that lives now and may be looked into."""
        found: dict[tuple[int, int], Seen] = {}
        for name in os.listdir("/proc"):  # noqa: PTH208  four times as quick, and called all the time
            if name.isdigit() and (start := start_of(int(name))) is not None:
                seen = self._known.get((int(name), start)) or _look(int(name), start)
                if seen is not None:
                    found[seen.pid, seen.start] = seen
        # Between fork and exec a process still bears its parent's words: only what execs no more is read once.
        self._known = {key: seen for key, seen in found.items() if is_server(seen)}
        yield from found.values()


def is_server(seen: Seen) -> bool:
    """Whether it is a server of the campaign."""
    return any(word.endswith("chaos_server.py") for word in seen.argv)


def _look(pid: int, start: int) -> Seen | None:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        raw = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    return Seen(pid, start, tuple(argv), dict(item.split("=", 1) for item in raw if "=" in item))


def send(pid: int, start: float, number: signal.Signals) -> bool:
    """Send a signal to this very process; whether it was alive."""
    with suppress(ProcessLookupError, FileNotFoundError):  # the latter: its pid is now that of another one's thread
        descriptor = os.pidfd_open(pid)
        try:
            if lives(pid, start):
                signal.pidfd_send_signal(descriptor, number)
                return True
        finally:
            os.close(descriptor)
    return False
