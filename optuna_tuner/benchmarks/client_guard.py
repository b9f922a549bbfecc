"""Runs a load client that must not outlive its worker:  python -m optuna_tuner.benchmarks.client_guard -- ARGV...

The worker holds the other end of standard input. When it closes, for whatever reason, kill -9 included, everything in
this process group is killed: a client left alone would hammer a dead address and disturb the next trial's figures.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from threading import Thread


def main() -> int:
    """Run the command; return its exit code, or 128 and the number of the signal that ended it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # a handler, not SIG_IGN: the client must not inherit it
    Thread(target=_wait_for_the_worker, daemon=True).start()
    command = sys.argv[sys.argv.index("--") + 1 :]
    try:
        code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode  # noqa: S603  argv of a study
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return 127
    return code if code >= 0 else 128 - code


def _wait_for_the_worker() -> None:
    while os.read(0, 1):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
