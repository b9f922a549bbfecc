"""Holds every known rule of vLLM against real launches of `vllm serve` on a CPU.

    python benchmarks/real_launches.py /path/to/environment/bin/python
    python benchmarks/real_launches.py /path/to/environment/bin/python --only draft-ranks
    python benchmarks/real_launches.py /path/to/environment/bin/python --table

The Python is that of an environment with vLLM for CPU. Both examples of each rule of its version are rendered by our
engine for a tiny model with as many heads and experts as the example speaks of, and launched. A launch ends when it has
refused, or when the engine core's process is started, which is after all of the configuration was checked; where we
refuse, it is given the time to get ready. What was seen is kept in `--results` at once, with the logs, and not launched
again; verdicts and diagnoses are made anew of it each time. Exit code 1 when a verdict differs from ours, when a
refusal is not diagnosed as one, or when a launch is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from rule_examples import Example, Models, examples, flags_of, installed

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.values import Cause, Diagnosis, Json, Model, Params, Scalar, Slot

PATIENCE_S = 900.0
LOOK_S = 0.5
CPU = Slot(name="cpu", host="here")
NOTHING = Params(flags={})
REFUSED = "refused"
LAUNCHER = Path(__file__).with_name("vllm_launches.py")
REFUSALS = {Cause.BAD_FLAG, Cause.BAD_COMBINATION}
# The cheapest start there is: no weights are read, nothing is compiled.
FIXED: Mapping[str, Scalar] = {"load_format": "dummy", "dtype": "float32", "enforce_eager": True}
LONGEST = 160
CHILD = "--multiprocessing-fork"  # among the arguments of a process that multiprocessing has started
READY = "Application startup complete"
DETAILS = re.compile(r" \[type=[^\]]*\]?")  # of pydantic
WARNING = re.compile(r"WARNING \d\d-\d\d \d\d:\d\d:\d\d \[[\w.]+:\d+\] (.*)")


@dataclass(frozen=True, kw_only=True)
class Case:
    """An example as our engine sees it, and where the log of its launch lies."""

    example: Example
    engine: Vllm
    model: Model
    log_file: Path

    @property
    def name(self) -> str:
        """Of the rule, and which of its two examples it is."""
        return self.example.name

    @property
    def ours(self) -> str | None:
        """Why we would not launch it."""
        return self.engine.reject(self.model, NOTHING, CPU)

    @property
    def argv(self) -> list[str]:
        """The command line that our engine makes of it."""
        places = {"{host}": "127.0.0.1", "{port}": "0"}
        return [places.get(each, each) for each in self.engine.render(self.model, NOTHING, CPU).argv]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How far a launch came."""

    stage: str
    exit_code: int
    cpu_s: float

    @property
    def refused(self) -> bool:
        """Whether vLLM refused."""
        return self.stage == REFUSED


@dataclass(frozen=True, kw_only=True)
class Row:
    """A case, what was seen of it, and how its log is read."""

    case: Case
    seen: Seen
    found: Diagnosis

    @property
    def agrees(self) -> bool:
        """Whether both verdicts are the same, and a refusal was read as one."""
        same = (self.case.ours is not None) == self.seen.refused
        return same and (not self.seen.refused or self.found.cause in REFUSALS)

    @property
    def said(self) -> str:
        """The line by which it was refused, or by which it warned of the rule's flags."""
        if self.seen.refused:
            return self.found.evidence
        names = [name.partition("__")[0] for name in self.case.example.values]
        warned = WARNING.findall(text_of(self.case.log_file))
        return next((each for each in warned if any(name in each for name in names)), "")


def text_of(log_file: Path) -> str:
    """All that was written."""
    return log_file.read_text(encoding="utf-8", errors="replace") if log_file.exists() else ""


