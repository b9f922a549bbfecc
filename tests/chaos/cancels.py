"""Cancels at twelve exact moments of an attempt: how soon its GPU is free, its port closed, and no process left.

The worker is held at the moment by a barrier, or the moment is long; the cancel is asked for in one of the ways that a
user has; the barrier opens; an oracle without a line of the product waits until nothing of the attempt is left.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cancel_ways as ways
import traced_worker as traced
import tracing
from aftermath import events_of, faults
from kill_points import leave_behind, quick_study, recording
from oracle_of_one import Leftovers
from players import Found, play_all, say, words
from stage import Stage
from templates import Template
from traced_worker import Traced
from tracing import Barrier, Gate

KINDS = {"search": 2}
LIMIT_S = 30.0
PATIENCE_S = 90.0
LONG_S = "90"  # what the cancel has to cut short
LOCKED_S = 3.0  # the study lock is given back so long after the cancel
NAMES = ("slow", "slow-start", "slow-stop")
LEVELS = (1, 2)
STUBBORN_EVERY = 4  # every so many cancels the server does not obey SIGTERM


class Moment(NamedTuple):
    """Where the attempt is when it is cancelled: the worker enters a function, or a program reports an event."""

    name: str
    gate: Gate | None = None
    event: str = ""
    numbered: bool = True  # Optuna's trial exists: it can be named by its number


MOMENTS = (
    Moment("queued again", Gate("store/attempts.py", "Attempts.claim"), numbered=False),
    Moment("just claimed", Gate("tuning/worker.py", "Worker._run"), numbered=False),
    Moment("waiting for the lock", Gate("tuning/history.py", "History.ask"), numbered=False),
    Moment("asked", Gate("spec/space.py", "suggest")),
    Moment("params chosen", Gate("tuning/deployment.py", "_announce")),
    Moment("intent written", Gate("deployers/local.py", "Local.start")),
    Moment("server starting", event="server-start"),
    Moment("ready", Gate("tuning/trial.py", "read_back")),
    Moment("warm-up", Gate("benchmarks/script.py", "Script.warm_up")),
    Moment("first level", event="measure"),
    Moment("second level", Gate("benchmarks/script.py", "Script._read"), event="measure"),
    Moment("teardown", Gate("tuning/deployment.py", "take_down")),
)
QUEUED, LOCK, SECOND, TEARDOWN = MOMENTS[0], MOMENTS[2], MOMENTS[10], MOMENTS[11]


class Case(NamedTuple):
    """One cancel."""

    moment: Moment
    number: int
    stubborn: bool = False  # in any case

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.moment.name.replace(' ', '-')}-{self.number}"

    @property
    def is_stubborn(self) -> bool:
        """Whether the server ignores SIGTERM."""
        return self.stubborn or self.number % STUBBORN_EVERY == STUBBORN_EVERY - 1


@dataclass(slots=True)
class Result:
    """What became of it."""

    moment: str
    way: str
    stubborn: bool
    free_s: float = -1.0  # until nothing of it is left
    ended_s: float = -1.0  # until its row says that it has ended, too
    faults: list[str] = field(default_factory=list)
    folder: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For benchmarks/chaos.py."""
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--each", type=int, default=20, metavar="N", help="cancels in each moment (default: 20)")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument("--stubborn", action="store_true", help="all servers ignore SIGTERM; else one in four does")
    parser.add_argument("--only", default="", metavar="TEXT", help="only moments with this text")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/cancels"), help="evidence of failures goes here")  # noqa: S108  named


def run(arguments: argparse.Namespace) -> int:
    """Cancel in all moments; 1 when anything took longer than half a minute, or anything is left."""
    began = time.monotonic()
    moments = [moment for moment in MOMENTS if arguments.only in moment.name]
    cases = [Case(moment, number, arguments.stubborn) for number in range(arguments.each) for moment in moments]
    with (
        TemporaryDirectory(prefix="cancels-", ignore_cleanup_errors=True) as scratch,
        long_study(arguments.database, Path(scratch)) as made,
    ):
        traced.warm(("optuna_tuner.tuner", "optuna_tuner.cli.app", "optuna_tuner.cli.running"))
        recording(made)
        for moment in moments:
            if moment.gate:
                tracing.demand(moment.gate)
        found = play_all(made.folder, cases, arguments.jobs, lambda case: play(made, case, arguments.keep))
    results = [Result(**each) for each in found]
    about = f"{arguments.database}: {time.monotonic() - began:.0f} s, {arguments.jobs} at a time, seed 7"
    return report(results, len(cases), about)


@contextmanager
def long_study(kind: str, folder: Path) -> Iterator[Template]:
    """Two quick trials of two levels; orders make the first one long. Limits are those that everybody has."""
    with quick_study(kind, folder, trials=2, baseline=False, loads=list(LEVELS), limits={"startup_s": 300}) as made:
        yield made


def play(made: Template, case: Case, keep: Path) -> Found:
    """Bring an attempt to the moment, cancel it, see what is left, and let the study go on to its end."""
    stage = made.copy(case.name)
    result = Result(case.moment.name, "", case.is_stubborn)
    try:
        _cancel_and_finish(made, stage, case, result)
    except (RuntimeError, TimeoutError) as error:
        result.faults.append(f"{error}: {words(stage.folder)}")
    list(traced.reaped())
    if result.faults:
        result.folder = str(keep / case.name)
        traced.keep(stage.folder, Path(result.folder))
    made.drop(stage)
    return asdict(result)


