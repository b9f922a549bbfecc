"""kill -9 at every executed line of an attempt's life cycle; whatever is cut off, a clean worker brings it to the end.

Three lanes: a worker is killed; a worker that cleans up after a dead one is killed; the command `reap` is killed. Lines
are those that a recording of the same lane has run. Each case has a fresh database, home and GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import traced_worker as traced
import tracing
from aftermath import faults
from players import play_all, say, words
from stage import HERE, Stage
from templates import Template, template
from traced_worker import Act
from tracing import PACKAGE, Gate, Spot

KINDS = {"baseline": 1, "search": 2}
# Two configurations, and a seed by which trial 2 asks for that of trial 1: a repeat; trial 3 is the other one.
SPACE = {"x": {"type": "int", "low": 1, "high": 2}, "y": {"type": "float", "low": 0.5, "high": 0.5}}
SEED = 5
PATIENCE_S = 90.0
TRIES = 8  # a line that hangs on timing may be missed
LEASE_S = 60  # who is killed here is seen by his pid; nobody shall be taken for dead because the machine is busy
MID_BENCHMARK = Gate("benchmarks/client_process.py", "Client.exit_code", 2)
WORKER, REAPER, REAP = "worker", "reaper", "reap"
RECORDINGS = 2
# What must not be missing in a sample: the lines that change what others see.
_CRITICAL = re.compile(
    r"\.(claim|asked|chosen|intend|created|gone|end|told|tell|ask|start|stop|retire|write)\(|rename\("
)


@dataclass(frozen=True, slots=True)
class Case:
    """One kill."""

    lane: str
    spot: Spot


@dataclass(slots=True)
class Result:
    """What became of one case."""

    lane: str
    spot: Spot
    tries: int = 0
    hit: bool = False
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    folder: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For benchmarks/chaos.py."""
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only so many lines; default: all")
    parser.add_argument(
        "--every-lane", action="store_true", help="lines that several lanes run, in each of them; default: in the first"
    )
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only lines of lanes and files with this text")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/kill-points"), help="evidence of failures goes here")  # noqa: S108  named


def run(arguments: argparse.Namespace) -> int:
    """Kill at all lines; 1 when anything was lost, or a line was never reached."""
    began = time.monotonic()
    with (
        TemporaryDirectory(prefix="kill-points-", ignore_cleanup_errors=True) as scratch,
        quick_study(arguments.database, Path(scratch), trials=sum(KINDS.values()), space=SPACE) as made,
    ):
        recorded = record_all(made) if arguments.every_lane else in_first_lanes(record_all(made))
        cases = [case for case in recorded if arguments.only in f"{case.lane}/{case.spot.file}"]
        chosen = sample(cases, arguments.sample) if arguments.sample else cases
        say(f"{len(cases)} lines are run; {len(chosen)} of them are killed at, seed {SEED}, {arguments.jobs} at a time")
        found = play_all(made.folder, chosen, arguments.jobs, lambda case: asdict(play(made, case, arguments.keep)))
        results = [Result(**{**each, "spot": Spot(*each["spot"])}) for each in found]
    return report(results, len(chosen), f"{arguments.database}: {time.monotonic() - began:.0f} s")


@contextmanager
def quick_study(
    kind: str, folder: Path, trials: int, loads: Sequence[int] = (1,), **changes: object
) -> Iterator[Template]:
    """A study whose trials take a few hundred milliseconds."""
    python = [sys.executable, "-I", "-S"]
    client = [*python, str(HERE / "chaos_client.py"), "--url", "{url}", "--seed", "{seed}"]
    quick = {"start_s": 0.05, "stop_s": 0}
    document: dict[str, object] = {
        "engine": {"kind": "fake", "command": [*python, str(HERE / "chaos_server.py")], "flags": quick},
        "benchmark": {
            "kind": "script",
            "command": [*client, "--warm-up-s", "0.01", "--measure-s", "0.04"],
            "metrics": ["score", "error_rate"],
            "loads": list(loads),
        },
        "sampler": {"kind": "random", "seed": SEED},
        "lease_s": LEASE_S,
    }
    with template(kind, folder, trials, **(document | changes)) as made:
        yield made


def record_all(made: Template) -> list[Case]:
    """All lines that the lanes run, as cases; this process is warmed with what their workers have loaded."""
    traced.warm()
    recorded = ((lane, recording(made, lane)) for lane in lanes() for _ in range(RECORDINGS))
    return [Case(*each) for each in sorted({(lane, spot) for lane, spots in recorded for spot in spots})]


def in_first_lanes(cases: Sequence[Case]) -> list[Case]:
    """Each line once, in the first lane that runs it."""
    first = {case.spot: case for case in sorted(cases, key=lambda case: lanes().index(case.lane), reverse=True)}
    return [case for case in cases if first[case.spot] is case]


def recording(made: Template, lane: str = WORKER) -> Sequence[Spot]:
    """The lines of one run of this lane. Whatever it has loaded, this process loads, too."""
    stage = made.copy("recorded")
    file = stage.folder / "spots.json"
    if lane != WORKER:
        leave_behind(made, stage)
    code = traced.fork(stage, "recorded", act_of(made, stage, lane), tracing.record(file)).wait(PATIENCE_S)
    if code != 0:
        raise RuntimeError(f"the recording of {lane} ended with {code}: {words(stage.folder)}")
    spots, modules = tracing.spots_of(file)
    traced.warm(modules)
    made.drop(stage)
    return spots


