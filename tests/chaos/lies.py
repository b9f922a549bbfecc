"""Corrupted reports of each load client, judged by the product's own way from a report to a score.

    python benchmarks/chaos.py lies --count 1000

Each is a real, recorded report (tests/material) that was made false in something that the score or its plausibility
stands on. None may become a measurement, raise anything but BenchmarkError or DegradedError, or take long.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import genai_lies
import http_lies
import level_lies
import liar

from optuna_tuner.benchmarks.genai_bench import _Run
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.benchmarks.guidellm import Guidellm, GuidellmOptions
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.benchmarks.level_client import REPORT, Level
from optuna_tuner.benchmarks.prompts import Scale
from optuna_tuner.benchmarks.script import Script, ScriptOptions
from optuna_tuner.benchmarks.vllm_bench import VllmBench, VllmBenchOptions
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.values import Endpoint, Load, Metrics, Model, RequestSlo, Slot

MATERIAL = Path(__file__).parents[1] / "material"
LONGEST_S = 20.0
HONEST = ""  # a way of lying that is none
Report = dict[str, Any]
Change = Callable[[Report], Report]


@dataclass(kw_only=True)
class Ended:
    """A client that has ended, with what it left in its folder."""

    folder: Path
    exit_code: int = 0
    epoch_s: float = 0.0
    waited_s: float = 0.0
    started_at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.stdout, self.stderr = self.folder / "stdout.txt", self.folder / "stderr.txt"
        self.stdout.touch()
        self.stderr.touch()


def target(folder: Path, url: str = "http://127.0.0.1:9") -> Target:
    return Target(
        endpoint=Endpoint(url=url, model="fake"),
        model=Model(name="fake", path="", tokenizer=""),
        folder=folder,
        seed=1,
        slo=RequestSlo(),
        success_rate=0.99,
        slot=Slot(name="slot", host="here"),
    )


class Rig(ABC):
    """One kind of load client, fed with a report."""

    kind: ClassVar[str]
    ways: ClassVar[Sequence[str]]

    @abstractmethod
    def metrics(self, way: str, random: Random, folder: Path, change: Change | None = None) -> Metrics:
        """What the product believes of a report that lies in this way, or is changed so. Raises what it raises."""


class ScriptRig(Rig):
    """A script's report, on its standard output or in its file."""

    kind = "script"
    ways = liar.WAYS

    def __init__(self) -> None:
        self._report: Report = json.loads((MATERIAL / "script" / "ok" / "metrics.json").read_text())

    def metrics(self, way: str, random: Random, folder: Path, change: Change | None = None) -> Metrics:
        printed = way in liar.LIES and random.random() < 0.5
        client = Ended(folder=folder)
        path = client.stdout if printed else folder / "metrics.json"
        report = change(dict(self._report)) if change else self._report
        client.exit_code = liar.place(way, report, path, random)
        options = ScriptOptions(
            command=("measure", "{load}"),
            metrics=tuple(self._report),
            output="stdout" if printed else "file",
            loads=(2,),
        )
        elapsed_s = self._report["duration_s"] + 1
        return Script(options)._believed(client, Load(value=2), 0.99, elapsed_s)


class GenaiRig(Rig):
    """A level's report of genai-bench, with the log of the same run."""

    kind = "genai_bench"
    two = "two reports of one level"
    ways = (*genai_lies.LIES, *liar.PLACES, two)

    def metrics(self, way: str, random: Random, folder: Path, change: Change | None = None) -> Metrics:
        users = random.choice([1, 2])
        (recorded,) = (MATERIAL / "genai_bench" / "ok").glob(f"*_num_concurrency_{users}_time_*s.json")
        options = GenaiBenchOptions(scenario=("D(8,4)",), concurrency=(1, 2), requests=4)
        run = _Run(options, target(folder), folder)
        run._began -= 10  # the recorded run took its time
        shutil.copy(recorded.with_name("genai_bench.log"), folder)
        path = folder / "report" / recorded.name
        path.parent.mkdir()
        report = json.loads(recorded.read_text())
        data = genai_lies.lied(way, change(report) if change else report, random)
        liar.PLACES.get(way, Path.write_bytes)(path, data)
        if way == self.two:
            path.with_name(recorded.name.replace("_time_", "_time_1")).write_bytes(data)
        client = Ended(folder=folder)
        load = Load(value=users, scenario="D(8,4)")
        return run.measure(load, users - 1, client, Deadline.after(LONGEST_S)).metrics


