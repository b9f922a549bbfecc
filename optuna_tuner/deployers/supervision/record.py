"""What a supervisor and everybody else know of one server: two small files in the server's folder."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

from optuna_tuner.deployers.supervision.processes import Process

MARKER = "OPTUNA_TUNER_LEDGER"  # environment variable: the server's name
LABELS = "OPTUNA_TUNER_LABELS"  # environment variable: its labels, as JSON
REQUEST = "request.json"
_RECORD = "state.json"
_GRACE = "stop.json"
_NOBODY = Process(0, 0)


class Record(NamedTuple):
    """A server's life so far. Only the supervisor writes it."""

    supervisor: Process
    port: int
    main: Process = _NOBODY
    seen: tuple[Process, ...] = ()  # the rest of the tree when it was last looked at
    exit_code: int | None = None  # of the main process; minus the signal's number when a signal killed it
    ended_by: str = ""  # see supervisor.py; empty while nothing has ended it
    detail: str = ""

    @property
    def everybody(self) -> tuple[Process, ...]:
        """All processes that belong to the server."""
        return tuple(process for process in (self.supervisor, self.main, *self.seen) if process.pid)


def write_record(folder: str, record: Record) -> None:
    """Replace the record as a whole. Raises OSError, FileNotFoundError when the folder was taken away."""
    write(folder, _RECORD, json.dumps(record._asdict()))


def read_record(folder: str) -> Record | None:
    """The record; None before the supervisor has written it, when it is gone, and when a power cut emptied it."""
    text = _read(folder, _RECORD)
    if not text:
        return None
    fields = json.loads(text)
    fields["seen"] = tuple(Process(*process) for process in fields["seen"])
    return Record(**{**fields, "supervisor": Process(*fields["supervisor"]), "main": Process(*fields["main"])})


def ask_to_stop(folder: str, grace_s: float) -> None:
    """Leave word how gently the server shall be stopped; the signal comes after it."""
    write(folder, _GRACE, json.dumps(grace_s))


def asked_grace_s(folder: str) -> float | None:
    """How gently somebody wants the server to be stopped; None when nobody asked."""
    text = _read(folder, _GRACE)
    return None if text is None else float(json.loads(text))


def write(folder: str, name: str, text: str) -> None:
    """Write a file of the server's folder so that nobody reads half of it."""
    draft = f"{folder}/{name}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8") as file:  # noqa: PTH123  pathlib doubles the start-up
        file.write(text)
    os.replace(draft, f"{folder}/{name}")  # noqa: PTH105  pathlib doubles the start-up


def _read(folder: str, name: str) -> str | None:
    try:
        with open(f"{folder}/{name}", encoding="utf-8") as file:  # noqa: PTH123  pathlib doubles the start-up
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
