"""Where the campaign plays: a home folder, fake GPUs, a study of light trials, and workers that a keeper starts again.

Nothing of the product is imported here: it is started as processes, as a user or a service manager would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from chaos_events import CONTROL, EVENTS, GPUS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAKE_NVML = ROOT / "optuna_tuner" / "testing" / "fake_nvml"
NAME = "chaos"
_CREATE = """
import json, sys
from optuna_tuner import Tuner
from optuna_tuner.spec.study import StudySpec
tuner = Tuner()
tuner.create(StudySpec.model_validate(json.load(open(sys.argv[1]))))
tuner.close()
"""


@dataclass(slots=True, kw_only=True)
class Stage:
    """One folder and one database; `study` makes the study, `Crew` works on it.

    `storage` is the database as the workers reach it (through a proxy, perhaps); the default is SQLite in the folder.
    `extra` are environment variables of all processes.
    """

    folder: Path
    storage: str = ""
    gpus: int = 8
    extra: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folders and the GPUs."""
        for name in ("home", CONTROL, GPUS, "fake_gpus", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for uuid in self.uuids:
            (self.folder / "fake_gpus" / uuid).touch()
        self.events.touch()
        self.storage = self.storage or f"sqlite:///{self.folder}/studies.db"

    @property
    def uuids(self) -> Sequence[str]:
        """The fake GPUs; slot gpu-N has the N-th."""
        return [f"GPU-fake-{number}" for number in range(self.gpus)]

    @property
    def events(self) -> Path:
        """What servers and clients wrote, one JSON object a line."""
        return self.folder / EVENTS

    @property
    def home(self) -> Path:
        """The product's home: locks, servers, artifacts."""
        return self.folder / "home"

    def environment(self) -> dict[str, str]:
        """Of every process of the product."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPTUNA_TUNER_")}
        return {
            **kept,
            "OPTUNA_TUNER_HOME": str(self.home),
            "OPTUNA_TUNER_STORAGE": self.storage,
            "OPTUNA_TUNER_FAKE_GPUS": str(self.folder / "fake_gpus"),
            "CHAOS_FOLDER": str(self.folder),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(FAKE_NVML), os.environ.get("PYTHONPATH", "")))),
            **self.extra,
        }

    def order(self, name: str, text: str = "") -> Path:
        """Leave a one-shot control file, complete or not at all: `flood.SERVER` or `lie.SERVER` and the like."""
        file = self.folder / CONTROL / name
        draft = file.with_name(f".{name}")
        draft.write_text(text, encoding="utf-8")
        return draft.rename(file)

    def study(self, trials: int, **changes: object) -> None:
        """Make the study in the database; `changes` replace whole sections of the file, or single limits."""
        document = study_document(trials, **changes)
        file = self.folder / "study.json"
        file.write_text(json.dumps(document, indent=1), encoding="utf-8")
        self._finish(sys.executable, "-c", _CREATE, str(file))

    def tuner(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end."""
        return self._finish(program(), *arguments, check=check)

    def _finish(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, env=self.environment(), check=False, text=True, capture_output=True)
        if check and done.returncode:
            raise ChildProcessError(f"{command[:3]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done

    def spawn(self, log: str, *arguments: str, extra: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the command line; its words are appended to logs/LOG."""
        with (self.folder / "logs" / log).open("ab") as out:
            return subprocess.Popen(
                [program(), *arguments],
                env=self.environment() | dict(extra or {}),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


def program() -> str:
    """The command `optuna-tuner` of this Python's environment."""
    return str(Path(sys.executable).with_name("optuna-tuner"))


def study_document(trials: int, **changes: object) -> Mapping[str, object]:
    """A study whose trials take about two seconds of waiting and little of the CPU."""
    python = [sys.executable, "-I", "-S"]
    limits = {"startup_s": 30, "warm_up_s": 30, "benchmark_s": 30, "teardown_s": 5}
    campaign = {"lease_s": 6, "same_fault": 1000, "tries": 3}
    document: dict[str, Any] = {
        "name": NAME,
        "model": {"name": "chaos"},
        "engine": {"kind": "fake", "command": [*python, str(HERE / "chaos_server.py")]},
        "deployer": {"kind": "local", "inherit_env": ["CHAOS_*", "OPTUNA_TUNER_FAKE_GPUS"], "grace_s": 2},
        "benchmark": {
            "kind": "script",
            "command": [*python, str(HERE / "chaos_client.py"), "--url", "{url}", "--seed", "{seed}"],
            "metrics": ["score", "error_rate"],
        },
        "space": {
            "x": {"type": "int", "low": 1, "high": 1_000_000},
            "y": {"type": "float", "low": 0.0, "high": 1.0},
        },
        "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
        "sampler": {"kind": "random"},
        "budget": {"trials": trials},
        "limits": limits | campaign,
    }
    for name, value in changes.items():
        if name in {*limits, *campaign}:
            document["limits"][name] = value
        else:
            document[name] = value
    return document


@dataclass(slots=True)
class Member:
    """One place in the crew, and the worker that fills it now."""

    slot: str
    process: subprocess.Popen[bytes]
    started_at: float
    exits: list[int] = field(default_factory=list)


class Crew:
    """Workers on slots gpu-0, gpu-1 ..., each started again for ever when it ends, as a service manager does.

    Call `tend` again and again. It never waits.
    """

    pause_s = 0.3  # between an end and the next start

    def __init__(self, stage: Stage, study: str = NAME) -> None:
        self._stage, self._study = stage, study
        self.members: list[Member] = []
        self.extra: dict[str, str] = {}  # environment of workers that are started from now on

    def start(self, workers: int) -> None:
        """Fill the first so many slots."""
        self.members += [self._member(f"gpu-{number}") for number in range(workers)]

    def _member(self, slot: str) -> Member:
        return Member(slot, self._spawn(slot), time.monotonic())

    def _spawn(self, slot: str) -> subprocess.Popen[bytes]:
        return self._stage.spawn(f"{slot}.log", "worker", self._study, "--slot", slot, extra=self.extra)

    def tend(self) -> None:
        """Start again whoever has ended."""
        for member in self.members:
            code = member.process.poll()
            if code is None or time.monotonic() < member.started_at + self.pause_s:
                continue
            member.exits.append(code)
            member.process, member.started_at = self._spawn(member.slot), time.monotonic()

    @property
    def pids(self) -> Sequence[int]:
        """Of those that live."""
        return [member.process.pid for member in self.members if member.process.poll() is None]

    def end(self, patience_s: float = 30.0) -> None:
        """SIGTERM to all, and SIGKILL to those that have not ended after so long."""
        for member in self.members:
            with suppress(ProcessLookupError):
                os.kill(member.process.pid, signal.SIGCONT)
            member.process.terminate()
        for member in self.members:
            with suppress(subprocess.TimeoutExpired):
                member.process.wait(patience_s)
            member.process.kill()
            member.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
