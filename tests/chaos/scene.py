"""What a fault has in its hands, and what it gives back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from proc_table import send, start_of
from raw_rows import Away, RawDatabase
from stage import Crew, Stage
from tcp_proxy import TcpProxy
from watch import EventLog, Victim, Watch

_HALT_S = 0.5


class DatabaseProcess(Protocol):
    """A database server that may be hurt."""

    def kill(self) -> None:
        """As a crash."""

    def start(self) -> None:
        """And wait until it answers."""

    def freeze(self) -> None:
        """Stop all of it."""

    def thaw(self) -> None:
        """Let it go on."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """The stage with everything on it."""

    stage: Stage
    crew: Crew
    url: str  # of the database itself, past the proxy
    database: RawDatabase
    watch: Watch
    log: EventLog
    chance: Random
    lease_s: float
    server: DatabaseProcess | None = None
    proxy: TcpProxy | None = None
    disks: Mapping[str, Path] = field(default_factory=dict)  # small file systems that may be filled, by fault
    clock: Path | None = None  # the file that libfaketime follows
    reaper: subprocess.Popen[bytes] | None = None
    next_reaper: float = 0.0
    undo: list[Callable[[], None]] = field(default_factory=list)  # at the very end

    def span(self, low: float, high: float) -> float:
        """Some seconds between these."""
        return self.chance.uniform(low, high)

    @contextmanager
    def frozen(self, victim: Victim) -> Iterator[Victim | None]:
        """Stop a worker for an instant, so that its phase stands still; None when it has just ended."""
        if not send(victim.pid, victim.start, signal.SIGSTOP):
            yield None
            return
        try:
            halted(victim.pid)
            yield self.watch.again(victim)
        except Away:
            yield None
        finally:
            send(victim.pid, victim.start, signal.SIGCONT)


def halted(pid: int) -> None:
    """Wait until a stopped process really stands still."""
    end = time.monotonic() + _HALT_S
    while time.monotonic() < end:
        with suppress(OSError):
            tasks = [Path(f"/proc/{pid}/task/{name}/stat").read_bytes() for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208  quick
            if all(raw[raw.rindex(b")") + 2 :][:1] in {b"T", b"Z", b"X"} for raw in tasks):
                return
        time.sleep(0.001)


@dataclass(slots=True, kw_only=True)
class Hit:
    """A fault that was struck. It counts when its phase is known; until then `look` is asked again and again.

    `look` gives the phase once it has landed, "" when it has missed, and None while nobody can tell.
    """

    phase: str = ""
    look: Callable[[], str | None] | None = None
    patience_s: float = 5.0
    missed: Callable[[], None] | None = None
    struck_at: float = field(default_factory=time.monotonic)

    @property
    def late(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return time.monotonic() > self.struck_at + self.patience_s


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault, and the phases in which it makes sense."""

    name: str
    phases: frozenset[str]
    strike: Callable[[Scene, Victim], Hit | None]
    whole: bool = False  # it hits everybody; its phase is that of the worker that was waited for
    fleeting: bool = False  # its victim is seldom there
    ready: Callable[[Scene], bool] = lambda _: True
    possible: Callable[[Scene, Victim], bool] = lambda _scene, _victim: True


def server_process(scene: Scene, victim: Victim) -> tuple[int, int] | None:
    """Pid and start of the victim's server, while it lives."""
    event = scene.log.last(victim.server, "server-start")
    start = start_of(event["pid"]) if event else None
    return (event["pid"], start) if event and start is not None else None


def has_server(scene: Scene, victim: Victim) -> bool:
    """Whether its server lives."""
    return server_process(scene, victim) is not None


def supervisor_record(scene: Scene, victim: Victim) -> Mapping[str, object]:
    """What the supervisor has written of its server; empty before and after."""
    try:
        text = (scene.stage.home / "servers" / victim.server / "state.json").read_text(encoding="utf-8")
        found: Mapping[str, object] = json.loads(text)
    except (OSError, ValueError):
        return {}
    return found
