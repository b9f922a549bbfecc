"""NVIDIA's aiconfigurator, as a program that is asked once, and what it predicts.

It needs no GPU: it adds up times of kernels that were measured on each kind of GPU. See
https://github.com/ai-dynamo/aiconfigurator.
"""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import EnvironmentFaultError

ASK_S = 600.0  # it takes 15 s to a minute on an idle machine
ASKED_FOR = 20  # configurations; some have no place in the study
LONGEST_LINE = 300  # characters of what is repeated
TAIL = 4096  # bytes of what it said, in which the last line is
BEST = "best_config_topn.csv"
LOG_PREFIX = re.compile(r"^\d\d:\d\d:\d\d (\[[^\]]*\] ?)+")
WITHOUT = "leave out prior to go on without it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Of what it shall be the best. `ttft_ms` and `tpot_ms` are the bounds that it keeps."""

    model: str
    system: str
    gpus: int
    backend: str
    input_tokens: int
    output_tokens: int
    ttft_ms: float
    tpot_ms: float
    best: int = ASKED_FOR

    def argv(self, program: Path, folder: Path) -> tuple[str, ...]:
        """The command that answers it in a folder."""
        said = {
            "model-path": self.model,
            "total-gpus": self.gpus,
            "system": self.system,
            "backend": self.backend,
            "serving-mode": "agg",  # one server, which does prefill and decode
            "isl": self.input_tokens,
            "osl": self.output_tokens,
            "ttft": f"{self.ttft_ms:g}",
            "tpot": f"{self.tpot_ms:g}",
            "top-n": self.best,
            "save-dir": folder,
        }
        options = (f"--{name}={value}" for name, value in said.items())  # a value is never taken for an option
        return (str(program), "cli", "default", *options, "--no-color")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One configuration, as a row of its table tells it; figures are of one replica, which has `gpus` GPUs."""

    gpus: int
    tp: int
    pp: int
    dp: int
    moe_tp: int
    moe_ep: int
    cp: int
    requests: int  # that a rank of `dp` runs at once
    requests_of_all: int  # that all its ranks run at once
    step_tokens: int  # of a rank, in one step
    prompt_tokens: int  # of a rank, in one step
    tok_s_gpu: float
    ttft_ms: float
    tpot_ms: float
    ran: str  # what was simulated, for people

    @classmethod
    def of(cls, row: Mapping[str, str]) -> Prediction:
        """A row. Raises KeyError, TypeError, ValueError or OverflowError for one that says something else."""
        return cls(
            gpus=_whole(row["num_total_gpus"]),
            tp=_whole(row["tp"]),
            pp=_whole(row["pp"]),
            dp=_whole(row["dp"]),
            moe_tp=_whole(row["moe_tp"]),
            moe_ep=_whole(row["moe_ep"]),
            cp=_whole(row.get("cp") or "1"),
            requests=_whole(row["bs"]),
            requests_of_all=_whole(row["global_bs"]),
            step_tokens=_whole(row["num_tokens"]),
            prompt_tokens=_whole(row["ctx_tokens"]),
            tok_s_gpu=float(row["tokens/s/gpu"]),
            ttft_ms=float(row["ttft"]),
            tpot_ms=float(row["tpot"]),
            ran=f"{row['backend']} {row['version']} on {row['system']}",
        )


def predictions(program: Path, question: Question, limit_s: float = ASK_S) -> tuple[Prediction, ...]:
    """Ask the program. It runs in a folder of its own, which is gone afterwards.

    Raises EnvironmentFaultError, with what it said last, when it fails, takes longer, or predicts nothing.
    """
    with TemporaryDirectory(prefix="optuna-tuner-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        code = _ran(question.argv(program, folder / "saved"), folder, limit_s)
        said = _last_line(folder / "said")
        if code is None:
            raise EnvironmentFaultError(
                f"{program} did not end within {limit_s:g} s, and was ended; it said last: {said}; {WITHOUT}"
            )
        if code:
            raise EnvironmentFaultError(f"{program} ended with exit code {code}: {said}; {WITHOUT}")
        table = next(iter(sorted((folder / "saved").rglob(BEST))), None)
        found = () if table is None else _read(table, program)
    if not found:
        raise EnvironmentFaultError(f"{program} predicted nothing; it said last: {said}; {WITHOUT}")
    return found


def _ran(argv: Sequence[str], folder: Path, limit_s: float) -> int | None:
    """Its exit code; None where it had to be ended. What it says lies in the folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPTUNA_TUNER_")}
    try:
        with (folder / "said").open("wb") as out:
            process = subprocess.Popen(  # noqa: S603  an argv list, no shell
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=env,
                start_new_session=True,
            )
    except OSError as error:
        raise EnvironmentFaultError(f"{argv[0]} cannot be started: {error.strerror}; {WITHOUT}") from error
    try:
        return poll(process.poll, Deadline.after(limit_s))
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_line(path: Path) -> str:
    """Without the time and the place in its source that its log puts before it."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        lines = file.read().decode(errors="replace").split("\n")
    last = next((each.strip() for each in reversed(lines) if each.strip()), "nothing")
    plain = "".join(each for each in LOG_PREFIX.sub("", last) if each.isprintable()).rstrip(" .:")
    return plain if len(plain) <= LONGEST_LINE else f"{plain[:LONGEST_LINE]}..."


def _read(table: Path, program: Path) -> tuple[Prediction, ...]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return tuple(map(Prediction.of, csv.DictReader(file)))
    except (KeyError, TypeError, ValueError, OverflowError, csv.Error) as error:
        why = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise EnvironmentFaultError(f"{program}: its {BEST} cannot be read: {why}; {WITHOUT}") from error


def _whole(text: str) -> int:
    return int(float(text))
