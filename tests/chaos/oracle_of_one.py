"""Whether anything of one attempt is left: processes, hold of GPUs, port, row. No line of the product is needed."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from aftermath import events_of, is_free
from raw_rows import RawDatabase


class Leftovers:
    """Of one attempt on a stage. What a later server of the same study holds is not its own."""

    def __init__(self, folder: Path, storage: str, attempt_id: str) -> None:
        self._folder, self._storage, self._attempt_id = folder, storage, attempt_id
        self._server = f"tuner-{attempt_id}"
        self._seed = str(zlib.crc32(attempt_id.encode())).encode()

    def processes_and_gpus(self) -> list[str]:
        """All of it that is left on this host."""
        return [*self._processes(), *self._gpus(), *self._ports()]

    def ended(self) -> bool:
        """Whether its row says so."""
        with closing(RawDatabase(self._storage)) as database:
            rows = database.ask(f"SELECT state FROM tuner_attempt WHERE id = '{self._attempt_id}'")  # noqa: S608  ours
        return bool(rows[0]["state"] == "ended")

    def _processes(self) -> Iterator[str]:
        mark = f"OPTUNA_TUNER_LEDGER={self._server}".encode()
        for name in os.listdir("/proc"):  # noqa: PTH208  four times as quick, and called all the time
            if not name.isdigit():
                continue
            with suppress(OSError):
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                if mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0") or self._is_client(words):
                    yield f"process {name}: {b' '.join(words[:8])!r}"

    def _is_client(self, words: list[bytes]) -> bool:
        return b"--seed" in words[:-1] and words[words.index(b"--seed") + 1] == self._seed

    def _gpus(self) -> Iterator[str]:
        for file in (self._folder / "gpus").iterdir():
            if file.read_text(encoding="utf-8").startswith(f"{self._server} ") and not is_free(file):
                yield f"{file.name} is still held"

    def _ports(self) -> Iterator[str]:
        ports = {event["port"]: event["server"] for event in events_of(self._folder) if event["what"] == "listening"}
        for port, server in ports.items():  # the last one that took it
            if server == self._server and _answers(port):
                yield f"port {port} is still open"


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True
