"""SIGTERM and SIGINT, heard from the first line of a process to its last, whatever its main thread does just then."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread, Timer, current_thread, main_thread
from types import FrameType

INTERRUPTED = 130
AT_ONCE_S = 25.0  # after the first signal: whatever holds the worker up, its devices are free within half a minute
NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Whether somebody asked this process to end, and who answers.

    Before anybody answers there is nothing to give back: a signal is then a KeyboardInterrupt in the main thread.
    """

    def __init__(self) -> None:
        self.asked = Event()
        self._lock = Lock()
        self._answer: Callable[[], None] | None = None

    @property
    def is_answered(self) -> bool:
        """Whether somebody ends the process gracefully."""
        return self._answer is not None

    def answer(self, end: Callable[[], None]) -> None:
        """From now on `end` is called, once, in a thread of its own; at once if somebody has asked already."""
        with self._lock:
            self._answer = end
            asked = self.asked.is_set()
        if asked:
            end()

    def ask(self) -> None:
        """Ask for the end. Again is fine."""
        with self._lock:
            first, end = not self.asked.is_set(), self._answer
            self.asked.set()
        if first and end is not None:
            end()


@contextmanager
def on_signals(at_once_s: float = AT_ONCE_S) -> Iterator[Interruption]:
    """The first SIGTERM or SIGINT asks for the end. The second ends the process at once, and so does time.

    Then the supervisors end the servers. Afterwards signals mean what they meant before. Outside the main thread,
    which alone may say what signals do, nothing changes.
    """
    interruption = Interruption()
    if current_thread() is not main_thread():
        yield interruption
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    thread = Thread(target=_listen, args=(reader, interruption, at_once_s), name="signals", daemon=True)
    # Heard by a thread: the main one may stand in a call that no signal reaches, or hold the lock that `end` needs.
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _handler(interruption)) for number in NUMBERS}
    thread.start()
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        thread.join()
        os.close(reader)


def _handler(interruption: Interruption) -> Callable[[int, FrameType | None], None]:
    def handle(_number: int, _frame: FrameType | None) -> None:
        if not interruption.is_answered:
            raise KeyboardInterrupt

    return handle


def _listen(reader: int, interruption: Interruption, at_once_s: float) -> None:
    """Return when the other end is closed."""
    timer = Timer(at_once_s, os._exit, (INTERRUPTED,))
    timer.daemon = True
    while byte := os.read(reader, 1):
        if byte[0] not in NUMBERS:
            continue
        if interruption.asked.is_set():
            os._exit(INTERRUPTED)
        timer.start()
        interruption.ask()
    timer.cancel()
