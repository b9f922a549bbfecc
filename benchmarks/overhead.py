"""What the tuner itself adds to a trial, and what its processes weigh.

    python benchmarks/overhead.py [--trials 20]

Runs a study on the fake server, whose own times are known, and prints a Markdown table: the phases of a trial as the
tuner kept them, and the rest of the wall time between two trials, which is the tuner's own: claim, ask, render, store,
tell. Then CPU time and memory of `optuna-tuner --help` and of a worker that waits.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import psutil

from optuna_tuner import Tuner
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.results.trials import TrialView
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Phase

COMMAND = Path(sys.executable).with_name("optuna-tuner")
LONG_TRIAL_S = 60.0


def study(name: str, trials: int) -> StudySpec:
    """A study whose trials take about two seconds."""
    return StudySpec.model_validate(
        {
            "name": name,
            "model": {"name": "tiny"},
            "engine": {"kind": "fake", "flags": {"ttft_ms": 20}},
            "benchmark": {"kind": "http", "scenario": "D(32,64)", "concurrency": [8], "requests": 16},
            "space": {
                "itl_ms": {"type": "int", "low": 5, "high": 15},
                "start_s": {"type": "float", "low": 0.1, "high": 0.5},
            },
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "budget": {"trials": trials},
        }
    )


def own_times(trials: list[TrialView]) -> dict[str, list[float]]:
    """Seconds by phase, and what lies between the end of one trial and the end of the next beside its phases."""
    without = {Phase.QUEUE, Phase.QUALITY}  # nobody waits, and no answers are compared
    found: dict[str, list[float]] = {phase.value: [] for phase in Phase if phase not in without}
    found["the tuner's own"] = []
    for before, trial in pairwise(trials):
        phases = {phase: seconds for phase, seconds in trial.phases_s.items() if phase is not Phase.QUEUE}
        for phase, seconds in phases.items():
            found[phase.value].append(seconds)
        if before.ended and trial.ended:
            between = (trial.ended - before.ended).total_seconds()
            found["the tuner's own"].append(between - sum(phases.values()))
    return found


def cpu_s(*argv: str) -> float:
    """User and system seconds of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([COMMAND, *argv], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextmanager
def waiting_worker(tuner: Tuner) -> Iterator[psutil.Process]:
    """A worker of a paused study, which waits."""
    tuner.create(study("waiting", 1))
    tuner.pause("waiting")
    with subprocess.Popen([COMMAND, "worker", "waiting"], stderr=subprocess.DEVNULL) as process:
        poll(lambda: tuner.study("waiting").workers or None, Deadline.after(30))
        poll(lambda: None, Deadline.after(3))
        yield psutil.Process(process.pid)
        tuner.stop("waiting")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OPTUNA_TUNER_HOME"] = folder
        tuner = Tuner(f"sqlite:///{folder}/studies.db")
        os.environ["OPTUNA_TUNER_STORAGE"] = tuner.storage
        view = tuner.run(study("overhead", trials))
        print("| part of a trial | median s | max s |\n|---|---|---|")
        times = own_times(list(view.trials))
        for name, seconds in times.items():
            print(f"| {name} | {statistics.median(seconds):.3f} | {max(seconds):.3f} |")
        own = statistics.median(times["the tuner's own"])
        print(f"\nThe tuner's own share of a trial of {LONG_TRIAL_S:g} s: {own / LONG_TRIAL_S:.2%}")
        print(f"optuna-tuner --help: {statistics.median(cpu_s('--help') for _ in range(7)):.3f} s of CPU (median of 7)")
        with waiting_worker(tuner) as worker:
            memory = worker.memory_full_info()
            print(f"a worker that waits: {memory.rss / 1e6:.0f} MB resident, {memory.uss / 1e6:.0f} MB its own")
        tuner.close()


if __name__ == "__main__":
    main()
