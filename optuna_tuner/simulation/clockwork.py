"""Batches in time: each step ends when the model says, on the event loop's clock, and tokens leave with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from optuna_tuner.simulation.batch import Group, Replica, Request


class Clockwork:
    """Drives one replica. A step begins when the one before it was due to end, so that lateness does not add up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, replica: Replica) -> None:
        self._loop, self._replica = loop, replica
        self._runs = False
        self.late_max_s = 0.0  # between the time at which a step was due to end and the time at which it was ended

    def __len__(self) -> int:
        return len(self._replica)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The replica's."""
        return self._replica.groups

    def add(self, request: Request) -> Callable[[], None]:
        """Put a request in the queue; what is returned takes it out again when nobody waits for it any more."""
        group = self._replica.add(request)
        if not self._runs:
            self._begin(self._loop.time())
        return lambda: group.forget(request)

    def _begin(self, at: float) -> None:
        seconds = self._replica.begin()
        self._runs = seconds is not None
        if seconds is not None:
            self._loop.call_at(at + seconds, self._end, at + seconds)

    def _end(self, due: float) -> None:
        self.late_max_s = max(self.late_max_s, self._loop.time() - due)
        self._replica.end()
        self._begin(due)


class Servers:
    """Replicas that share nothing but the queue before them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, replicas: Sequence[Replica]) -> None:
        self._all = tuple(Clockwork(loop, replica) for replica in replicas)

    def add(self, request: Request) -> Callable[[], None]:
        """Give the request to the one with the fewest; as `Clockwork.add`."""
        return min(self._all, key=len).add(request)

    @property
    def running(self) -> int:
        """Requests that have a place in a KV cache."""
        return sum(len(group.running) for each in self._all for group in each.groups)

    @property
    def waiting(self) -> int:
        """Requests that have none."""
        return sum(len(group.waiting) for each in self._all for group in each.groups)

    @property
    def retracted(self) -> int:
        """How often a request has lost its place."""
        return sum(group.retracted for each in self._all for group in each.groups)

    @property
    def use(self) -> float:
        """Share of the fullest KV cache that is in use, 0 to 1."""
        return max(group.use for each in self._all for group in each.groups)

    @property
    def tokens(self) -> int:
        """Tokens that were generated."""
        return sum(group.tokens for each in self._all for group in each.groups)

    @property
    def late_max_s(self) -> float:
        """The latest end of a step."""
        return max(each.late_max_s for each in self._all)
