"""What is done to a process while it runs: its lines are recorded, or it is killed or held at an exact place."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from stage import ROOT

PACKAGE = ROOT / "optuna_tuner"
# All files that carry an attempt from its claim to its told outcome; a new file in tuning/ is among them by itself.
LIFE_CYCLE = (
    "tuning/*.py",
    *(f"store/{name}.py" for name in ("attempts", "attempt_rows", "claiming", "ending", "ledger", "events", "workers")),
    *(f"store/{name}.py" for name in ("database", "locks", "studies")),
    "deployers/local*.py",
    "deployers/supervision/record.py",
)


class Spot(NamedTuple):
    """A line of the package."""

    file: str
    line: int


def life_cycle() -> Mapping[str, str]:
    """The life cycle's files: full path -> path in the package."""
    found = {path for pattern in LIFE_CYCLE for path in PACKAGE.glob(pattern)}
    return {str(path): str(path.relative_to(PACKAGE)) for path in sorted(found)}


def trace(names: Mapping[str, str], on_line: Callable[[str, int], None]) -> None:
    """Call `on_line` before each line of these files, in all threads."""

    def local(frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            on_line(names[frame.f_code.co_filename], frame.f_lineno)
        return local

    def enter(frame: FrameType, event: str, _: object) -> Any:  # noqa: ARG001  Python's signature
        code = frame.f_code
        # Bodies of modules and classes run when they are imported: no attempt is in hand then.
        return local if code.co_filename in names and code.co_flags & inspect.CO_OPTIMIZED else None

    threading.settrace(enter)
    sys.settrace(enter)


def record(into: Path) -> Callable[[], None]:
    """Collect all lines of the life cycle that are run; they lie in this file when the worker ends by itself."""
    spots: set[Spot] = set()

    def write() -> None:
        sys.settrace(None)
        into.write_text(json.dumps({"spots": sorted(spots), "modules": sorted(sys.modules)}), encoding="utf-8")

    def begin() -> None:
        _at_end.append(write)
        trace(life_cycle(), lambda file, line: spots.add(Spot(file, line)))

    return begin


_at_end: list[Callable[[], None]] = []


def end() -> None:
    """The process ends by itself: what was recorded is written."""
    for write in _at_end:
        write()


def kill_at(spot: Spot) -> Callable[[], None]:
    """SIGKILL for the whole worker before it runs this line for the first time."""

    def die(_file: str, line: int) -> None:
        if line == spot.line:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: trace({str(PACKAGE / spot.file): spot.file}, die)


class Gate(NamedTuple):
    """Entering a function: its file in the package, its qualified name, and at which time of the entering."""

    file: str
    function: str
    time: int = 1


def at_gate(gate: Gate, act: Callable[[], None]) -> Callable[[], None]:
    """Do this when the function is entered for the n-th time. Raises LookupError when there is no such function."""
    demand(gate)
    path, left = str(PACKAGE / gate.file), [gate.time]

    def enter(frame: FrameType, event: str, _: object) -> None:  # noqa: ARG001  Python's signature
        code = frame.f_code
        if code.co_filename == path and code.co_qualname == gate.function:
            left[0] -= 1
            if left[0] == 0:
                sys.settrace(None)  # it slows this thread down
                act()

    def begin() -> None:
        threading.settrace(enter)
        sys.settrace(enter)

    return begin


def demand(gate: Gate) -> None:
    """Say aloud when the function was renamed: a gate that nobody enters would prove nothing."""
    found: Any = importlib.import_module("optuna_tuner." + gate.file.removesuffix(".py").replace("/", "."))
    for name in gate.function.split("."):
        if name != "<locals>":
            if not hasattr(found, name):
                raise LookupError(f"{gate.file} has no {gate.function} any more")
            found = getattr(found, name)


def kill_here() -> None:
    """End this process as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Barrier:
    """A worker comes and waits; whoever watches it lets it go on."""

    folder: Path

    def arrive(self) -> None:
        """Say that we are here, and go on."""
        (self.folder / "here").touch()

    def wait(self) -> None:
        """Say that we are here, and wait."""
        self.arrive()
        while not (self.folder / "open").exists():
            time.sleep(0.005)

    def reached(self) -> bool:
        """Whether the worker stands here."""
        return (self.folder / "here").exists()

    def open(self) -> None:
        """Let it go on."""
        (self.folder / "open").touch()


def spots_of(file: Path) -> tuple[Sequence[Spot], Sequence[str]]:
    """What `record` has written: the lines, and the modules that were loaded."""
    found = json.loads(file.read_text(encoding="utf-8"))
    return [Spot(*spot) for spot in found["spots"]], found["modules"]
