"""Runs a load client in a pod, and lets its worker read what it writes; nothing can be changed from outside.

    python3 in_pod.py HOST PORT FOLDER INPUT PATIENCE_S -- PROGRAM...

The program runs in FOLDER, which has what INPUT has. `GET /state` tells whether it has ended, and each file with its
size and its time; `GET /file?name=NAME&from=N&sum=CRC` gives a file without its first N bytes, if CRC is their
CRC-32, else all of it. It ends on SIGTERM, or when nobody has asked for PATIENCE_S seconds.

This text is sent to an image that has Python 3.8 or newer, and nothing of ours: it stands alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import parse_qs, urlsplit

CHUNK = 1 << 16
LOOK_S = 0.5
TAIL = 4000


class Run:
    """The program and its folder."""

    def __init__(self, folder: Path, argv: list[str]) -> None:
        self.folder = folder
        self.asked_at = time.monotonic()
        self._errors = folder / "stderr.txt"
        self._process: subprocess.Popen[bytes] | None = None
        with (folder / "stdout.txt").open("wb") as out, self._errors.open("wb") as err:
            try:
                self._process = subprocess.Popen(  # noqa: S603  the study's own, no shell
                    argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
                )
            except OSError as error:
                err.write(f"{argv[0]}: {error.strerror}\n".encode())

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 and the number of the signal that ended it; 127 where there is no such program."""
        if self._process is None:
            return 127
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def state(self) -> dict[str, object]:
        """What is known now. What it wrote before its end is there when its end is told."""
        code = self.exit_code
        return {"exit_code": code, "epoch_s": time.time() - time.monotonic(), "files": dict(self._files())}

    def _files(self) -> list[tuple[str, tuple[int, int]]]:
        """Plain files, by their path in the folder."""
        found = []
        for path in [Path(place) / name for place, _, names in os.walk(self.folder) for name in names]:
            with suppress(FileNotFoundError):  # it was there a moment ago
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    found.append((str(path.relative_to(self.folder)), (status.st_size, status.st_mtime_ns)))
        return found

    def path(self, name: str) -> Path | None:
        """A plain file of the folder; None for all else."""
        return self.folder / name if name in dict(self._files()) else None

    def last_words(self) -> str:
        """For whoever reads the pod's log."""
        return self._errors.read_bytes()[-TAIL:].decode(errors="replace")

    def end(self) -> None:
        """SIGKILL to all that it started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def handler_of(run: Run) -> type[BaseHTTPRequestHandler]:
    """What answers for a run."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            run.asked_at = time.monotonic()
            asked = urlsplit(self.path)
            if asked.path == "/state":
                self._tell(json.dumps(run.state()).encode())
            elif asked.path == "/file":
                self._give({name: values[0] for name, values in parse_qs(asked.query).items()})
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _tell(self, body: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _give(self, asked: dict[str, str]) -> None:
            path = run.path(asked.get("name", ""))
            if path is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                begin = begin_of(file.fileno(), int(asked.get("from", "0")), asked.get("sum", ""))
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Length", str(size - begin))
                self.send_header("X-From", str(begin))
                self.end_headers()
                for place in range(begin, size, CHUNK):
                    self.wfile.write(os.pread(file.fileno(), min(CHUNK, size - place), place))

        def log_message(self, *_: object) -> None:
            """Nothing: the pod's log is the program's."""

    return Handler


def begin_of(file: int, known: int, told: str) -> int:
    """How many bytes whoever asks has already: those that he says, if their sum is right."""
    total, place = 0, 0
    while place < known:
        data = os.pread(file, min(CHUNK, known - place), place)
        if not data:
            return 0
        total, place = zlib.crc32(data, total), place + len(data)
    return known if str(total) == told else 0


def main(arguments: list[str]) -> int:
    """Run the program, answer, and end as it did."""
    over = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    host, port, folder, given, patience_s = arguments[:5]
    for path in Path(given).iterdir():
        if path.is_file():
            shutil.copyfile(path, Path(folder) / path.name)
    run = Run(Path(folder), arguments[arguments.index("--") + 1 :])
    Thread(target=ThreadingHTTPServer((host, int(port)), handler_of(run)).serve_forever, daemon=True).start()
    said = False
    while not over.wait(LOOK_S) and time.monotonic() - run.asked_at < float(patience_s):
        if not said and run.exit_code is not None:
            said = True
            sys.stderr.write(f"{run.last_words()}\nthe program ended with code {run.exit_code}\n")
            sys.stderr.flush()
    run.end()
    return run.exit_code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