class LevelRig(Rig):
    """A client that measures one level a process: its one report is all that it leaves."""

    book: ClassVar[level_lies.Book]

    def metrics(self, way: str, random: Random, folder: Path, change: Change | None = None) -> Metrics:
        report = json.loads((MATERIAL / self.kind / "ok.json").read_text())
        data = self.book.lied(way, change(report) if change else report, random)
        level, client = self.level(folder), Ended(folder=folder)
        liar.PLACES.get(way, Path.write_bytes)(folder / REPORT, data)
        return level.metrics(level._told(client), target(folder), elapsed_s=10)

    @abstractmethod
    def level(self, folder: Path) -> Level:
        """What the product starts for two users."""


class GuidellmRig(LevelRig):
    """A report of guidellm."""

    kind = "guidellm"
    book = level_lies.GuidellmBook()
    ways = (*book.lies(), *liar.PLACES)

    def level(self, folder: Path) -> Level:
        options = GuidellmOptions(scenario=("D(16,8)",), concurrency=(2,), requests=12)
        load = Load(value=2, scenario="D(16,8)")
        return Guidellm(options).level(target(folder), load, Path("guidellm"), folder, Scale())


class VllmRig(LevelRig):
    """A report of `vllm bench serve`."""

    kind = "vllm_bench"
    book = level_lies.VllmBook()
    ways = (*book.lies(), *liar.PLACES)

    def level(self, folder: Path) -> Level:
        options = VllmBenchOptions(scenario=("D(16,8)",), concurrency=(2,), requests=12)
        return VllmBench(options).level(target(folder), Load(value=2, scenario="D(16,8)"), Path("vllm"), folder)


class HttpRig(Rig):
    """The built-in client, and a server that lies on the wire."""

    kind = "http"
    ways = tuple(http_lies.LIES)

    def __init__(self, server: http_lies.Liar) -> None:
        self._server = server
        self._body = (MATERIAL / "http" / "reply.sse").read_bytes()

    def metrics(self, way: str, random: Random, folder: Path, change: Change | None = None) -> Metrics:
        assert change is None, "its report is its own"
        self._server.answer = lambda number: http_lies.lied(way, self._body, random, number)
        options = HttpOptions(scenario=("D(8,4)",), concurrency=(2,), requests=6, request_timeout_s=LONGEST_S)
        (measurement,) = Http(options).run(target(folder, self._server.url), Deadline.after(LONGEST_S))
        return measurement.metrics


@contextmanager
def rigs() -> Iterator[Sequence[Rig]]:
    with http_lies.liar() as server:
        yield ScriptRig(), GenaiRig(), HttpRig(server), GuidellmRig(), VllmRig()


def verdict(rig: Rig, way: str, seed: int, change: Change | None = None) -> str:
    """What became of one report: "refused", or what must never be."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lies-") as folder:
        try:
            random = Random(seed)  # noqa: S311  no secret
            said = f"accepted: {dict(rig.metrics(way, random, Path(folder), change))}"
        except (BenchmarkError, DegradedError):
            said = "refused"
        except Exception as error:  # noqa: BLE001  any other error is just what is looked for
            said = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    return said if seconds < LONGEST_S else f"took {seconds:.0f} s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=1000, help="corrupted reports in all")
    parser.add_argument("--seed", type=int, default=1)


def run(arguments: argparse.Namespace) -> int:
    """Print way x tried x accepted; 1 when one was accepted or raised what it should not."""
    began, tally = time.monotonic(), dict[tuple[str, str], list[str]]()
    with rigs() as all_of_them:
        ways = [(rig, way) for rig in all_of_them for way in rig.ways]
        honest = [verdict(rig, HONEST, seed) for rig in all_of_them for seed in (1, 2)]
        for number in range(arguments.count):
            rig, way = ways[number % len(ways)]
            tally.setdefault((rig.kind, way), []).append(verdict(rig, way, arguments.seed * 1_000_000 + number))
    wrong = [
        f"{kind}, {way}: {said}" for (kind, way), all_said in tally.items() for said in all_said if said != "refused"
    ]
    wrong += [f"honest report: {said}" for said in honest if not said.startswith("accepted")]
    print(table(tally))
    print(
        f"\n{arguments.count} corrupted reports, {len(tally)} ways, {len(wrong)} wrong; honest ones accepted: ", end=""
    )
    print(f"{sum(said.startswith('accepted') for said in honest)} of {len(honest)}")
    print(f"seed {arguments.seed}, {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    sys.stdout.writelines(f"WRONG {each[:300]}\n" for each in wrong)
    return 1 if wrong else 0


def table(tally: dict[tuple[str, str], list[str]]) -> str:
    lines = [f"{'client':12} {'way':40} {'tried':>6} {'accepted':>9} {'other':>6}"]
    for (kind, way), said in tally.items():
        accepted = sum(each.startswith("accepted") for each in said)
        other = len(said) - accepted - said.count("refused")
        lines.append(f"{kind:12} {way:40} {len(said):6} {accepted:9} {other:6}")
    return "\n".join(lines)
