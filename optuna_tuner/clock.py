"""Deadlines and waiting: the only file that sleeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import TypeVar

from optuna_tuner.errors import StoppedError

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock, and a flag by which others end the wait early.

    It is passed down; nobody below restarts a time-out.
    """

    at: float
    stopped: Event = field(default_factory=Event)

    @classmethod
    def after(cls, seconds: float, stopped: Event | None = None) -> Deadline:
        """A deadline so many seconds from now."""
        return cls(time.monotonic() + seconds, stopped or Event())

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and so many seconds from now; ended by the same flag."""
        return Deadline(min(self.at, time.monotonic() + seconds), self.stopped)

    def later(self, seconds: float) -> Deadline:
        """So many seconds later, for time that went by before the work could begin; ended by the same flag."""
        return Deadline(self.at + seconds, self.stopped)

    @property
    def left_s(self) -> float:
        """Seconds left, zero when it has passed."""
        return max(0.0, self.at - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left_s == 0.0

    def check(self) -> None:
        """Raise StoppedError if somebody asked for the end."""
        if self.stopped.is_set():
            raise StoppedError("asked to stop")


def poll(look: Callable[[], Found | None], deadline: Deadline, every_s: float = 0.1) -> Found | None:
    """Call `look` until it returns something or the deadline passes (then None). Raises StoppedError when asked to."""
    while True:
        deadline.check()
        found = look()
        if found is not None or deadline.passed:
            return found
        deadline.stopped.wait(min(every_s, deadline.left_s))


def now() -> float:
    """Seconds on the monotonic clock; only differences mean anything."""
    return time.monotonic()


def epoch() -> float:
    """Seconds since 1970 (UTC) by the wall clock, which may be set at any moment: for people, never for durations."""
    return time.time()
