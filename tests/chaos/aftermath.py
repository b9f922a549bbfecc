"""What is left when a study on a stage is over: raw rows, processes, locks. Nothing of the product is imported.

`faults` adds to the judge's laws that nothing is left behind, and that the end is the one that there must be: each
trial of the budget has one outcome, of its own measurement, whatever was killed on the way.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from checker import Memory, Snapshot, judge, outcome_of
from raw_rows import RawDatabase, is_repeat

PATIENCE_S = 5.0  # from the last worker's end until nothing is left
TRIES = 3
COMPLETE, CANCELLED = ("complete", None), ("fail", "cancelled")


def faults(storage: str, folder: Path, kinds: Mapping[str, int], cancelled: int = 0) -> list[str]:
    """All laws that are broken. `kinds` says how many trials of which kind there must be; `cancelled`, how many of them
    may end by a cancellation. Waits a little for processes that are just ending.
    """
    with closing(RawDatabase(storage)) as database:
        snapshot = database.snapshot()
    broken = judge(snapshot, events_of(folder), Memory(), TRIES)
    attempts = [str(attempt["id"]) for attempt in snapshot["attempts"]]
    return [
        *map(str, broken),
        *end_state(snapshot, kinds, cancelled),
        *until_none(lambda: list(left_behind(folder, attempts))),
    ]


def end_state(snapshot: Snapshot, kinds: Mapping[str, int], cancelled: int) -> Iterator[str]:
    """Each trial of the budget is one chain of tries: the last is its outcome, all before it were lost.

    A chain that ends as a repeat of another trial is none of the budget's.
    """
    again = {attempt["retry_of"]: attempt for attempt in snapshot["attempts"] if attempt["retry_of"]}
    found = Counter(attempt["kind"] for attempt in snapshot["attempts"] if not attempt["retry_of"])
    found.subtract(attempt["kind"] for attempt in snapshot["attempts"] if is_repeat(attempt))
    if found != kinds:
        yield f"trials {dict(found)}, wanted {dict(kinds)}"
    last: Counter[tuple[str, str | None]] = Counter()
    for attempt in snapshot["attempts"]:
        outcome = outcome_of(attempt)
        end = (str(outcome.get("verdict")), outcome.get("cause"))
        if attempt["id"] not in again:
            last[end] += not is_repeat(attempt)
            continue
        after = again[attempt["id"]]
        if end != ("fail", "worker_lost"):
            yield f"attempt {attempt['id']} was repeated although it ended by {end}"
        if (after["tries"], after["kind"]) != (attempt["tries"] + 1, attempt["kind"]):
            yield f"attempt {after['id']} is {after['kind']} and try {after['tries']} after try {attempt['tries']}"
    if last[CANCELLED] > cancelled or last[COMPLETE] + last[CANCELLED] != sum(kinds.values()):
        yield f"the trials ended as {dict(last)}"
    yield from _repeated_events(snapshot)


def _repeated_events(snapshot: Snapshot) -> Iterator[str]:
    counted = Counter((event["attempt_id"], event["kind"]) for event in snapshot["events"])
    for (attempt_id, kind), times in counted.items():
        if kind != "phase" and times > 1:
            yield f"attempt {attempt_id} has {times} events {kind}"


def events_of(folder: Path) -> list[Mapping[str, Any]]:
    """What servers and clients wrote."""
    return [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def until_none(look: Callable[[], list[str]], seconds: float = PATIENCE_S) -> list[str]:
    """What is still found after so long."""
    end = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def left_behind(folder: Path, attempts: Sequence[str]) -> Iterator[str]:
    """Processes of this stage, locks that somebody holds, folders of servers, GPUs in quarantine."""
    for pid, name in processes(folder, attempts):
        yield f"process {pid} still lives: {name}"
    files = [*(folder / "home" / "locks").glob("*"), *(folder / "gpus").glob("*"), *(folder / "fake_gpus").glob("*")]
    for file in files:
        if file.suffix == ".quarantine":
            yield f"{file.name}: {file.read_text(encoding='utf-8')}"
        elif file.suffix != ".holder" and not is_free(file):
            yield f"somebody still holds {file.name}"
    yield from (f"the folder of server {each.name} is still there" for each in (folder / "home" / "servers").glob("*"))


def is_free(file: Path) -> bool:
    """Whether nobody holds this lock file."""
    handle = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def processes(folder: Path, attempts: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Living processes whose environment names this stage's home or one of its attempts: supervisor, server, client."""
    marks = {f"OPTUNA_TUNER_HOME={folder}/home".encode()}
    marks |= {f"OPTUNA_TUNER_LEDGER=tuner-{attempt}".encode() for attempt in attempts}
    for name in os.listdir("/proc"):  # noqa: PTH208  four times as quick, and called all the time
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            if not marks.isdisjoint(Path(f"/proc/{name}/environ").read_bytes().split(b"\0")):
                words = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield int(name), words[:200]