class Launcher:
    """vLLM's Python with vLLM imported, from which each launch is forked."""

    def __init__(self, python: str, folder: Path) -> None:
        self.env = {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CACHE_ROOT": os.environ.get("VLLM_CACHE_ROOT", str(folder / "cache")),
        }
        self._process = subprocess.Popen(
            [python, str(LAUNCHER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env={**os.environ, **self.env},
        )  # fmt: skip
        self._orders, self._answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        self.hear()  # it is ready

    def tell(self, order: Mapping[str, Json]) -> None:
        """Order one launch."""
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()

    def hear(self) -> dict[str, Json]:
        """What it says next."""
        said: dict[str, Json] = json.loads(self._answers.readline())
        return said

    def end(self) -> None:
        """Let go of it."""
        self._process.kill()
        self._process.wait()


class Started:
    """One launch."""

    def __init__(self, launcher: Launcher, case: Case) -> None:
        self._launcher, self._log_file = launcher, case.log_file
        case.log_file.unlink(missing_ok=True)
        launcher.tell({"argv": [*case.argv], "env": {**launcher.env}, "log": str(case.log_file)})
        self._pid = int(str(launcher.hear()["pid"]))
        self._proc = Path(f"/proc/{self._pid}")

    def stage(self, *, until_ready: bool) -> str | None:
        """How far it is, once that says enough."""
        if not self._proc.exists():
            return REFUSED
        if until_ready:
            return "ready" if READY in text_of(self._log_file) else None
        return "engine core starts" if any(CHILD in each for each in self._children()) else None

    def _children(self) -> Iterator[str]:
        """The command lines of the processes that it has started; looked up cheaply, since vLLM wants the CPU."""
        with suppress(OSError):  # they come and go
            for task in self._proc.glob("task/*/children"):
                for child in task.read_text().split():
                    yield Path(f"/proc/{child}/cmdline").read_text()

    def end(self) -> tuple[int, float]:
        """Make sure that nothing of it runs; its exit code, and the seconds of CPU that it took."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        said = self._launcher.hear()
        return int(str(said["exit"])), float(str(said["cpu_s"]))


def launched(case: Case, launcher: Launcher) -> Seen:
    """Launch it, and look how far it comes. What we refuse too is given the time to get ready."""
    started, until_ready = Started(launcher, case), case.ours is not None
    try:
        stage = poll(lambda: started.stage(until_ready=until_ready), Deadline.after(PATIENCE_S), LOOK_S)
    finally:
        exit_code, cpu_s = started.end()
    return Seen(stage=stage or "nothing for too long", exit_code=exit_code, cpu_s=round(cpu_s, 1))


class Results:
    """What was seen, kept as soon as it is: verdicts in a file, and each log beside it."""

    def __init__(self, folder: Path, version: str) -> None:
        self._folder, self._version = folder / f"vllm-{version}", version
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file, self._models = self._folder / "seen.jsonl", Models(self._folder / "models")
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        self._seen = {(read := json.loads(line)).pop("name"): Seen(**read) for line in lines}

    def case(self, example: Example) -> Case:
        """An example for our engine, on a model for which its facts are true."""
        flags = {**FIXED, **flags_of(example, self._models)}
        return Case(
            example=example,
            engine=Vllm(VllmOptions(version=self._version, flags=flags)),
            model=self._models.serving(example.facts),
            log_file=self._folder / f"{example.name.replace(' ', '-')}.log",
        )

    def row(self, example: Example) -> Row | None:
        """What is known of it."""
        seen, case = self._seen.get(example.name), self.case(example)
        found = seen and case.engine.diagnose(text_of(case.log_file), seen.exit_code)
        return Row(case=case, seen=seen, found=found) if seen and found else None

    def keep(self, case: Case, seen: Seen) -> None:
        """Never launch it again."""
        self._seen[case.name] = seen
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": case.name, **asdict(seen)}) + "\n")


def launch_all(waiting: Sequence[Example], results: Results, python: str) -> None:
    """Launch one after the other; those first that are to be refused, which say the most."""
    with tempfile.TemporaryDirectory() as scratch, launcher_in(python, Path(scratch)) as launcher:
        for example in sorted(waiting, key=lambda each: not each.breaks):
            case = results.case(example)
            results.keep(case, launched(case, launcher))
            row = results.row(example)
            if row:
                print(f"{'ok   ' if row.agrees else 'WRONG'} {case.name}: {verdict(row)}: {row.said[:LONGEST]}")
            sys.stdout.flush()


def verdict(row: Row) -> str:
    """What vLLM did, and as what it was read."""
    return f"refused: {row.found.cause}" if row.seen.refused else row.seen.stage


def table(rows: Sequence[Row]) -> Iterator[str]:
    """What was seen, as Markdown: a line for each launch."""
    yield "| rule | example | we | vLLM | what it said | CPU, s |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        words = DETAILS.sub("", " ".join(row.said.split())).replace("`", "'").replace("|", "/")
        said = f"`{words[:LONGEST]}`" if words else ""
        which, ours = "breaks" if row.case.example.breaks else "keeps", "refuse" if row.case.ours else "take"
        yield f"| {row.case.example.rule.id} | {which} | {ours} | {verdict(row)} | {said} | {row.seen.cpu_s:.1f} |"


def summary(rows: Sequence[Row], beyond: Sequence[Example]) -> Iterator[str]:
    """Which rules were shown by it, which cannot be, and where verdicts differ."""
    refused = {each.case.name: each.seen.refused for each in rows}
    pairs = [rule for rule in dict.fromkeys(each.case.example.rule.id for each in rows) if f"{rule} breaks" in refused]
    shown = [rule for rule in pairs if refused[f"{rule} breaks"] and refused.get(f"{rule} keeps") is False]
    both = [rule for rule in pairs if refused[f"{rule} breaks"] and refused.get(f"{rule} keeps")]
    yield f"* {len(rows)} launches, {len(shown)} rules shown: one example refused, the other not."
    yield f"* A CPU refuses both examples, the other one for another rule: {', '.join(both) or 'none'}."
    yield f"* Verdicts that differ: {', '.join(each.case.name for each in rows if not each.agrees) or 'none'}."
    yield from (f"* Not launched: {each.name}, which {each.beyond_a_cpu}." for each in beyond)


def main() -> int:
    """Launch what is not known yet. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the Python of an environment with vLLM for CPU")
    parser.add_argument("--only", default="", help="rules, with commas between them")
    parser.add_argument("--results", type=Path, default=Path("vllm-launches"), help="folder of what was seen")
    parser.add_argument("--table", action="store_true", help="print what is known; launch nothing")
    asked = parser.parse_args()
    version = installed(asked.python)
    only = set(filter(None, asked.only.split(",")))
    every = [each for each in examples(version) if not only or each.rule.id in only]
    wanted, results = [each for each in every if each.beyond_a_cpu is None], Results(asked.results, version)
    if not asked.table:
        launch_all([each for each in wanted if results.row(each) is None], results, asked.python)
    rows = [row for row in map(results.row, wanted) if row]
    beyond = [each for each in every if each.beyond_a_cpu]
    print(*table(rows), "", *summary(rows, beyond), sep="\n")
    return 0 if len(rows) == len(wanted) and all(row.agrees for row in rows) else 1


@contextmanager
def launcher_in(python: str, folder: Path) -> Iterator[Launcher]:
    """A launcher, always ended."""
    launcher = Launcher(python, folder)
    try:
        yield launcher
    finally:
        launcher.end()


if __name__ == "__main__":
    sys.exit(main())
