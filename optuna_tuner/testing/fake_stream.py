"""How the fake server shall act, and its slots: each token leaves at an absolute time of the event loop's clock."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

LOGPROB = -0.5  # of a token, in nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How one fake server shall act. Times in seconds; `misbehave` maps a name to its number."""

    model: str = "fake"
    host: str = "127.0.0.1"
    port: int = 0
    ttft_s: float = 0.05
    itl_s: float = 0.005
    start_s: float = 0.0
    slots: int = 0  # 0: no limit
    eos_after: int = 256
    logprobs: str = "give"  # or "ignore", or "refuse": what becomes of a request for them
    record: str = ""  # file to which each prompt is appended as one line of JSON
    misbehave: Mapping[str, float] = field(default_factory=dict)

    def strikes(self, name: str, count: int) -> bool:
        """Whether the count-th request (from 1) is one of the share that `name` spoils, spread evenly."""
        share = self.misbehave.get(name, 0.0)
        return int(count * share) > int((count - 1) * share)


class Pace:
    """Slots for requests, and how late tokens really left."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slots: int) -> None:
        self.loop = loop
        self._free = slots or None
        self._waiting: deque[Callable[[], None]] = deque()
        self.running = 0
        self.tokens = 0
        self.late_sum_s = 0.0
        self.late_max_s = 0.0
        self.late_over_1_ms = 0

    def enter(self, start: Callable[[], None]) -> None:
        """Call `start` as soon as a slot is free: at once, or when those before it have left."""
        if self._free == 0:
            self._waiting.append(start)
            return
        self.running += 1
        if self._free is not None:
            self._free -= 1
        start()

    def leave(self, start: Callable[[], None], *, entered: bool) -> None:
        """Give the slot to the next in the queue, or forget one that never got a slot."""
        if not entered:
            self._waiting.remove(start)
        elif self._waiting:
            self._waiting.popleft()()
        else:
            self.running -= 1
            if self._free is not None:
                self._free += 1

    @property
    def waiting(self) -> int:
        """Requests that have no slot yet."""
        return len(self._waiting)

    def left(self, due: float) -> None:
        """Note that the token due at `due` was handed to the socket now."""
        late = self.loop.time() - due
        self.tokens += 1
        self.late_sum_s += late
        self.late_max_s = max(self.late_max_s, late)
        self.late_over_1_ms += late > 0.001  # noqa: PLR2004  the promise is one millisecond

    def stats(self) -> dict[str, float]:
        """How late tokens left, in milliseconds."""
        return {
            "tokens": self.tokens,
            "late_ms_mean": 1000 * self.late_sum_s / max(1, self.tokens),
            "late_ms_max": 1000 * self.late_max_s,
            "late_over_1_ms": self.late_over_1_ms,
        }
