"""First starts: eight processes at once make the same study in an empty database, again and again.

The race is tight: the processes are forked from one that has everything loaded, and let go by one pipe. In a few more
rounds eight fresh `optuna-tuner run` do it, and work on the study to its end.
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
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from real_databases import KINDS, databases, rows, shape
from stage import Stage, program, study_document

if TYPE_CHECKING:
    from optuna_tuner.spec.study import StudySpec

SIZE = 8
FRESH_TRIALS = 8
PATIENCE_S = 300.0
# One study, one Optuna study with one direction and its metric's name, one version of each kind of tables.
ONCE = (
    "tuner_study",
    "studies",
    "study_directions",
    "study_system_attributes",
    "tuner_alembic_version",
    "version_info",
)


@dataclass(slots=True)
class Tally:
    """What happened in all rounds."""

    rounds: int = 0
    starts: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Crowd:
    """Eight processes a call, forked from a child of this one that has loaded the product."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, url: str) -> Sequence[str]:
        """What each first start said: "" or its error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(url + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return list(json.loads(answer)) if answer else ["the crowd itself died"]


@contextmanager
def crowd(folder: Path) -> Iterator[Crowd]:
    """A crowd for a while; `folder` becomes the product's home."""
    process = subprocess.Popen(
        [sys.executable, __file__, "crowd"],
        env=os.environ | {"OPTUNA_TUNER_HOME": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            yield Crowd(process)
    finally:
        process.kill()


def serve_crowd() -> None:
    """Read URLs, one a line; answer each with the list of what the forked processes said."""
    # Everything that a first start loads. No connection and no thread is made before the forks.
    import alembic.command  # noqa: PLC0415, F401  as said
    import optuna.storages  # noqa: PLC0415, F401
    import psycopg  # noqa: PLC0415, F401
    import pymysql  # noqa: PLC0415, F401

    from optuna_tuner.spec.study import StudySpec  # noqa: PLC0415

    spec = StudySpec.model_validate(study_document(FRESH_TRIALS))
    with answers() as out:
        for line in sys.stdin:
            out.write(json.dumps(_race(line.strip(), spec)) + "\n")
            out.flush()


@contextmanager
def answers() -> Iterator[TextIO]:
    """What was standard output; libraries that tell their news there tell them to standard error from now on."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        yield out


def _race(url: str, spec: StudySpec) -> Sequence[str]:
    gate, let_go = os.pipe()
    members = [_fork(url, spec, gate, let_go) for _ in range(SIZE)]
    os.close(gate)
    os.close(let_go)  # the end of the pipe is what they wait for
    said = []
    for pid, mouth in members:
        with os.fdopen(mouth, encoding="utf-8") as words:
            said.append(words.read())
        if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            said[-1] += f" (exit code {code})"
    return said


def _fork(url: str, spec: StudySpec, gate: int, let_go: int) -> tuple[int, int]:
    ear, mouth = os.pipe()
    pid = os.fork()
    if pid:
        os.close(mouth)
        return pid, ear
    try:
        os.close(let_go)
        os.read(gate, 1)
        _first_start(url, spec)
    except BaseException as error:  # noqa: BLE001  whatever it was, the parent shall print it
        os.write(mouth, f"{type(error).__name__}: {error}".encode()[:4000])
    finally:
        os._exit(0)


def _first_start(url: str, spec: StudySpec) -> None:
    from optuna_tuner import Tuner  # noqa: PLC0415  the product: in the forked process only

    tuner = Tuner(url)
    view = tuner.create(spec)
    assert view.name == spec.name
    tuner.close()


def check_tables(url: str, model: Sequence[object]) -> Sequence[str]:
    """What is wrong with the tables after a race; `model` is the shape that one process alone has made."""
    counts = {name: rows(url, f"SELECT count(*) FROM {name}")[0][0] for name in ONCE}  # noqa: S608  our own names
    faults = [f"{name} has {count} rows" for name, count in counts.items() if count != 1]
    if shape(url) != model:
        faults.append(f"another shape: {sorted(set(map(str, model)) ^ set(map(str, shape(url))))[:6]}")
    return faults


def races(kind: str, times: int, folder: Path) -> Tally:
    """So many races of forked processes, each on a new database."""
    tally = Tally()
    with databases(kind, folder) as urls, crowd(folder / "home") as members:
        model_url = next(urls)
        _alone(model_url, folder)
        model = shape(model_url)
        for url in islice(urls, times):
            began = time.monotonic()
            said = members.start(url)
            tally.seconds.append(time.monotonic() - began)
            tally.rounds += 1
            tally.starts += sum(not each for each in said)
            tally.faults += [f"{url}: {each}" for each in said if each]
            tally.faults += [f"{url}: {each}" for each in check_tables(url, model)]
    return tally


def _alone(url: str, folder: Path) -> None:
    stage = Stage(folder=folder / "alone", storage=url)
    stage.study(FRESH_TRIALS)


def fresh_runs(kind: str, times: int, folder: Path) -> Tally:
    """So many rounds of eight fresh `optuna-tuner run`, each on a GPU of its own, to the end of the study."""
    tally = Tally()
    with databases(kind, folder) as urls:
        for number, url in enumerate(islice(urls, times)):
            began = time.monotonic()
            stage = Stage(folder=folder / f"fresh-{number}", storage=url, gpus=SIZE)
            codes = _run_all(stage)
            tally.seconds.append(time.monotonic() - began)
            tally.rounds += 1
            tally.starts += codes.count(0)
            tally.faults += [
                f"{stage.folder}/logs/run-{place}.log: exit code {c}" for place, c in enumerate(codes) if c
            ]
            tally.faults += [f"{url}: {each}" for each in check_trials(url)]
    return tally


def _run_all(stage: Stage) -> Sequence[int]:
    file = stage.folder / "study.json"
    file.write_text(json.dumps(study_document(FRESH_TRIALS)), encoding="utf-8")
    members = [
        stage.spawn(f"run-{place}.log", "run", str(file), extra={"CUDA_VISIBLE_DEVICES": uuid})
        for place, uuid in enumerate(stage.uuids)
    ]
    try:
        return [member.wait(PATIENCE_S) for member in members]
    finally:
        for member in members:
            with suppress(ProcessLookupError):
                member.kill()
            member.wait()


def check_trials(url: str) -> Sequence[str]:
    """What is wrong after the study has run to its end: every trial once, and Optuna's the same."""
    ours = rows(url, "SELECT number, state, told FROM tuner_attempt ORDER BY number")
    theirs = rows(url, "SELECT number, state FROM trials ORDER BY number")
    faults = []
    if [(number, state, bool(told)) for number, state, told in ours] != [
        (n, "ended", True) for n in range(FRESH_TRIALS)
    ]:
        faults.append(f"our attempts: {ours}")
    if Counter(state for _, state in theirs) != {"COMPLETE": FRESH_TRIALS}:
        faults.append(f"Optuna's trials: {theirs}")
    return faults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The lane's own arguments."""
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    parser.add_argument("--times", type=int, default=100, help="races of forked processes")
    parser.add_argument("--fresh", type=int, default=5, help="rounds of fresh optuna-tuner run")


def run(arguments: argparse.Namespace) -> int:
    """Run both, print a table, and return 1 on any fault."""
    folder = Path(tempfile.mkdtemp(prefix="first-starts-"))
    forked = races(arguments.database, arguments.times, folder)
    fresh = fresh_runs(arguments.database, arguments.fresh, folder)
    print(f"first starts on {arguments.database}, {SIZE} at once, load {os.getloadavg()[0]:.1f}, {program()}")
    for name, tally in (("forked", forked), ("optuna-tuner run", fresh)):
        longest = max(tally.seconds, default=0.0)
        mean = sum(tally.seconds) / max(1, len(tally.seconds))
        print(
            f"{name:>17}: {tally.rounds:4} rounds  {tally.starts:4} of {SIZE * tally.rounds} starts succeeded  "
            f"mean {mean:.2f} s  longest {longest:.2f} s  faults {len(tally.faults)}"
        )
        for fault in tally.faults[:20]:
            print(f"    {fault}")
    if forked.faults or fresh.faults:
        print(f"see {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    serve_crowd()
