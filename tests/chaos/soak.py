"""The soak: workers, faults of every kind in every phase, and at the end a judge who believes only what he sees.

    python benchmarks/chaos.py soak --database sqlite --trials 1000 --workers 8 --faults 1000 --cell 10 --seed 1

It needs two cores for itself for half an hour or so; on a loaded machine it takes longer, and promises the same.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import database_faults
import faults
from checker import Violation, judge
from injector import TICK_S, Injector
from oracles import Oracle, left_behind
from raw_rows import Away, RawDatabase
from real_databases import server
from scene import Scene
from soak_report import Report, bug_reports
from stage import Crew, Stage
from tcp_proxy import TcpProxy
from watch import EventLog, Watch

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
DISK_BYTES = 256 << 20
PROGRESS_S = 10.0
TRIES, LEASE_S = (
    3,
    9.0,
)  # a worker gives up after two thirds of it: longer than any outage here, on a loaded machine, too
LIMITS = {"startup_s": 8, "benchmark_s": 15, "teardown_s": 2, "lease_s": LEASE_S, "tries": TRIES}


@contextmanager
def scene_of(arguments: argparse.Namespace, folder: Path) -> Iterator[Scene]:
    """Everything that the soak needs, and its end."""
    with ExitStack() as stack:
        disks = {}
        kind, running, proxy = arguments.database, None, None
        place = "database disk full" if kind == "sqlite" else "artifacts disk full"
        target = folder / "database" if kind == "sqlite" else folder / "home" / "artifacts"
        if mounted(target, stack):
            disks[place] = target
        if kind == "sqlite":
            (folder / "database").mkdir(exist_ok=True)
            url = storage = f"sqlite:///{folder}/database/studies.db"
        else:
            running = stack.enter_context(server(kind))
            url = running.new_database()
            proxy = stack.enter_context(TcpProxy(running.port, kind=kind))
            storage = url.replace(f":{running.port}/", f":{proxy.port}/")
        stage = Stage(folder=folder, storage=storage, gpus=arguments.workers)
        stage.study(arguments.trials, **LIMITS)
        database = RawDatabase(url)
        stack.callback(database.close)
        log = EventLog(stage.events)
        stack.callback(log.close)
        crew = stack.enter_context(Crew(stage))
        scene = Scene(
            stage=stage,
            crew=crew,
            url=url,
            database=database,
            watch=Watch(database, log),
            log=log,
            chance=Random(arguments.seed),  # noqa: S311  the same faults again, not secrets
            lease_s=LEASE_S,
            server=running,
            proxy=proxy,
            disks=disks,
            clock=faked_clock(folder, crew, stage.environment()["PYTHONPATH"]),
        )
        yield scene


def mounted(place: Path, stack: ExitStack) -> bool:
    """A small file system of its own at this place; False where this user may not mount."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        return False
    stack.callback(subprocess.run, ["umount", "--lazy", str(place)], check=False)
    return True


def faked_clock(folder: Path, crew: Crew, python_path: str) -> Path | None:
    """Let all workers follow a wall clock of ours; None without libfaketime."""
    if not FAKETIME.exists():
        return None
    clock = folder / "clock"
    clock.write_text("+0\n", encoding="ascii")
    crew.extra |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "faked_clock"), python_path]),
    }
    return clock


def is_done(scene: Scene) -> tuple[bool, int]:
    """Whether everything has come to rest, and how many trials have."""
    study = scene.database.ask("SELECT budget, reserved FROM tuner_study")[0]
    told = "told" if scene.database.kind == "postgresql" else "told = 1"
    asked = f"SELECT count(*) AS open FROM tuner_attempt WHERE NOT (state = 'ended' AND {told})"  # noqa: S608  ours
    left = scene.database.ask(asked)[0]["open"]
    return study["reserved"] == study["budget"] and left == 0, study["reserved"] - left


def play(scene: Scene, injector: Injector, report: Report, minutes: float) -> None:
    """Until all trials have ended, or the time is over."""
    end, next_word, done, over = time.monotonic() + 60 * minutes, 0.0, 0, False
    while not over and time.monotonic() < end:
        scene.crew.tend()
        with suppress(Away):
            over, done = is_done(scene)
        if not over:
            injector.tick(done)
        if time.monotonic() > next_word:
            report.progress(injector, done)
            next_word = time.monotonic() + PROGRESS_S
        time.sleep(TICK_S)
    report.progress(injector, done)


def soak(arguments: argparse.Namespace, folder: Path) -> Report:
    """One soak, judged."""
    report = Report(arguments=arguments, folder=folder)
    with scene_of(arguments, folder) as scene:
        injector = Injector(
            scene=scene,
            kinds=(*faults.KINDS, *database_faults.kinds(scene)),
            faults=arguments.faults,
            trials=arguments.trials,
            cell=arguments.cell,
        )
        study_id = scene.database.ask("SELECT id FROM tuner_study")[0]["id"]
        with Oracle(folder, scene.url, study_id) as oracle:
            scene.crew.start(arguments.workers)
            play(scene, injector, report, arguments.minutes)
            injector.end()
            report.took()
            scene.crew.end()
            if scene.reaper is not None:
                scene.reaper.kill()
                scene.reaper.wait()
            scene.stage.tuner("reap")
            left, report.quiet_after_s = left_behind(folder, study_id)
        scene.log.read()
        snapshot = scene.database.snapshot()
        report.violations = [*left, *judge(snapshot, scene.log.all, oracle.memory, TRIES)]
        report.violations += [*integrity(scene), *bug_reports(folder)]
        report.tell(injector, snapshot, oracle)
    return report


def integrity(scene: Scene) -> list[Violation]:
    """SQLite's own opinion of its file."""
    if scene.database.kind != "sqlite":
        return []
    said = [str(next(iter(row.values()))) for row in scene.database.ask("PRAGMA integrity_check")]
    return [] if said == ["ok"] else [Violation("corrupt-database", "; ".join(said)[:500])]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the lane can be told."""
    parser.add_argument("--database", choices=["sqlite", "postgresql", "mysql"], default="sqlite")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--faults", type=int, default=1000, help="so many must land")
    parser.add_argument("--cell", type=int, default=10, help="so often at least in each kind and phase (default: 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=90, help="after so long it is given up (default: 90)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write all figures there, as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folder, for a post-mortem")


def run(arguments: argparse.Namespace) -> int:
    """The lane: 0 when nothing was lost and enough faults landed."""
    os.nice(5)
    folder = Path(tempfile.mkdtemp(prefix="tuner-soak-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = soak(arguments, folder)
    print(report.text)
    if arguments.report:
        arguments.report.write_text(json.dumps(report.data, indent=1), encoding="utf-8")
    report.clear_up(keep=arguments.keep)
    return 0 if report.good else 1
