"""Endurance: thousands of trials through one worker process, and whether anything in it grows.

Optuna keeps the whole history of a study in memory, by design. So the long run is ten studies, one after another in
the same process, each opened as a user would; the second and the last, which are equally long, are compared. How much
one trial costs inside a single long study is measured apart, and printed beside it.

The process is looked at from outside, at rest between two studies: /proc alone, and the database's size.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from first_starts import answers
from raw_rows import RawDatabase
from real_databases import databases
from stage import HERE, Stage, study_document

STUDIES, STEP = 10, 500
LONG_TRIALS = 2000
PRINT_EVERY = 500
DRIFT = 0.05
QUICK = {"start_s": 0, "stop_s": 0}
_CLIENT = ("--warm-up-s", "0", "--measure-s", "0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The worker process at rest."""

    trials: int
    at: float
    fds: int
    threads: int
    children: int
    rss_kib: int
    database_kib: int

    def __str__(self) -> str:
        return (
            f"{self.trials:6} trials  {self.at:7.0f} s  fds {self.fds:3}  threads {self.threads:2}  "
            f"children {self.children}  RSS {self.rss_kib / 1024:6.1f} MiB  "
            f"database {self.database_kib / 1024:7.1f} MiB"
        )


def serve() -> None:
    """The worker process. Each line of standard input is one order, a list in JSON: a study's file or name, trials."""
    from optuna_tuner import Tuner  # noqa: PLC0415  the product, in this process only
    from optuna_tuner.spec.study import StudySpec  # noqa: PLC0415  as above

    tuner = Tuner()
    with answers() as out:
        for line in sys.stdin:
            order, *rest = json.loads(line)
            if order == "open":  # a study of its own, with a store of its own
                tuner.close()
                tuner = Tuner()
                tuner.create(StudySpec.model_validate(rest[0]))
            else:
                out.write(f"{tuner.work(rest[0], slot='gpu-0', max_trials=rest[1])}\n")
                out.flush()


