"""One load level of one server: the equilibrium of its queue, and what clients see of it.

Closed loop: requests in flight = rate x time in the system (J. D. C. Little, 1961). Open loop: the wait for one of c
places is Sakasegawa's approximation of M/M/c (H. Sakasegawa, "An approximation formula Lq = a b^r / (1-r)", 1977).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from optuna_tuner.simulation.pace import Fit, Pace, fit, most_decoding, pace
from optuna_tuner.simulation.server import Prefill, Server
from optuna_tuner.simulation.steps import Steps
from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.values import Load, LoadKind, Metrics

ROUNDS = 2  # of the closed loop's fixed point, which moves little after them
HALVINGS = 14  # of the open loop's interval
FULL = 0.995  # share of the highest rate above which a queue is taken to grow
TAIL = 4.6  # an exponential time's 99th percentile over its mean: ln 100
DEVIATIONS = 2.33  # a normal one's distance from its mean, in standard deviations
TO_P95 = 0.62  # of the way from the mean to the 99th percentile: between a normal and an exponential time's
UNFAIR = 1.25  # wait of the last over the mean, where requests overtake each other
FIRST_ROUND = 0.3  # of the requests that a level begins with; load clients start them one after another
GONE = 0.25  # of its wait and its reply that a request does again when it loses its place
RARE = 0.01  # what the 99th percentile does not see
NAMES = {
    name: (f"{name}.mean", f"{name}.p95", f"{name}.p99") for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2e_latency_ms")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a load client measures. `seconds`: how long the level took."""

    load: Load
    metrics: Metrics
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A group at rest. Times in seconds; `rate` in requests a second of this group."""

    found: Fit
    pace: Pace
    rate: float
    wait: float
    last_wait: float
    first_round: float = 0.0


class Group:
    """One group of a server under this traffic, at rest under each load: all groups and replicas do as it does."""

    def __init__(self, steps: Steps, server: Server, traffic: Traffic) -> None:
        self._steps, self._server, self._traffic = steps, server, traffic
        self._in_steps = traffic.output_tokens / steps.accepted
        self._settled: dict[Fit, Pace] = {}

    def level(self, value: float) -> Level:
        """The whole server under one load: so many requests in flight, or so many a second."""
        traffic, groups = self._traffic, float(self._server.groups * self._server.replicas)
        closed = traffic.load is LoadKind.CONCURRENCY
        at_work = min(groups, value) if closed else groups
        state = self._closed(value / at_work) if closed else self._open(value / at_work)
        rate = state.rate * at_work
        seconds = traffic.requests * value / rate + state.first_round if closed else traffic.requests
        return Level(
            load=Load(kind=traffic.load, value=value),
            metrics=self._seen(state, rate),
            seconds=seconds + self._in_steps * state.pace.step_s,
        )

    def _pace(self, found: Fit, decoding: float) -> Pace:
        return pace(self._steps, self._server, self._traffic, found, decoding)

    def _rate(self, now: Pace) -> float:
        return now.decoding / (self._in_steps * now.step_s)

    def _closed(self, wanted: float) -> _State:
        found = fit(self._server, self._traffic, wanted)
        if found not in self._settled:
            self._settled[found] = self._settle(found)
        now = self._settled[found]
        rate = self._rate(now)
        waiting = wanted - found.running + max(found.running - now.decoding - rate * now.prompt_s, 0.0)
        tokens = found.running * found.prompt_tokens
        piece = min(tokens, self._server.step_tokens)
        return _State(
            found=found,
            pace=now,
            rate=rate,
            wait=waiting / rate,
            last_wait=waiting / rate * UNFAIR,
            first_round=FIRST_ROUND * tokens / piece * self._steps.time(0.0, piece, self._traffic.input_tokens),
        )

    def _settle(self, found: Fit) -> Pace:
        """Those that run are either at their prompts or decode."""
        decoding = most = most_decoding(self._steps, self._server, self._traffic, found)
        for _ in range(ROUNDS):
            now = self._pace(found, decoding)
            replying = self._in_steps * now.step_s
            decoding = min(most, found.running * replying / (replying + now.prompt_s))
        return self._pace(found, decoding)

    def _open(self, wanted: float) -> _State:
        """Requests that arrive by themselves: faster than they can go, they make the queue grow until the end."""
        full = fit(self._server, self._traffic, float(self._server.slots))
        most = most_decoding(self._steps, self._server, self._traffic, full)
        now = self._pace(full, most)
        highest = self._rate(now)
        if wanted >= FULL * highest:
            grown = self._traffic.requests * max(1 - highest / wanted, 1 - FULL)
            return _State(found=full, pace=now, rate=highest, wait=grown / 2, last_wait=grown)
        low, high = 0.0, most
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._rate(self._pace(full, middle)) < wanted else (low, middle)
        found = fit(self._server, self._traffic, high + wanted * self._pace(full, high).prompt_s)
        now = self._pace(found, high)
        load = wanted / highest
        wait = self._in_steps * now.step_s / most * load ** (sqrt(2 * (most + 1)) - 1) / (1 - load)
        return _State(found=found, pace=now, rate=wanted, wait=wait, last_wait=TAIL * wait)

    def _seen(self, state: _State, rate: float) -> Metrics:
        now, found, replies = state.pace, state.found, self._traffic.output_tokens
        token_s = now.step_s / self._steps.accepted
        busy = min(now.busy, FULL)
        behind = min(busy / (2 * (1 - busy)), found.running) * now.prompt_s  # other prompts: the wait of M/D/1
        behind_most = min(TAIL * behind, found.running * now.prompt_s)
        held = (self._server.held_steps - 1) * now.step_s / 2
        first = now.prompt_s + behind + state.wait + held
        last = max(now.prompt_s + behind_most, state.first_round) + state.last_wait + 2 * held
        again = now.prompt_s + behind + (state.wait + replies * token_s) * GONE
        each = token_s + found.lost * again / replies
        slow = each + self._slowed(state) + min(found.lost / RARE, 1.0) * again / replies
        return {
            **_spread("ttft_ms", first, last),
            **_spread("tpot_ms", each, slow),
            **_spread("itl_ms", now.step_s, now.long_s if now.long_share > RARE else now.short_s),
            **_spread(
                "e2e_latency_ms", first + replies * each, last + replies * (1 + self._traffic.output_spread) * slow
            ),
            "output_throughput_tok_s": rate * replies,
            "input_throughput_tok_s": rate * self._traffic.input_tokens,
            "total_throughput_tok_s": rate * (replies + self._traffic.input_tokens),
            "request_rate_req_s": rate,
        }

    def _slowed(self, state: _State) -> float:
        """How much slower the slowest of a hundred replies is, a token: it meets more prompts, or the first round's."""
        now = state.pace
        longer = now.long_s - now.short_s
        by_chance = DEVIATIONS * sqrt(now.long_share / self._in_steps) * longer
        apart = self._server.prefill is Prefill.APART
        met = state.first_round if apart else state.first_round * longer / now.long_s
        return max(by_chance, met / self._in_steps) / self._steps.accepted


def _spread(name: str, mean: float, p99: float) -> dict[str, float]:
    p99 = max(mean, p99)
    return dict(zip(NAMES[name], (1e3 * mean, 1e3 * (mean + TO_P95 * (p99 - mean)), 1e3 * p99), strict=True))
