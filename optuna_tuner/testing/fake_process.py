"""The fake server as a child process, for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from optuna_tuner.values import Endpoint

MODEL = "fake"


@contextmanager
def fake_server(*arguments: str) -> Iterator[Endpoint]:
    """A fake server that is ready, on a port of its own; killed at the end."""
    argv = [sys.executable, "-m", "optuna_tuner.testing.fake_server", "--model", MODEL, *arguments]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603  ours
        try:
            yield Endpoint(url=_url(process), model=MODEL)
        finally:
            process.kill()


def _url(process: subprocess.Popen[str]) -> str:
    said = process.stdout.readline() if process.stdout else ""
    ready = process.stdout.readline() if process.stdout else ""
    if not ready:
        raise RuntimeError(f"the fake server did not start: {said!r}")
    return said.split()[-1]
