"""What true figures of one load level never say: relations between metrics, whoever reports them.

Only metrics of the vocabulary that are there are judged. Each relation holds exactly for true figures; `SLACK` is for
clients that round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from optuna_tuner.metrics import DISTRIBUTIONS, STATISTICS

ROUNDING = 1e-6
SLACK = 0.01
BUSY_SLACK = 0.05  # a client may take its duration a little shorter than its requests were under way
PERCENTILES = {name: float(name.removeprefix("p")) / 100 for name in STATISTICS if name != "mean"}
NEVER_ZERO = (
    *(f"{name}.{statistic}" for name in ("ttft_ms", "e2e_latency_ms") for statistic in STATISTICS),
    "input_throughput_tok_s",
    "output_throughput_tok_s",
    "total_throughput_tok_s",
    "request_rate_req_s",
    "completed_requests",
    "duration_s",
)

Metrics = Mapping[str, float]


def contradiction(metrics: Metrics, users: float | None = None) -> str:
    """What cannot be true of these finite metrics; empty when nothing is found.

    `users`: so many requests at most were in flight at any time; None where that is not known.
    """
    checks: tuple[Callable[[Metrics], Iterator[str]], ...] = (_zeros, _order, _means, _times, _counts, _rates, _tokens)
    found = (said for check in checks for said in check(metrics))
    return next(found, "") or _crowd(metrics, users)


def overlong(metrics: Metrics, elapsed_s: float) -> str:
    """Which time is longer than the client ran at all; empty when none is."""
    limit_s = elapsed_s * (1 + SLACK)
    if metrics.get("duration_s", 0.0) > limit_s:
        return f"a duration of {metrics['duration_s']:g} s, of a client that ran for {elapsed_s:.3f} s"
    late = [name for name in _latencies(metrics) if metrics[name] / 1000 > limit_s]
    return f"{late[0]} = {metrics[late[0]]:g}, of a client that ran for {elapsed_s:.3f} s" if late else ""


def _latencies(metrics: Metrics) -> Iterator[str]:
    names = (f"{name}.{statistic}" for name in DISTRIBUTIONS for statistic in STATISTICS)
    return (name for name in names if name in metrics)


def _zeros(metrics: Metrics) -> Iterator[str]:
    return (f"{name} is zero" for name in NEVER_ZERO if metrics.get(name) == 0)


def _order(metrics: Metrics) -> Iterator[str]:
    for name in DISTRIBUTIONS:
        values = [metrics[key] for each in PERCENTILES if (key := f"{name}.{each}") in metrics]
        if any(high < low * (1 - ROUNDING) for low, high in pairwise(values)):
            yield f"the percentiles of {name} fall: {values}"


def _means(metrics: Metrics) -> Iterator[str]:
    """A share of 1 - p of all values is at least the percentile p, so the mean cannot be far below that."""
    for name in DISTRIBUTIONS:
        mean = metrics.get(f"{name}.mean", math.inf)
        for each, share in PERCENTILES.items():
            if mean < 0.9 * (1 - share) * metrics.get(f"{name}.{each}", 0.0):
                yield f"the mean of {name} is {mean:g}, too low for its {each} of {metrics[f'{name}.{each}']:g}"


def _times(metrics: Metrics) -> Iterator[str]:
    """The first token comes before the end, and every request lies within the level."""
    for each in STATISTICS:
        first, end = metrics.get(f"ttft_ms.{each}", 0.0), metrics.get(f"e2e_latency_ms.{each}", math.inf)
        if first > end * (1 + SLACK):
            yield f"ttft_ms.{each} is {first:g}, and the whole request's {end:g}"
    limit_ms = 1000 * metrics.get("duration_s", math.inf) * (1 + SLACK)
    for name in _latencies(metrics):
        if metrics[name] > limit_ms:
            yield f"{name} is {metrics[name]:g}, longer than the level's {metrics['duration_s']:g} s"


def _counts(metrics: Metrics) -> Iterator[str]:
    """Requests are counted in whole numbers, and the error rate is their quotient."""
    for name in ("completed_requests", "failed_requests"):
        if metrics.get(name, 0.0) % 1:
            yield f"{name} is {metrics[name]:g}"
    if all(name in metrics for name in ("completed_requests", "failed_requests", "error_rate")):
        failed, completed = metrics["failed_requests"], metrics["completed_requests"]
        if not math.isclose(metrics["error_rate"], failed / max(1.0, failed + completed), abs_tol=SLACK):
            rate = metrics["error_rate"]
            yield f"an error rate of {rate:g}, with {failed:g} of {failed + completed:g} requests failed"


def _rates(metrics: Metrics) -> Iterator[str]:
    if all(name in metrics for name in ("request_rate_req_s", "completed_requests", "duration_s")):
        per_second, completed, seconds = (
            metrics[name] for name in ("request_rate_req_s", "completed_requests", "duration_s")
        )
        if not math.isclose(per_second * seconds, completed, rel_tol=SLACK):
            yield f"{completed:g} requests in {seconds:g} s are not {per_second:g} a second"
    good, all_of_them = metrics.get("goodput_req_s", 0.0), metrics.get("request_rate_req_s", math.inf)
    if good > all_of_them * (1 + SLACK):
        yield f"{good:g} good requests a second of {all_of_them:g} in all"


def _tokens(metrics: Metrics) -> Iterator[str]:
    parts = ("input_throughput_tok_s", "output_throughput_tok_s", "total_throughput_tok_s")
    if all(name in metrics for name in parts):
        tokens_in, tokens_out, total = (metrics[name] for name in parts)
        if not math.isclose(tokens_in + tokens_out, total, rel_tol=SLACK):
            yield f"input and output throughput do not add up: {tokens_in} + {tokens_out}, not {total}"
    tokens, requests = metrics.get("output_throughput_tok_s", math.inf), metrics.get("request_rate_req_s", 0.0)
    if tokens < requests * (1 - SLACK):
        yield f"{tokens:g} output tokens a second, of {requests:g} requests a second"


def _crowd(metrics: Metrics, users: float | None) -> str:
    """Little's law: requests in flight, on average, are their rate times their latency."""
    rate, latency_ms = metrics.get("request_rate_req_s", 0.0), metrics.get("e2e_latency_ms.mean", 0.0)
    in_flight = rate * latency_ms / 1000
    if users is None or in_flight <= users * (1 + BUSY_SLACK):
        return ""
    return f"{rate:g} requests a second of {latency_ms:g} ms each are {in_flight:.1f} in flight; {users:g} were allowed"
