"""What the soak says: a line every ten seconds, and at the end the matrix, the figures and the violations."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from checker import Snapshot, Violation, outcome_of
from raw_rows import chains
from watch import PHASES

if TYPE_CHECKING:
    from injector import Injector
    from oracles import Oracle

_SHOWN = 20


@dataclass(slots=True)
class Report:
    """All figures of one soak."""

    arguments: argparse.Namespace
    folder: Path
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    quiet_after_s: float = 0.0
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    violations: list[Violation] = field(default_factory=list)
    data: Mapping[str, object] = field(default_factory=dict)
    shortfalls: list[str] = field(default_factory=list)
    _matrix: str = ""

    def progress(self, injector: Injector, done: int) -> None:
        """One line."""
        passed, load = time.monotonic() - self.began, os.getloadavg()[0]
        cells = [injector.landed[kind.name, phase] for kind in injector.kinds for phase in kind.phases]
        full = sum(count >= injector.cell for count in cells)
        print(
            f"{passed:6.0f} s  trials {done}/{self.arguments.trials}  faults {injector.count}/{injector.faults}"
            f"  cells full {full}/{len(cells)}  load {load:.1f}",
            flush=True,
        )

    def took(self) -> None:
        """The last fault is over."""
        self.seconds, self.load = time.monotonic() - self.began, os.getloadavg()

    def tell(self, injector: Injector, snapshot: Snapshot, oracle: Oracle) -> None:
        """Take all in; the folder keeps the rows for a post-mortem."""
        (self.folder / "snapshot.json").write_text(json.dumps(snapshot), encoding="utf-8")
        self._matrix = matrix(injector)
        self.shortfalls = shortfalls(injector)
        attempts, exits = (
            snapshot["attempts"],
            Counter(code for each in injector.scene.crew.members for code in each.exits),
        )
        causes = Counter(str(outcome_of(attempt).get("cause")) for attempt in attempts)
        events = Counter(event["what"] for event in injector.scene.log.all)
        self.data = {
            "database": self.arguments.database,
            "seed": self.arguments.seed,
            "seconds": round(self.seconds, 1),
            "load": self.load,
            "CPU of the harness s": round(time.process_time(), 1),
            "trials": chains(attempts),
            "attempts": len(attempts),
            "retries": len(attempts) - chains(attempts),
            "faults landed": injector.count,
            "fault kinds": len({kind for kind, _ in injector.landed}),
            "strikes that missed": dict(injector.missed),
            "landed": {kind.name: {p: injector.landed[kind.name, p] for p in kind.phases} for kind in injector.kinds},
            "skipped kinds": skipped(injector),
            "attempts by cause": dict(causes.most_common()),
            "worker exits": {str(code): count for code, count in sorted(exits.items())},
            "tracebacks in workers' logs": tracebacks(self.folder),
            "events": dict(events.most_common()),
            "lies": dict(Counter(str(e["kind"]) for e in injector.scene.log.all if e["what"] == "lied")),
            "quiet after s": round(self.quiet_after_s, 2),
            "oracle looks": oracle.looks,
            "oracle samples": oracle.samples,
            "violations": [str(violation) for violation in self.violations],
            "shortfalls": self.shortfalls,
        }

    @property
    def good(self) -> bool:
        """Nothing was lost, and enough was tried."""
        return not self.violations and not self.shortfalls

    @property
    def text(self) -> str:
        """For people."""
        hidden = {"landed", "violations", "shortfalls"}
        lines = [self._matrix, ""]
        lines += [f"{name:28} {value}" for name, value in self.data.items() if name not in hidden]
        names = Counter(violation.name for violation in self.violations)
        lines.append(f"{'violations':28} {dict(names) or 0}")
        lines += [f"  VIOLATION {violation}" for violation in self.violations[:_SHOWN]]
        lines += [f"  TOO FEW {shortfall}" for shortfall in self.shortfalls]
        return "\n".join(lines)

    def clear_up(self, *, keep: bool) -> None:
        """Remove the folder, unless it is wanted."""
        if keep or self.violations:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def matrix(injector: Injector) -> str:
    """Landed faults by kind and phase; a dot where a fault makes no sense."""
    width = max(len(kind.name) for kind in injector.kinds)
    lines = [f"{'':{width}} " + " ".join(f"{phase:>9}" for phase in PHASES) + f" {'all':>6}"]
    for kind in injector.kinds:
        counts = [str(injector.landed[kind.name, phase]) if phase in kind.phases else "." for phase in PHASES]
        total = sum(injector.landed[kind.name, phase] for phase in kind.phases)
        lines.append(f"{kind.name:{width}} " + " ".join(f"{count:>9}" for count in counts) + f" {total:>6}")
    return "\n".join(lines)


def shortfalls(injector: Injector) -> list[str]:
    """Where fewer faults landed than were asked for."""
    found = [
        f"{kind.name} in {phase}: {injector.landed[kind.name, phase]} of {injector.cell}"
        for kind in injector.kinds
        for phase in PHASES
        if phase in kind.phases and injector.landed[kind.name, phase] < injector.cell
    ]
    if injector.count < injector.faults:
        found.append(f"faults in all: {injector.count} of {injector.faults}")
    return found


def skipped(injector: Injector) -> list[str]:
    """Kinds for which this machine has no means."""
    scene = injector.scene
    found = [] if scene.disks else ["disk full: this user may not mount"]
    if scene.clock is None:
        found.append("clock jump: libfaketime is not installed")
    return found


def bug_reports(folder: Path) -> list[Violation]:
    """Where the command line itself called something a bug of its own."""
    logs = [log.read_text(encoding="utf-8", errors="replace") for log in (folder / "logs").glob("*.log")]
    found = Counter(line for log in logs for line in log.splitlines() if line.startswith("This is a bug in"))
    return [Violation("bug-report", f"{count} x {line[:300]}") for line, count in found.items()]


def tracebacks(folder: Path) -> dict[str, int]:
    """The last lines of Python's tracebacks in the logs of the command line."""
    found: Counter[str] = Counter()
    for log in (folder / "logs").glob("*.log"):
        for block in log.read_text(encoding="utf-8", errors="replace").split("Traceback (most recent call last):")[1:]:
            last = next(
                (line for line in block.splitlines() if re.match(r"[\w.]+(Error|Exception|Timeout)", line)), "?"
            )
            found[last[:160]] += 1
    return dict(found.most_common(_SHOWN))
