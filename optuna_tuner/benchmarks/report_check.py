"""The report check: refuses what cannot be true. A client's exit code proves nothing.

Whose fault it is decides which error is raised: BenchmarkError where the client or its report is at fault (the same
parameters are tried again), DegradedError where the server failed the requests (the sampler learns).
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from optuna_tuner.benchmarks.plausibility import ROUNDING, contradiction
from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.values import Json

LARGEST_REPORT_BYTES = 512 * 1024 * 1024
LARGEST_VALUE = 1e12  # above any latency in ms and any throughput in tok/s that a machine can have
SHARES = ("error_rate", "goodput_share")
OUR_FAULT = ("HTTP 401", "HTTP 403", "HTTP 404", "HTTP 405")  # no key, no such model or path: we ask wrongly
LONGEST_S = 1e8  # three years
MOST_TOKENS = 1e9  # of one request
CLOCK_GRAIN_S = 2.0  # coarse file systems keep times of modification in steps of up to two seconds


def read_report(path: Path, started_at: float) -> Mapping[str, Json]:
    """The JSON object in a report that was written after `started_at` (seconds since the epoch).

    Raises BenchmarkError for a report that is missing, stale, too large, cut off or no JSON object.
    """
    try:
        with open(path, "rb", opener=_open_plainly) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BenchmarkError(f"{path.name} is no plain file")
            if status.st_mtime < started_at - CLOCK_GRAIN_S:
                raise BenchmarkError(f"{path.name} is older than this run: it belongs to another one")
            if status.st_size > LARGEST_REPORT_BYTES:
                raise BenchmarkError(f"{path.name} has {status.st_size} bytes; {LARGEST_REPORT_BYTES} are the limit")
            return parse_report(file.read(LARGEST_REPORT_BYTES), path.name)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise BenchmarkError(f"{path.name} cannot be read: {reason}") from error


def _open_plainly(path: str, flags: int) -> int:
    """No link is followed: it may point to another run's report. No pipe is waited for."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def parse_report(data: bytes, name: str) -> Mapping[str, Json]:
    """The JSON object in these bytes; BenchmarkError, in the report's name, where there is none."""
    try:
        # Of bytes, json guesses the encoding, and is often wrong.
        report = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of thousands of digits, a name twice
        raise BenchmarkError(f"{name} is cut off or no JSON ({len(data)} bytes): {error}") from error
    if not isinstance(report, dict):
        raise BenchmarkError(f"{name} holds no JSON object")
    return cast("Mapping[str, Json]", report)


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """An object whose names are all different; plain JSON would take the last of two values, true or not."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name comes twice in {sorted(found)[:20]}")
    return found


def check_requests(
    records: Sequence[RequestRecord], wanted: int, success_rate: float, most_tokens: float = math.inf
) -> None:
    """Refuse a level whose requests are missing, empty or impossible, or fail too often.

    `wanted` is how many requests there must be at least; `success_rate` the share that must complete; `most_tokens`
    how many output tokens a request may have.
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
        if fault := _impossible(record, most_tokens):
            raise BenchmarkError(f"a request cannot be true: {fault}: {record}")


def _impossible(record: RequestRecord, most_tokens: float) -> str:
    times = (record.ttft_s, record.e2e_s, *(record.gaps_s or ()))
    if not all(0 <= value <= LONGEST_S for value in times):
        return "a time is negative, endless or no number"
    if record.ttft_s > record.e2e_s * (1 + ROUNDING):
        return "its first token came after its end"
    if record.ttft_s == 0 or record.e2e_s == 0:
        return "it took no time"
    if not (0 < record.output_tokens <= MOST_TOKENS and 0 < record.input_tokens <= MOST_TOKENS):
        return "it has no tokens, or too many"
    asked = record.output_tokens <= most_tokens
    return "" if asked else f"it has more output tokens than the {most_tokens:g} that were asked for"


def check_metrics(metrics: Mapping[str, float], declared: frozenset[str], users: float | None = None) -> None:
    """Refuse metrics that are missing, not finite, out of range or at odds with each other. Raises BenchmarkError.

    `users`: so many requests at most were in flight at any time; None where that is not known.
    """
    if missing := sorted(declared - metrics.keys()):
        raise BenchmarkError(f"the report lacks {', '.join(missing)}")
    check_values(metrics)
    if fault := contradiction(metrics, users):
        raise BenchmarkError(f"the report cannot be true: {fault}")


def check_values(metrics: Mapping[str, float]) -> None:
    """Refuse what is no finite number of a sane size. Raises BenchmarkError."""
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BenchmarkError(f"{name} is no number: {value!r}")
        if not 0 <= value <= LARGEST_VALUE:  # nor is NaN between them
            raise BenchmarkError(f"{name} cannot be {_short(value)}")
        if name in SHARES and value > 1:
            raise BenchmarkError(f"{name} is a share and cannot be {value!r}")


def _short(value: float) -> str:
    """A number for people; an integer may have thousands of digits, which Python refuses to write."""
    return repr(value) if isinstance(value, float) or abs(value) < LARGEST_VALUE else "a number of that many digits"
