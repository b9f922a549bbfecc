"""What watches while the campaign runs, and what looks at the end whether anything was left. Nothing of the product.

A thread looks at /proc and at raw rows again and again, and notes what must never be seen: two live servers on one GPU,
a server that outlives its worker by a minute, a budget overdrawn, an ended attempt that changes.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Self

from checker import Memory, Violation
from proc_table import Seen, Table, is_server, lives
from raw_rows import Away, RawDatabase

LOOK_EVERY_S = 1.0
SAMPLE_EVERY_S = 3.0
ORPHAN_S = 60.0
LABELS, MARKER = "OPTUNA_TUNER_LABELS", "OPTUNA_TUNER_LEDGER"


class Oracle:
    """The thread. `memory` is what the checker wants at the end."""

    def __init__(self, folder: Path, url: str, study_id: str) -> None:
        self.memory = Memory()
        self.looks, self.samples = 0, 0
        self._folder, self._study_id = str(folder), study_id
        self._database, self._table = RawDatabase(url), Table()
        self._workers: dict[str, tuple[int, float]] = {}
        self._alone_since: dict[tuple[int, int], float] = {}
        self._done = Flag()
        self._thread = Thread(target=self._run, name="oracle", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._database.close()

    def _run(self) -> None:
        next_sample = 0.0
        while not self._done.wait(LOOK_EVERY_S):
            ours = [seen for seen in self._table.all() if belongs(seen, self._folder, self._study_id)]
            servers = [seen for seen in ours if is_server(seen)]
            self._two_on_a_gpu(servers)
            self.looks += 1
            try:
                self._alone(servers)
                if time.monotonic() >= next_sample:
                    self.memory.keep(self._database.sample())
                    self.samples += 1
                    next_sample = time.monotonic() + SAMPLE_EVERY_S
            except Away:
                continue

    def _two_on_a_gpu(self, servers: Sequence[Seen]) -> None:
        named = Counter(gpu for seen in servers for gpu in seen.environment.get("CUDA_VISIBLE_DEVICES", "").split(","))
        for gpu in [gpu for gpu, count in named.items() if gpu and count > 1]:
            # A look takes some milliseconds: only who is there at its end, too, was there at the same time.
            both = [each for each in servers if gpu in each.environment["CUDA_VISIBLE_DEVICES"].split(",")]
            both = [each for each in both if lives(each.pid, each.start)]
            if len(both) > 1:
                names = ", ".join(f"{each.environment.get(MARKER)} (pid {each.pid})" for each in both)
                self._note("double-gpu", f"{gpu} is named by {names}")

    def _alone(self, servers: Sequence[Seen]) -> None:
        now = time.monotonic()
        alone = {(seen.pid, seen.start) for seen in servers if not self._worker_lives(seen)}
        self._alone_since = {key: self._alone_since.get(key, now) for key in alone}
        for (pid, _), since in self._alone_since.items():
            if now - since > ORPHAN_S:
                self._note("orphan", f"server pid {pid} lives, and its worker has been dead for {ORPHAN_S:g} s")

    def _worker_lives(self, seen: Seen) -> bool:
        worker = labels_of(seen).get("worker", "")
        if worker not in self._workers:
            rows = self._database.ask("SELECT id, pid, pid_start FROM tuner_worker")
            self._workers = {row["id"]: (row["pid"], row["pid_start"]) for row in rows}
        pid, start = self._workers.get(worker, (0, 0.0))
        return lives(pid, start)

    def _note(self, name: str, evidence: str) -> None:
        violation = Violation(name, evidence)
        if violation not in self.memory.violations:
            self.memory.violations.append(violation)


def labels_of(seen: Seen) -> Mapping[str, str]:
    """What a server or a supervisor says of itself in its environment."""
    try:
        found: Mapping[str, str] = json.loads(seen.environment.get(LABELS, "{}"))
    except ValueError:
        return {}
    return found


def belongs(seen: Seen, folder: str, study_id: str) -> bool:
    """Whether a process was started by this campaign: worker, client, guard, reaper, server or supervisor."""
    return seen.environment.get("CHAOS_FOLDER") == folder or labels_of(seen).get("study") == study_id


def left_behind(folder: Path, study_id: str, patience_s: float = ORPHAN_S) -> tuple[list[Violation], float]:
    """What of the campaign still lives after so long, and how long it took until nothing did."""
    began, table = time.monotonic(), Table()
    while True:
        left = [seen for seen in table.all() if belongs(seen, str(folder), study_id)]
        waited = time.monotonic() - began
        if not left or waited > patience_s:
            words = [f"pid {seen.pid}: {' '.join(seen.argv)[:200]}" for seen in left]
            return [Violation("orphan", each) for each in words], waited
        time.sleep(0.2)
