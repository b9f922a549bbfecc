"""A closed loop of clients before a simulated server, on a clock of its own: what `levels.py` works out, played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

from optuna_tuner.simulation.batch import Replica, Request
from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.values import Metrics


@dataclass(slots=True, eq=False)
class _Seen:
    """One request as its client sees it, in seconds."""

    began: float
    reply: int
    first: float | None = None
    ended: float = 0.0
    given: int = 0


@dataclass(slots=True, kw_only=True)
class ClosedLoop:
    """So many clients, each of whom sends the next request when the last one has ended.

    A client's next request comes when the next step has just begun, as over HTTP. Prompts are all of one length, and
    replies are spread as the traffic says; nothing of a prompt is shared.
    """

    replica: Replica
    traffic: Traffic
    clients: int
    requests: int
    seed: int = 0
    _now: float = 0.0
    _seen: list[_Seen] = field(default_factory=list)
    _idle: int = 0

    def play(self) -> Metrics:
        """Send all requests, and wait for the last one: means, by the names of the vocabulary."""
        random = Random(self.seed)  # noqa: S311  no secret
        self._idle = self.clients
        self._send(random)
        while (seconds := self.replica.begin()) is not None:
            self._send(random)
            self._now += seconds
            self.replica.end()
            if not len(self.replica):
                self._send(random)
        replies = sum(each.reply for each in self._seen)
        return {
            "ttft_ms.mean": 1e3 * fmean((each.first or 0.0) - each.began for each in self._seen),
            "tpot_ms.mean": 1e3 * fmean((each.ended - (each.first or 0.0)) / (each.reply - 1) for each in self._seen),
            "e2e_latency_ms.mean": 1e3 * fmean(each.ended - each.began for each in self._seen),
            "output_throughput_tok_s": replies / self._now,
        }

    def _send(self, random: Random) -> None:
        while self._idle and len(self._seen) < self.requests:
            self._idle -= 1
            mean = self.traffic.output_tokens
            seen = _Seen(self._now, max(round(random.gauss(mean, mean * self.traffic.output_spread)), 2))
            self._seen.append(seen)
            self.replica.add(Request(prompt=self.traffic.input_tokens, reply=seen.reply, tell=self._teller(seen)))

    def _teller(self, seen: _Seen) -> Callable[[int], None]:
        def tell(count: int) -> None:
            seen.first = self._now if seen.first is None else seen.first
            seen.given += count
            if seen.given == seen.reply:
                seen.ended = self._now
                self._idle += 1

        return tell
