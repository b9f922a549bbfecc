"""Outages: the database is away for a minute, again and again, and what was being measured meanwhile is kept.

Before each outage every worker is brought into the middle of a measurement: some end while the database is away, some
outlive it. Afterwards each of them must have its score, told to Optuna, from one start of its server and one run of its
client: the event file shows it. In turns the server is killed and stays dead, and a proxy refuses and resets; then it
is killed and started again at once. On SQLite somebody holds an exclusive lock instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast

from chaos_events import CONTROL
from checker import judge, outcome_of
from oracles import Oracle, left_behind
from outage_faults import Fault, faults_of
from raw_rows import Away, RawDatabase
from real_databases import KINDS, server
from stage import Crew, Stage, study_document
from tcp_proxy import TcpProxy
from watch import EventLog

WORKERS = 4
TRIALS = 100_000  # more than there is time for: the study is stopped at the end
CALM_S = 3.0  # a measurement that nobody has made slow
ARMING_S = 10.0  # about as long it takes until all workers are in slow measurements
RESTART_S = 6.0  # a restart takes a second or two: measurements of this length are around it
PATIENCE_S = 300.0
LOOK_S = 0.2


@dataclass(slots=True, kw_only=True)
class Score:
    """What came of all faults of one name."""

    faults: int = 0
    in_flight: int = 0
    ended_meanwhile: int = 0
    outlived: int = 0
    kept: int = 0
    longest_s: float = 0.0  # from the database's return until all was told


@dataclass(slots=True, kw_only=True)
class Play:
    """Everything that is on the stage."""

    stage: Stage
    crew: Crew
    database: RawDatabase
    log: EventLog
    chance: Random
    scores: dict[str, Score] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def wait(self, look: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
        """Tend the crew until this is so; False when it never was."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            self.crew.tend()
            self.log.read()
            try:
                if look():
                    return True
            except Away:
                pass
            time.sleep(LOOK_S)
        return False

    def measuring(self) -> Mapping[str, float]:
        """Servers that are being measured just now, and when it began. From the event file: it is never away."""
        self.log.read()
        last = {name: events[-1] for name, events in self.log.of_server.items() if name and events}
        return {name: event["at"] for name, event in last.items() if event["what"] == "measure"}


def arm(play: Play, durations: Sequence[float]) -> Mapping[str, float]:
    """Bring as many workers into slow measurements as there are durations; returns when each will end."""
    order = play.stage.folder / CONTROL / "slow"
    ends: dict[str, float] = {}
    for seconds in durations:
        play.stage.order("slow", f"{seconds:.1f}")
        if not play.wait(lambda: not order.exists()):
            raise RuntimeError(f"no client took its order within {PATIENCE_S:g} s: see {play.stage.folder}")
        taker = int(next(order.parent.glob("slow.taken-by-*")).name.rpartition("-")[2])
        for taken in order.parent.glob("slow.taken-by-*"):
            taken.unlink()
        found = next(event for event in reversed(play.log.all) if event["what"] == "measure" and event["pid"] == taker)
        ends[found["server"]] = found["at"] + seconds
    return {name: end for name, end in ends.items() if name in play.measuring()}


def strike(play: Play, fault: Fault) -> None:
    """One fault with every worker in the middle of a measurement, and what became of each."""
    ends = arm(play, durations(play.chance, fault.seconds))
    began = time.monotonic()
    fault.away(fault.seconds)
    back = time.monotonic()
    score = play.scores.setdefault(fault.name, Score())
    score.faults += 1
    score.in_flight += len(ends)
    score.ended_meanwhile += sum(began < end < back for end in ends.values())
    score.outlived += sum(end >= back for end in ends.values())
    told = play.wait(lambda: all(is_told(play, name) for name in ends))
    score.longest_s = max(score.longest_s, time.monotonic() - max([back, *ends.values()]))
    if not told:
        play.violations.append(
            f"{fault.name}: not told after {PATIENCE_S:g} s: {[n for n in ends if not is_told(play, n)]}"
        )
    for name in ends:
        faults = judge_one(play, name)
        score.kept += not faults
        play.violations += [f"{fault.name}: {name}: {each}" for each in faults]


