"""Who is where just now: live workers, their attempts and servers, and the phase of each, from raw rows and events.

The phases of the matrix: `between` two attempts; `claim`, claimed and not yet launched, Optuna's ask included;
`start_up`; `warm_up` and `benchmark`, told apart by the load client's own events, because the `script` benchmark leaves
the warm-up to its command; `teardown`, until the outcome is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proc_table import lives
from raw_rows import RawDatabase, Row

PHASES = ("claim", "start_up", "warm_up", "benchmark", "teardown", "between")
Event = Mapping[str, Any]

_LIVE = """
SELECT w.id AS worker, w.pid AS pid, w.pid_start AS start, w.slot AS slot,
       a.id AS attempt, a.phase AS phase
FROM tuner_worker w LEFT JOIN tuner_attempt a ON a.worker_id = w.id AND a.state = 'running'
WHERE w.retired = {false}
"""
_ONE = "SELECT id, state, phase, outcome FROM tuner_attempt WHERE worker_id = '{worker}' AND {which}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A live worker at one moment."""

    worker: str
    pid: int
    start: int
    gpu: str
    attempt: str  # "" between two
    phase: str

    @property
    def server(self) -> str:
        """The name of its server, if it has one by now."""
        return f"tuner-{self.attempt}"


class EventLog:
    """The event file, read on and on."""

    def __init__(self, file: Path) -> None:
        self._file, self._rest = file.open("rb"), b""
        self.all: list[Event] = []
        self.of_server: dict[str, list[Event]] = {}

    def read(self) -> Sequence[Event]:
        """What is new."""
        data = self._rest + self._file.read()
        lines = data.split(b"\n")
        self._rest = lines.pop()
        new = [json.loads(line) for line in lines]
        for event in new:
            self.of_server.setdefault(event.get("server", ""), []).append(event)
        self.all += new
        return new

    def last(self, server: str, *names: str) -> Event | None:
        """The newest event of this server with one of these names."""
        return next((event for event in reversed(self.of_server.get(server, ())) if event["what"] in names), None)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Watch:
    """Looks at everything at once."""

    def __init__(self, database: RawDatabase, log: EventLog) -> None:
        self._database, self.log = database, log
        self._false = "false" if database.kind == "postgresql" else "0"

    def look(self) -> Sequence[Victim]:
        """All workers that live and that nobody has retired. Raises raw_rows.Away."""
        rows = self._database.ask(_LIVE.format(false=self._false))
        self.log.read()
        return [self._victim(row) for row in rows if lives(row["pid"], row["start"])]

    def again(self, victim: Victim) -> Victim:
        """The same worker now, also when it has died meanwhile. Raises raw_rows.Away."""
        running = self._database.ask(_ONE.format(worker=victim.worker, which="state = 'running'"))
        before = self._database.ask(_ONE.format(worker=victim.worker, which=f"id = '{victim.attempt}'"))
        lost = [row for row in before if row["state"] == "ended" and '"cause":"worker_lost"' in row["outcome"]]
        found: Row = next(iter([*running, *lost]), {"id": "", "phase": ""})
        self.log.read()
        return Victim(
            worker=victim.worker,
            pid=victim.pid,
            start=victim.start,
            gpu=victim.gpu,
            attempt=found["id"],
            phase=self._phase(found["id"], found["phase"]),
        )

    def _victim(self, row: Row) -> Victim:
        return Victim(
            worker=row["worker"],
            pid=row["pid"],
            start=int(row["start"]),
            gpu=json.loads(row["slot"])["gpus"][0],
            attempt=row["attempt"] or "",
            phase=self._phase(row["attempt"], row["phase"]),
        )

    def _phase(self, attempt: str | None, phase: str) -> str:
        if not attempt:
            return "between"
        if phase == "queue":
            return "claim"
        if phase in {"warm_up", "benchmark"}:
            return "benchmark" if self.log.last(f"tuner-{attempt}", "measure", "report", "lied") else "warm_up"
        return phase


def phase_in_events(events: Sequence[Event], at: int) -> str:
    """In which phase of its server's life the event with this index came; exact, because all of it is one file."""
    before = {event["what"] for event in events[:at]}
    if "term" in before:
        return "teardown"
    if before & {"measure", "report", "lied"}:
        return "benchmark"
    return "warm_up" if "warm-up" in before else "start_up"