def _cancel_and_finish(made: Template, stage: Stage, case: Case, result: Result) -> None:
    if case.moment is QUEUED:
        leave_behind(made, stage)
    _order(stage, case)
    act = traced.worker(made.study_id, traced.slot_of(stage))
    lock = ways.hold_lock(stage, made.study_id) if case.moment is LOCK else None
    barrier = Barrier(stage.folder)
    arrive = barrier.arrive if case.moment is LOCK else barrier.wait
    begin = tracing.at_gate(case.moment.gate, arrive) if case.moment.gate else None
    worker = traced.fork(stage, "worker", act, begin)
    _reach(stage, case, barrier)
    attempt = ways.current(stage)
    left = Leftovers(stage.folder, stage.storage, attempt.id)
    way = ways.choose(attempt, case.number, numbered=case.moment.numbered, queued=case.moment is QUEUED)
    result.way = way.name
    asked_at = time.monotonic()
    way.ask(stage)
    barrier.open()
    if lock is not None:
        time.sleep(LOCKED_S)
        lock.release()
    result.free_s = wait_for(lambda: not left.processes_and_gpus(), asked_at, LIMIT_S * 2)
    result.ended_s = wait_for(left.ended, asked_at, PATIENCE_S)
    for name in NAMES:
        (stage.folder / "control" / name).unlink(missing_ok=True)
    _finish(made, stage, worker, way)
    result.faults += faults(stage.storage, stage.folder, KINDS, cancelled=1)
    if max(result.free_s, 0.0) > LIMIT_S:
        result.faults.append(f"its GPU was free only {result.free_s:.1f} s after the cancel")


def _order(stage: Stage, case: Case) -> None:
    """Make that long which the cancel shall cut short; each order is taken once."""
    if case.is_stubborn and case.moment is not QUEUED:
        stage.order("slow-stop", LONG_S)
    if case.moment in {SECOND, TEARDOWN, QUEUED}:
        return
    stage.order("slow", LONG_S)
    if case.moment.event == "server-start":
        stage.order("slow-start", LONG_S)


def _reach(stage: Stage, case: Case, barrier: Barrier) -> None:
    """Return when the attempt is at the moment."""
    wanted = 1
    if case.moment.gate:
        wait_for(barrier.reached, time.monotonic(), PATIENCE_S)
    if case.moment is SECOND:  # held between the two levels
        stage.order("slow", LONG_S)
        barrier.open()
        wanted = 2
    if case.moment.event:
        wait_for(lambda: _count(stage, case.moment.event) >= wanted, time.monotonic(), PATIENCE_S)
    if case.moment is LOCK:
        time.sleep(0.3)  # from the call to the waiting


def _count(stage: Stage, what: str) -> int:
    return sum(event["what"] == what for event in events_of(stage.folder))


def _finish(made: Template, stage: Stage, worker: Traced, way: ways.Way) -> None:
    """The study goes on with the next trial: in the same worker, or, where all of it was cancelled, after a resume."""
    code = worker.wait(PATIENCE_S)
    if code != 0:
        raise RuntimeError(f"the worker ended with {code}")
    if way.whole_study:
        ways.resume(stage)
        code = traced.fork(stage, "next", traced.worker(made.study_id, traced.slot_of(stage))).wait(PATIENCE_S)
        if code != 0:
            raise RuntimeError(f"the worker after the resume ended with {code}")


def wait_for(look: Callable[[], object], since: float, seconds: float) -> float:
    """Seconds from `since` until `look` says yes. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain")
        time.sleep(0.01)
    return time.monotonic() - since


def report(results: Sequence[Result], planned: int, about: str) -> int:
    """The table; 1 when anything is wrong."""
    by_moment: Mapping[str, list[Result]] = {moment.name: [] for moment in MOMENTS}
    for result in results:
        by_moment[result.moment].append(result)
    say(f"{'moment':22}{'cancels':>8}{'stubborn':>9}{'median s':>10}{'max s':>8}{'max to end s':>14}{'failed':>8}")
    for name, mine in by_moment.items():
        times = [each.free_s for each in mine if each.free_s >= 0]
        if times:
            last, failed = max(each.ended_s for each in mine), sum(bool(each.faults) for each in mine)
            say(
                f"{name:22}{len(mine):8}{sum(each.stubborn for each in mine):9}{statistics.median(times):10.2f}"
                f"{max(times):8.2f}{last:14.2f}{failed:8}"
            )
    broken = [each for each in results if each.faults]
    for each in broken:
        say(f"FAILED {each.moment} by {each.way}  ({each.folder})\n" + "\n".join(f"    {text}" for text in each.faults))
    counts = {way: sum(each.way == way for each in results) for way in sorted({each.way for each in results})}
    say("ways: " + ", ".join(f"{way} {count}" for way, count in counts.items()))
    say(f"{about}, load {os.getloadavg()[0]:.1f}, {len(results)} of {planned} cancels played, {len(broken)} failed")
    return int(len(results) != planned or bool(broken))
