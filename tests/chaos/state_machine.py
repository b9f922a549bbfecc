"""`state-machine`: thousands of runs of the store's state machine on a database of its own, and what they did."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import stamina
from databases import PostgresqlServer
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from store_actor import Stage
from store_machine import StoreMachine

from optuna_tuner.clock import now

BATCH = 200  # Hypothesis spends ever more time on not repeating itself
MEMORY = Path("/dev/shm")  # noqa: S108  a folder in memory: the disk is not under test


def machine_runs(url: str, runs: int, steps: int, first_seed: int) -> Counter[str]:
    """Run the machine so often on this database; what was done.

    Only runs of all steps count. Raises AssertionError with the shortest way to a fault.
    """
    stage, number = Stage(url), first_seed
    try:
        with _no_pauses():
            while stage.counts["whole runs"] < runs:
                _batch(stage, min(BATCH, runs - stage.counts["whole runs"]), steps, number)
                number += 1
    finally:
        stage.close()
    return stage.counts


def _batch(stage: Stage, runs: int, steps: int, number: int) -> None:
    machine = seed(number)(type("Machine", (StoreMachine,), {"stage": stage, "whole": steps}))
    chosen = settings(
        max_examples=runs,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(machine, settings=chosen)


@contextmanager
def _no_pauses() -> Iterator[None]:
    """Repeat at once what was cut, and do not log it."""
    stamina.set_testing(True, attempts=10)
    stamina.instrumentation.set_on_retry_hooks([])
    try:
        yield
    finally:
        stamina.set_testing(False)
        stamina.instrumentation.set_on_retry_hooks(None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of the lane."""
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> int:
    """Print what was run; 1 for a violation."""
    began, load = now(), os.getloadavg()[0]
    with _database(arguments.database) as url:
        try:
            counts = machine_runs(url, arguments.runs, arguments.steps, arguments.seed)
        except AssertionError as error:
            say = ["violations: 1", f"seed {arguments.seed}: {error}", *getattr(error, "__notes__", ())]
            print("\n".join(say))
            return 1
    _print(arguments, counts, now() - began, load)
    return 0


def _print(arguments: argparse.Namespace, counts: Counter[str], seconds: float, load: float) -> None:
    head = [
        (
            f"state machine on {arguments.database}: {counts['whole runs']} runs of {arguments.steps} steps"
            f" ({counts['steps of whole runs']} steps; {counts['steps of short runs']} more in {counts['short runs']}"
            f" runs that Hypothesis gave up), seed {arguments.seed}, {seconds:.0f} s, load {load:.1f} at the start"
        ),
        "violations: 0",
    ]
    rows = [f"  {times:7d}  {what}" for what, times in sorted(counts.items()) if " runs" not in what]
    print("\n".join(head + rows))


@contextmanager
def _database(kind: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="tuner-machine-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        os.environ["OPTUNA_TUNER_HOME"] = folder
        if kind == "sqlite":
            yield f"sqlite:///{folder}/studies.db"
            return
        server = PostgresqlServer(max(Path("/usr/lib/postgresql").glob("*/bin")))
        try:
            yield server.new_database()
        finally:
            server.close()
