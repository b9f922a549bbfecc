"""The result gate: refuses what cannot be true. A client's exit code proves nothing.

Whose fault it is decides which error is raised: BenchmarkError where the client or its report is at fault (the same
parameters are tried again), DegradedError where the server failed the requests (the sampler learns).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from json import JSONDecodeError
from pathlib import Path
from typing import cast

from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.metrics import DISTRIBUTIONS
from optuna_tuner.values import Json

LARGEST_REPORT_BYTES = 512 * 1024 * 1024
LARGEST_VALUE = 1e12  # above any latency in ms and any throughput in tok/s that a machine can have
SHARES = ("error_rate", "goodput_share")
OUR_FAULT = ("HTTP 401", "HTTP 403", "HTTP 404", "HTTP 405")  # no key, no such model or path: we ask wrongly
ROUNDING = 1e-6
CLOCK_GRAIN_S = 2.0  # coarse file systems keep times of modification in steps of up to two seconds


def read_report(path: Path, started_at: float) -> Mapping[str, Json]:
    """The JSON object in a report that was written after `started_at` (seconds since the epoch).

    Raises BenchmarkError for a report that is missing, stale, too large, cut off or no JSON object.
    """
    try:
        status = path.stat()
        if status.st_mtime < started_at - CLOCK_GRAIN_S:
            raise BenchmarkError(f"{path.name} is older than this run: it belongs to another one")
        if status.st_size > LARGEST_REPORT_BYTES:
            raise BenchmarkError(f"{path.name} has {status.st_size} bytes; {LARGEST_REPORT_BYTES} are the limit")
        return parse_report(path.read_bytes(), path.name)
    except OSError as error:
        raise BenchmarkError(f"{path.name} cannot be read: {error.strerror}") from error


def parse_report(data: bytes, name: str) -> Mapping[str, Json]:
    """The JSON object in these bytes; BenchmarkError, in the report's name, where there is none."""
    try:
        report = json.loads(data.decode("utf-8-sig"))  # of bytes, json guesses the encoding, and is often wrong
    except (JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BenchmarkError(f"{name} is cut off or no JSON ({len(data)} bytes): {error}") from error
    if not isinstance(report, dict):
        raise BenchmarkError(f"{name} holds no JSON object")
    return cast("Mapping[str, Json]", report)


def check_requests(records: Sequence[RequestRecord], wanted: int, success_rate: float) -> None:
    """Refuse a level whose requests are missing, empty or impossible, or fail too often.

    `wanted` is how many requests there must be at least; `success_rate` the share that must complete.
    """
    done = [record for record in records if not record.error]
    if not done or len(done) < success_rate * len(records):
        causes = Counter(record.error for record in records if record.error)
        worst = causes.most_common(1)[0][0] if causes else ""
        often = "; ".join(f"{count} x {cause}" for cause, count in causes.most_common(3)) or "no request at all"
        share = len(done) / max(1, len(records))
        kind = BenchmarkError if worst.startswith(OUR_FAULT) else DegradedError
        raise kind(
            f"{len(done)} of {len(records)} requests completed ({share:.1%}; at least {success_rate:.1%} must): {often}"
        )
    if len(records) < wanted:
        raise BenchmarkError(f"the report holds {len(records)} requests; {wanted} were asked for")
    for record in done:
        if fault := _impossible(record):
            raise BenchmarkError(f"a request cannot be true: {fault}: {record}")


def _impossible(record: RequestRecord) -> str:
    times = (record.ttft_s, record.e2e_s, *(record.gaps_s or ()))
    if not all(math.isfinite(value) and value >= 0 for value in times):
        return "a time is negative or no number"
    if record.ttft_s > record.e2e_s * (1 + ROUNDING):
        return "its first token came after its end"
    if record.e2e_s == 0:
        return "it took no time"
    return "" if record.output_tokens > 0 and record.input_tokens > 0 else "it has no tokens"


def check_metrics(metrics: Mapping[str, float], declared: frozenset[str]) -> None:
    """Refuse metrics that are missing, not finite, out of range or at odds with each other. Raises BenchmarkError."""
    if missing := sorted(declared - metrics.keys()):
        raise BenchmarkError(f"the report lacks {', '.join(missing)}")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BenchmarkError(f"{name} is no number: {value!r}")
        if not math.isfinite(value) or not 0 <= value <= LARGEST_VALUE:
            raise BenchmarkError(f"{name} cannot be {value!r}")
        if name in SHARES and value > 1:
            raise BenchmarkError(f"{name} is a share and cannot be {value!r}")
    for name in DISTRIBUTIONS:
        _check_order(name, metrics)
    _check_sums(metrics)


def _check_order(name: str, metrics: Mapping[str, float]) -> None:
    values = [metrics[key] for p in (50, 90, 95, 99) if (key := f"{name}.p{p}") in metrics]
    if any(high < low * (1 - ROUNDING) for low, high in pairwise(values)):
        raise BenchmarkError(f"the percentiles of {name} fall: {values}")


def _check_sums(metrics: Mapping[str, float]) -> None:
    parts = ("input_throughput_tok_s", "output_throughput_tok_s", "total_throughput_tok_s")
    if all(name in metrics for name in parts):
        tokens_in, tokens_out, total = (metrics[name] for name in parts)
        if not math.isclose(tokens_in + tokens_out, total, rel_tol=0.01):
            raise BenchmarkError(f"input and output throughput do not add up: {tokens_in} + {tokens_out}, not {total}")
    rate = ("request_rate_req_s", "completed_requests", "duration_s")
    if all(name in metrics for name in rate):
        per_second, completed, seconds = (metrics[name] for name in rate)
        if seconds == 0 or not math.isclose(per_second * seconds, completed, rel_tol=0.01):
            raise BenchmarkError(f"{completed:g} requests in {seconds:g} s are not {per_second:g} a second")