def durations(chance: Random, outage_s: float) -> Sequence[float]:
    """Half of the measurements end while the database is away, half outlive it: 85 to 110 s for an outage of 60 s.

    They begin one after another, so that the first ones have less of it left when the outage begins.
    """
    outage_s = outage_s or RESTART_S
    during = [chance.uniform(0.6, 0.9) * outage_s for _ in range(WORKERS // 2)]
    beyond = [chance.uniform(1.25, 1.66) * outage_s + ARMING_S for _ in range(WORKERS - len(during))]
    return [*beyond, *during]


def attempt_row(play: Play, name: str) -> Mapping[str, Any]:
    """Our row of the attempt whose server has this name."""
    attempt = name.removeprefix("tuner-")
    return play.database.ask(f"SELECT * FROM tuner_attempt WHERE id = '{attempt}'")[0]  # noqa: S608  our own id


def is_told(play: Play, name: str) -> bool:
    """Whether its end is known to Optuna."""
    row = attempt_row(play, name)
    return row["state"] == "ended" and bool(row["told"])


def judge_one(play: Play, name: str) -> Sequence[str]:
    """What is wrong with a measurement that was in flight."""
    row, events = attempt_row(play, name), play.log.of_server[name]
    counts = {what: sum(event["what"] == what for event in events) for what in ("server-start", "measure", "report")}
    if any(count != 1 for count in counts.values()):
        return [f"not run once: {counts}"]
    outcome = outcome_of(row)
    reported = next(event["score"] for event in events if event["what"] == "report")
    if outcome.get("verdict") != "complete" or outcome["values"] != [reported]:
        return [f"{reported} was reported, and this is kept: {row['outcome']}"[:400]]
    again = play.database.ask(f"SELECT id FROM tuner_attempt WHERE retry_of = '{row['id']}'")  # noqa: S608  our own id
    return [f"it was run again as {again}"] if again else []


@contextmanager
def play_of(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[Play, Sequence[Fault]]]:
    """The database, the study and the crew; and the faults that will come."""
    with ExitStack() as stack:
        running = proxy = None
        url = storage = f"sqlite:///{folder}/studies.db"
        if arguments.database != "sqlite":
            running = stack.enter_context(server(arguments.database))
            url = running.new_database()
            proxy = stack.enter_context(TcpProxy(running.port, kind=arguments.database))
            storage = url.replace(f":{running.port}/", f":{proxy.port}/")
        stage = Stage(folder=folder, storage=storage, gpus=WORKERS)
        benchmark = dict(cast("dict[str, Any]", study_document(TRIALS)["benchmark"]))
        benchmark["command"] = [*benchmark["command"], "--measure-s", str(CALM_S)]
        # The default lease: two thirds of it is the outage that a measurement must outlive.
        stage.study(TRIALS, benchmark=benchmark, benchmark_s=60 + 3 * arguments.seconds, lease_s=900)
        database, log = RawDatabase(url), EventLog(stage.events)
        stack.callback(database.close)
        stack.callback(log.close)
        crew = stack.enter_context(Crew(stage))
        chance = Random(arguments.seed)  # noqa: S311  the same durations again, not secrets
        play = Play(stage=stage, crew=crew, database=database, log=log, chance=chance)
        yield play, faults_of(arguments, url, running, proxy)


def campaign(arguments: argparse.Namespace, folder: Path) -> Play:
    """All faults, and the judgement."""
    with play_of(arguments, folder) as (play, faults):
        study_id = play.database.ask("SELECT id FROM tuner_study")[0]["id"]
        with Oracle(folder, play.database.url, study_id) as oracle:
            play.crew.start(WORKERS)
            for number, fault in enumerate(faults, 1):
                strike(play, fault)
                print(f"{number:3} of {len(faults)}: {fault.name} of {fault.seconds:g} s over", flush=True)
            come_to_rest(play)
            left, _ = left_behind(folder, study_id)
        play.log.read()
        found = judge(play.database.snapshot(), play.log.all, oracle.memory, tries=3)
        # The study was stopped with budget left, by us.
        play.violations += [str(each) for each in (*left, *found) if each.name != "budget-not-spent"]
        exits = [code for member in play.crew.members for code in member.exits]
        if exits:
            play.violations.append(f"workers have ended before the study was stopped: {exits}")
    return play


def come_to_rest(play: Play) -> None:
    """Stop the study; every worker ends by itself."""
    play.stage.tuner("stop", "chaos")
    for member in play.crew.members:
        member.process.wait(PATIENCE_S)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The lane's own arguments."""
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    parser.add_argument("--outages", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each outage is")
    parser.add_argument("--restarts", type=int, default=10, help="none on SQLite, which has no server")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> int:
    """Run it, print the table, and return 1 on any violation."""
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="tuner-outages-"))
    folder.chmod(0o755)
    play = campaign(arguments, folder)
    table(play, arguments, time.monotonic() - began)
    if play.violations:
        print(f"see {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def table(play: Play, arguments: argparse.Namespace, seconds: float) -> None:
    """The figures."""
    trials = sum(event["what"] == "report" for event in play.log.all)
    print(f"outages on {arguments.database}: {WORKERS} workers, seed {arguments.seed}, {trials} trials measured")
    print(
        f"{'fault':16} {'times':>5} {'in flight':>9} {'ended meanwhile':>15} {'outlived it':>11} {'kept':>5} "
        f"{'told after':>10}"
    )
    for name, each in play.scores.items():
        print(
            f"{name:16} {each.faults:5} {each.in_flight:9} {each.ended_meanwhile:15} {each.outlived:11} "
            f"{each.kept:5} {each.longest_s:8.1f} s"
        )
    print(f"{seconds:.0f} s, load {os.getloadavg()[0]:.1f}, violations {len(play.violations)}")
    for violation in play.violations[:40]:
        print(f"    {violation}")
