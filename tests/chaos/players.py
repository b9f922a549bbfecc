"""Cases played side by side by forked processes, each of which counts its own descendants."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import traced_worker as traced

Case = TypeVar("Case")
Found = Mapping[str, Any]
SAY_EVERY = 100
SKIPPED = 77  # what a lane returns where its real thing cannot be had, as test drivers have it


def play_all(folder: Path, cases: Sequence[Case], jobs: int, play: Callable[[Case], Found]) -> list[Found]:
    """What `play` found of each case, as it came back from JSON; shorter than the cases where a player broke down.

    The caller must have no thread and no connection: players are forks of it, and inherit what is loaded.
    """
    files = [folder / f"results-{job}.jsonl" for job in range(jobs)]
    players = [_fork(cases[job::jobs], files[job], play) for job in range(jobs)]
    told = 0
    while players:
        time.sleep(0.5)
        players = [pid for pid in players if os.waitpid(pid, os.WNOHANG)[0] == 0]
        done = sum(file.read_bytes().count(b"\n") for file in files)
        if done >= told + SAY_EVERY:
            told = done
            say(f"  {done} of {len(cases)} played, load {os.getloadavg()[0]:.1f}")
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def _fork(cases: Sequence[Case], file: Path, play: Callable[[Case], Found]) -> int:
    file.touch()
    pid = os.fork()
    if pid:
        return pid
    traced.become_reaper()
    code = 1
    try:
        for case in cases:
            line = json.dumps(play(case)) + "\n"
            with file.open("a", encoding="utf-8") as out:
                out.write(line)
        code = 0
    except BaseException:  # noqa: BLE001  the fork must never return into the parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def say(text: str) -> None:
    """One line for people, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def words(folder: Path) -> str:
    """The last lines of all logs of a stage."""
    tails = [
        (log.name, log.read_text(errors="replace").splitlines()[-4:]) for log in sorted((folder / "logs").iterdir())
    ]
    return "; ".join(f"{name}: {' / '.join(lines)}" for name, lines in tails if lines)
