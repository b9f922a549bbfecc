"""What a container runtime does for one process: it ends with all of its descendants. `python -m ... COMMAND`.

SIGTERM is passed on, SIGUSR1 ends it at once. It exits as its command does, with 128 and the number of a signal that
killed it. It is no sandbox.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import psutil

_BECOME_REAPER, _END_WITH_PARENT = 36, 1  # of linux/prctl.h


def main(command: list[str]) -> int:
    """Run the command; return when nothing of it is left. Raises OSError where there is no such program."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_BECOME_REAPER, 1)
    prctl(_END_WITH_PARENT, signal.SIGKILL)
    told: list[signal.Signals] = []  # before there is somebody to tell
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object) -> None:
        told.append(signal.SIGKILL if number == signal.SIGUSR1 else signal.SIGTERM)
        for each in children:
            each.send_signal(told[-1])

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGUSR1, pass_on)
    child = subprocess.Popen(command, start_new_session=True)  # noqa: S603  what the test asked for
    children.append(child)
    for early in told:
        child.send_signal(early)
    code = child.wait()
    while psutil.Process().children():  # those that were hidden come to us, generation by generation
        for descendant in psutil.Process().children(recursive=True):
            descendant.kill()
        _reap()
    return code if code >= 0 else 128 - code


def _reap() -> None:
    try:
        os.wait()
    except ChildProcessError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