def lanes() -> Sequence[str]:
    """Those that this version of the product has."""
    from optuna_tuner import Tuner  # noqa: PLC0415  loaded after the parent was made ready

    return (WORKER, REAPER, *((REAP,) if hasattr(Tuner, "reap") else ()))


def act_of(made: Template, stage: Stage, lane: str) -> Act:
    """What the process of this lane does."""
    return reap if lane == REAP else traced.worker(made.study_id, traced.slot_of(stage))


def reap() -> int:
    """What `optuna-tuner reap` calls."""
    from optuna_tuner import Tuner  # noqa: PLC0415  as above

    tuner = Tuner()
    tuner.reap()
    tuner.close()
    return 0


def leave_behind(made: Template, stage: Stage) -> None:
    """A worker that is killed while its client measures."""
    act = traced.worker(made.study_id, traced.slot_of(stage))
    code = traced.fork(stage, "first", act, tracing.at_gate(MID_BENCHMARK, tracing.kill_here)).wait(PATIENCE_S)
    if code != -signal.SIGKILL:
        raise RuntimeError(f"the first worker ended with {code} instead of being killed: {words(stage.folder)}")


def sample(cases: Sequence[Case], count: int) -> list[Case]:
    """Half of them lines that change what others see, half of them any; evenly spread."""
    critical = [case for case in cases if _CRITICAL.search(source(case.spot))]
    others = [case for case in cases if case not in set(critical)]
    half = min(count // 2, len(critical))
    return sorted([*spread(critical, half), *spread(others, count - half)], key=lambda case: (case.lane, case.spot))


def spread(cases: Sequence[Case], count: int) -> list[Case]:
    """So many of them, at equal distances."""
    count = min(count, len(cases))
    return [cases[number * len(cases) // count] for number in range(count)]


def source(spot: Spot) -> str:
    """The text of the line."""
    return _text(spot.file)[spot.line - 1].strip()


@cache
def _text(file: str) -> Sequence[str]:
    return (PACKAGE / file).read_text(encoding="utf-8").splitlines()


def play(made: Template, case: Case, keep: Path) -> Result:
    """Kill at the line, let a clean worker finish, look at what is left; again where the line was missed."""
    result = Result(case.lane, case.spot)
    began = time.monotonic()
    while not result.hit and not result.faults and result.tries < TRIES:
        result.tries += 1
        name = f"{case.lane}-{case.spot.file.replace('/', '.')}-{case.spot.line}-{result.tries}"
        stage = made.copy(name)
        try:
            result.hit, result.faults = kill_and_finish(made, stage, case)
        except RuntimeError as error:
            result.faults = [str(error)]
        if result.faults:
            result.folder = str(keep / name)
            traced.keep(stage.folder, Path(result.folder))
        made.drop(stage)
    result.seconds = time.monotonic() - began
    return result


def kill_and_finish(made: Template, stage: Stage, case: Case) -> tuple[bool, list[str]]:
    """Whether the line was reached, and what is wrong in the end."""
    if case.lane != WORKER:
        leave_behind(made, stage)
    victim = traced.fork(stage, "victim", act_of(made, stage, case.lane), tracing.kill_at(case.spot)).wait(PATIENCE_S)
    clean = traced.fork(stage, "clean", act_of(made, stage, WORKER)).wait(PATIENCE_S)
    list(traced.reaped())
    found = faults(stage.storage, stage.folder, KINDS)
    if victim not in {0, -signal.SIGKILL}:
        found.insert(0, f"the victim ended with {victim}: {words(stage.folder)}")
    if clean != 0:
        found.insert(0, f"the clean worker ended with {clean}: {words(stage.folder)}")
    return victim == -signal.SIGKILL, found


def report(results: Sequence[Result], planned: int, about: str) -> int:
    """The table; 1 when anything is wrong."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    for each in results:
        counts = rows.setdefault((each.lane, each.spot.file), Counter())
        counts.update(
            {"lines": 1, "killed": each.hit, "recovered": each.hit and not each.faults, "failed": bool(each.faults)}
        )
    names = ("lines", "killed", "recovered", "failed")
    say(f"{'lane':8}{'file':34}" + "".join(f"{name:>11}" for name in names))
    total: Counter[str] = Counter()
    for (lane, file), counts in sorted(rows.items()):
        total.update(counts)
        say(f"{lane:8}{file:34}" + "".join(f"{counts[name]:11}" for name in names))
    say(f"{'all':42}" + "".join(f"{total[name]:11}" for name in names))
    missed = [each for each in results if not each.hit and not each.faults]
    for each in missed:
        say(f"NOT REACHED in {each.tries} tries: {each.lane} {each.spot.file}:{each.spot.line} {source(each.spot)}")
    for each in (each for each in results if each.faults):
        say(f"FAILED {each.lane} {each.spot.file}:{each.spot.line} {source(each.spot)}  ({each.folder})")
        say("".join(f"    {fault}\n" for fault in each.faults).rstrip())
    say(f"{about}, load {os.getloadavg()[0]:.1f}, {len(results)} of {planned} cases played, {len(missed)} not reached")
    return int(len(results) != planned or bool(missed) or total["failed"] > 0)


def main() -> int:
    """By itself: python tests/chaos/kill_points.py --sample 20."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
