"""What the chaos server and the chaos client write down, and the one-shot orders that they take.

Standard library only: both run as `python -I -S`, so that a trial costs some milliseconds.
"""

from __future__ import annotations

import json
import os
import time

EVENTS = "events.jsonl"
CONTROL = "control"
GPUS = "gpus"  # lock files of the oracle's own: whoever asks the fake NVML touches its files, but never these


def folder() -> str:
    """Where all of it lies."""
    return os.environ["CHAOS_FOLDER"]


def note(what: str, **data: object) -> None:
    """Append one event, as one write: lines of several processes never mix."""
    event = {"at": time.monotonic(), "pid": os.getpid(), "what": what, **data}
    out = os.open(f"{folder()}/{EVENTS}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(out, json.dumps(event).encode() + b"\n")
    finally:
        os.close(out)


def take(order: str, server: str) -> str | None:
    """The text of a control file, taken once: the one for this server, or else the one for anybody."""
    for name in (f"{order}.{server}", order):
        path = f"{folder()}/{CONTROL}/{name}"
        mine = f"{path}.taken-by-{os.getpid()}"
        try:
            os.rename(path, mine)  # noqa: PTH104  pathlib doubles the start-up
        except FileNotFoundError:
            continue
        with open(mine, encoding="utf-8") as file:  # noqa: PTH123  as above
            return file.read()
    return None
