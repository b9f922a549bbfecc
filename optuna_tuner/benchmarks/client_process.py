"""A load client that is another program: started in a session of its own, ended with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_tuner.client_site import STDERR, STDOUT, LoadClient, Program, Vantage
from optuna_tuner.clock import Deadline, epoch, now, poll
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError

if TYPE_CHECKING:
    import psutil

GRACE_S = 2.0
LONGEST_TAIL = 4000
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")  # ours, wrong for a client of its own


class Client:
    """A program that runs on this machine. Its output lies in two files of its folder."""

    waited_s = 0.0

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self.folder, stdout = folder, folder / STDOUT
        self.epoch_s = epoch() - now()
        inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        guard = [sys.executable, "-m", "optuna_tuner.benchmarks.client_guard", "--", *argv]
        with stdout.open("wb") as out, (folder / STDERR).open("wb") as err:
            self.started_at = stdout.stat().st_mtime
            self._process = subprocess.Popen(  # noqa: S603  an argv list from the study file, no shell
                guard, env={**inherited, **env}, stdin=subprocess.PIPE, stdout=out, stderr=err, start_new_session=True
            )

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """Make sure that neither it nor a child of it runs: SIGTERM, two seconds, SIGKILL."""
        import psutil  # noqa: PLC0415  checking a study file loads the benchmark and starts no client

        family = self._family()
        self._signal(signal.SIGTERM)
        poll(lambda: self.exit_code, Deadline.after(GRACE_S), every_s=0.02)
        self._signal(signal.SIGKILL)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
        psutil.wait_procs(family, timeout=GRACE_S)

    def _family(self) -> list[psutil.Process]:
        import psutil  # noqa: PLC0415  as above

        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def tail(client: LoadClient) -> str:
    """The end of what it said on standard error, else on standard output."""
    paths = [path for name in (STDERR, STDOUT) if (path := client.folder / name).exists()]
    texts = [ending(path, LONGEST_TAIL).decode(errors="replace").strip() for path in paths]
    return next((text for text in texts if text), "")


def ending(path: Path, most: int) -> bytes:
    """The last bytes of a file, which may be of any size."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read(most)


def vantage_of(target: Target, folder: Path) -> Vantage:
    """What a program with this folder calls the server and its folder, where it runs."""
    if target.site is not None:
        return target.site.vantage
    return Vantage(url=target.endpoint.url, folder=str(folder))


def started(program: Program, target: Target, folder: Path, deadline: Deadline) -> AbstractContextManager[LoadClient]:
    """Run the program while the context lasts, where the target wants it. Raises BenchmarkError when it cannot be."""
    for name, text in program.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return _started_here(program, folder) if target.site is None else target.site.started(program, folder, deadline)


@contextmanager
def _started_here(program: Program, folder: Path) -> Iterator[LoadClient]:
    try:
        client = Client(program.argv, program.env, folder)
    except OSError as error:
        raise BenchmarkError(f"{program.argv[0]} cannot be started: {error.strerror}") from error
    try:
        yield client
    finally:
        client.end()


def fresh_folder(parent: Path, name: str) -> Path:
    """A new, empty folder `name-1`, `name-2` ...: a report found in it can only be this run's."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + sum(1 for _ in parent.glob(f"{name}-*"))
    folder = parent / f"{name}-{number}"
    folder.mkdir()
    return folder
