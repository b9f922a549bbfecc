"""What is kept of requests until all are read: eight bytes for each time, sums for the rest."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from optuna_tuner.results.bundle.lines import Line, Reader
from optuna_tuner.results.bundle.summary import Spread

Numbers = NDArray[np.float64]
SPREADS = ("latency_s", "ttft_s", "tpot_s")
TOKENS = ("input_tokens", "output_tokens")
PERCENTS = (50, 90, 95, 99)
MOST_ERRORS = 50  # different ones that are told
LONGEST_ERROR = 300  # characters
OTHER = "other errors"
ROUNDING = 1e-6  # of a time: for clients that round


@dataclass(slots=True)
class Group:
    """The requests of one load level, or of several."""

    requests: int = 0
    good: int = 0
    times: dict[str, list[Numbers]] = field(default_factory=lambda: {name: [] for name in SPREADS})
    tokens: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)  # completed requests that do not tell a field
    started: float = math.inf
    ended: float = -math.inf
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, lines: Sequence[Line], reader: Reader) -> None:
        """Take in lines of the reader's present piece. Raises BundleError for one that cannot be true."""
        good = [line for line in lines if line.success]
        self.requests += len(lines)
        self.good += len(good)
        self._add_times(good, reader)
        self._add_tokens(good)
        self._add_moments(lines, reader)
        if len(good) < len(lines):
            self._add_errors(line.error for line in lines if not line.success)

    def take(self, other: Group) -> None:
        """Take in another group; its times are shared, not copied."""
        self.requests += other.requests
        self.good += other.good
        for name, parts in other.times.items():
            self.times[name] += parts
        self.tokens += other.tokens
        self.untold += other.untold
        self.started, self.ended = min(self.started, other.started), max(self.ended, other.ended)
        self._count(other.errors)

    def _add_times(self, good: Sequence[Line], reader: Reader) -> None:
        latency = _numbers([line.latency_s for line in good])
        first = _numbers([line.ttft_s for line in good])
        each = _numbers([line.tpot_s for line in good])
        _refuse(np.isnan(latency), good, reader, "latency_s: a request that completed has one")
        _refuse(first > latency * (1 + ROUNDING), good, reader, "ttft_s: the first token came after the end")
        self.times["latency_s"].append(latency)
        for name, values in (("ttft_s", first), ("tpot_s", each)):
            known = values[~np.isnan(values)]
            self.times[name].append(known)
            if len(known) < len(good):
                self.untold[name] += sum(getattr(line, name) is None and line.output_tokens != 1 for line in good)

    def _add_tokens(self, good: Sequence[Line]) -> None:
        for name, counts in (
            ("input_tokens", [line.input_tokens for line in good]),
            ("output_tokens", [line.output_tokens for line in good]),
        ):
            told = [count for count in counts if count is not None]
            self.tokens[name] += sum(told)
            self.untold[name] += len(counts) - len(told)

    def _add_moments(self, lines: Sequence[Line], reader: Reader) -> None:
        started = _numbers([line.timestamp_start for line in lines])
        ended = _numbers([line.timestamp_end for line in lines])
        _refuse(ended < started, lines, reader, "timestamp_end: it ended before it started")
        self.started = min(self.started, float(np.fmin.reduce(started, initial=math.inf)))
        self.ended = max(self.ended, float(np.fmax.reduce(ended, initial=-math.inf)))
        absent = np.isnan(started) | np.isnan(ended)
        if absent.any():
            self.untold["timestamps"] += sum(lines[int(place)].success for place in np.flatnonzero(absent))

    def _add_errors(self, errors: Iterable[str | None]) -> None:
        self._count(Counter((error or "no reason told")[:LONGEST_ERROR] for error in errors))

    def _count(self, errors: Counter[str]) -> None:
        """Different errors may be many: those beyond the first ones are only counted."""
        for error, count in errors.most_common():
            known = error in self.errors or len(self.errors) < MOST_ERRORS
            self.errors[error if known else OTHER] += count


def spread(parts: Sequence[Numbers]) -> Spread | None:
    """The distribution of all values; None of none. The mean is exactly rounded, whatever the order."""
    values = np.concatenate(parts) if parts else np.empty(0)
    if not len(values):
        return None
    mean = math.fsum(values.data) / len(values)
    least, most = float(values.min()), float(values.max())
    p50, p90, p95, p99 = map(float, np.percentile(values, PERCENTS, overwrite_input=True))
    return Spread(count=len(values), avg=mean, min=least, max=most, p50=p50, p90=p90, p95=p95, p99=p99)


def _numbers(values: Sequence[float | None]) -> Numbers:
    """None becomes NaN."""
    try:
        return np.frombuffer(array("d", cast("Sequence[float]", values)))  # the faster way, where there is no None
    except TypeError:
        return np.array(values, dtype=np.float64)


def _refuse(wrong: NDArray[np.bool_], lines: Sequence[Line], reader: Reader, what: str) -> None:
    if wrong.any():
        raise reader.wrong(lines[int(wrong.argmax())], what)