class Worker:
    """The worker process as its starter sees it."""

    def __init__(self, stage: Stage, process: subprocess.Popen[str]) -> None:
        self._stage, self._process, self._began = stage, process, time.monotonic()
        self.trials = 0

    def open(self, name: str, trials: int) -> None:
        """Make a study, with a new store."""
        self._order("open", document(name, trials))

    def work(self, name: str, trials: int) -> None:
        """Run so many trials."""
        self._order("work", name, trials)
        assert self._process.stdout is not None
        done = self._process.stdout.readline()
        if int(done or -1) != trials:
            raise RuntimeError(
                f"{trials} trials were ordered, and {done.strip() or 'no word'} came back: {self._stage.folder}"
            )
        self.trials += trials

    def _order(self, *order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def sample(self) -> Sample:
        """Look at it now. It waits for an order and does nothing."""
        here = Path(f"/proc/{self._process.pid}")
        memory = dict(line.split(":") for line in (here / "smaps_rollup").read_text().splitlines()[1:])
        status = dict(line.split(":", 1) for line in (here / "status").read_text().splitlines())
        children = (each.read_text().split() for each in here.glob("task/*/children"))
        return Sample(
            trials=self.trials,
            at=time.monotonic() - self._began,
            fds=len(list((here / "fd").iterdir())),
            threads=int(status["Threads"]),
            children=sum(map(len, children)),
            rss_kib=int(memory["Rss"].split()[0]),
            database_kib=_database_bytes(self._stage.storage) >> 10,
        )


def _database_bytes(url: str) -> int:
    database = RawDatabase(url)
    try:
        if database.kind == "postgresql":
            return int(database.ask("SELECT pg_database_size(current_database()) AS bytes")[0]["bytes"])
        file = Path(url.removeprefix("sqlite:///"))
        return sum(each.stat().st_size for each in file.parent.glob(f"{file.name}*"))
    finally:
        database.close()


def document(name: str, trials: int) -> object:
    """A study of the quickest trials."""
    found = cast("dict[str, Any]", study_document(trials, lease_s=900))
    engine, benchmark = dict(found["engine"]), dict(found["benchmark"])
    engine["flags"] = QUICK
    benchmark["command"] = [*benchmark["command"], *_CLIENT]
    return {**found, "name": name, "engine": engine, "benchmark": benchmark}


@contextmanager
def working(folder: Path, storage: str) -> Iterator[Worker]:
    """A worker process on a new database."""
    stage = Stage(folder=folder, storage=storage, gpus=1)
    with (stage.folder / "logs" / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(HERE / "endurance.py")],
            env=stage.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            with process:
                yield Worker(stage, process)
                assert process.stdin is not None
                process.stdin.close()
                process.wait(60)
        finally:
            process.kill()
    shutil.rmtree(folder)


def many_studies(worker: Worker, trials: int, tell: Callable[[Sample], None]) -> Sequence[Sample]:
    """So many trials in ten studies, a sample every STEP."""
    samples, size, name = [], study_size(trials), ""
    while worker.trials < trials:
        if worker.trials % size == 0:
            name = f"study-{worker.trials // size}"
            worker.open(name, size)
        worker.work(name, min(STEP, trials - worker.trials))
        samples.append(worker.sample())
        tell(samples[-1])
    return samples


def study_size(trials: int) -> int:
    """A tenth, in whole steps."""
    return max(STEP, trials // STUDIES // STEP * STEP)


def one_study(worker: Worker, trials: int, tell: Callable[[Sample], None]) -> Sequence[Sample]:
    """So many trials in a single study."""
    worker.open("long", trials)
    samples = []
    while worker.trials < trials:
        worker.work("long", min(STEP, trials - worker.trials))
        samples.append(worker.sample())
        tell(samples[-1])
    return samples


def slope(samples: Sequence[Sample], of: Callable[[Sample], float]) -> float:
    """The growth a trial, by least squares."""
    count = len(samples)
    mean_x = sum(each.trials for each in samples) / count
    mean_y = sum(map(of, samples)) / count
    spread = sum((each.trials - mean_x) ** 2 for each in samples)
    return sum((each.trials - mean_x) * (of(each) - mean_y) for each in samples) / spread if spread else 0.0


def judge(samples: Sequence[Sample]) -> Sequence[str]:
    """What has grown. The first tenth is for warming up; then tenths are compared, at their calmest."""
    tenth = max(1, len(samples) // 10)
    second, last = samples[tenth : 2 * tenth] or samples, samples[-tenth:]
    faults = []
    for name in ("fds", "threads", "children"):
        before, after = (min(getattr(each, name) for each in part) for part in (second, last))
        if after > before:
            faults.append(f"{name} have grown from {before} to {after}")
    before, after = (sorted(each.rss_kib for each in part)[len(part) // 2] for part in (second, last))
    drift = after / before - 1
    print(f"RSS drift from the second tenth to the last: {drift:+.1%} ({before} to {after} KiB)")
    if drift >= DRIFT:
        faults.append(f"RSS has drifted by {drift:+.1%}")
    return faults


def check_rows(url: str, trials: int) -> Sequence[str]:
    """Whether each trial was measured once, and Optuna knows it."""
    database = RawDatabase(url)
    ours = database.ask("SELECT state, told, count(*) AS many FROM tuner_attempt GROUP BY state, told")
    theirs = database.ask("SELECT CAST(state AS VARCHAR(10)) AS state, count(*) AS many FROM trials GROUP BY state")
    database.close()
    right = ours == [{"state": "ended", "told": True, "many": trials}] and theirs == [
        {"state": "COMPLETE", "many": trials}
    ]
    return [] if right else [f"our rows {ours}, Optuna's {theirs}"]


def teller(every: int) -> Callable[[Sample], None]:
    """Prints every so many trials, with the rate since the last line."""
    before: list[Sample] = []

    def tell(sample: Sample) -> None:
        if sample.trials % every and before:
            return
        rate = (
            (sample.trials - before[-1].trials) / (sample.at - before[-1].at) if before else sample.trials / sample.at
        )
        before.append(sample)
        print(f"{sample}  {rate:5.2f} trials/s", flush=True)

    return tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The lane's own arguments."""
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--trials", type=int, default=10_000, help=f"in {STUDIES} studies")
    parser.add_argument("--print-every", type=int, default=PRINT_EVERY, metavar="TRIALS", help="a line every so many")
    parser.add_argument("--long", type=int, default=LONG_TRIALS, help="trials of one long study, measured apart")


def run(arguments: argparse.Namespace) -> int:
    """Run both; 1 when anything has grown."""
    began = time.monotonic()
    root, kind, trials = Path(tempfile.mkdtemp(prefix="endurance-")), arguments.database, arguments.trials
    tell = teller(arguments.print_every)
    print(f"endurance: {trials} trials in studies of {study_size(trials)}, one worker, {kind}")
    with databases(kind, root) as urls:
        url = next(urls)
        with working(root / "many", url) as worker:
            samples = many_studies(worker, trials, tell)
        faults = [*judge(samples), *check_rows(url, trials)]
        growth = slope(samples, lambda each: each.database_kib)
        print(f"fd slope {slope(samples, lambda each: each.fds):+.6f} a trial; database {growth:.2f} KiB a trial")
        if arguments.long:
            print(f"one long study of {arguments.long} trials, apart:")
            with working(root / "long", next(urls)) as worker:
                samples = one_study(worker, arguments.long, teller(arguments.print_every))
            later = samples[len(samples) // 4 :]
            growth = slope(later, lambda each: each.rss_kib)
            print(f"RSS {growth:+.2f} KiB a trial in one study (Optuna keeps its history)")
    shutil.rmtree(root)
    load = os.getloadavg()[0]
    print(f"{time.monotonic() - began:.0f} s, load {load:.1f}: {'; '.join(faults) or 'nothing has grown'}")
    return 1 if faults else 0


if __name__ == "__main__":
    serve()
