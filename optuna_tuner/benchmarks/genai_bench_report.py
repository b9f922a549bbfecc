"""What genai-bench 0.0.5 leaves behind: one JSON a load level, and a log with the time of each request.

Its own sums are not used. Its error_rate is always 0 (computed before the requests are counted), and its throughput is
low on short runs: run_duration includes up to two seconds of polling and stopping. Figures are computed from its
per-request records, and the duration from the request times in its debug log: from the first start to the last end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optuna_tuner.benchmarks.client_requests import Told
from optuna_tuner.benchmarks.report_check import MOST_TOKENS
from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.errors import BenchmarkError
from optuna_tuner.values import Json

_LEVEL = re.compile(r"Starting benchmark with concurrency=\d+")
_TIMES = re.compile(r"^Start Time: ([\d.]+)\nEnd Time: ([\d.]+)$", re.MULTILINE)
LONGEST_ERROR = 300
MOST_REQUESTS = 10**9
SAME_S = 1e-6
SAME = 1e-6  # of two sums of equal figures
STRICT = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Request(BaseModel):
    model_config = STRICT

    ttft: float | None = None
    e2e_latency: float | None = None
    num_input_tokens: int | None = None
    num_output_tokens: int | None = None
    error_code: int | str | None = None
    error_message: str | None = None

    def record(self, unit_s: float) -> RequestRecord:
        numbers = (self.ttft, self.e2e_latency, self.num_input_tokens, self.num_output_tokens)
        ttft, e2e, tokens_in, tokens_out = numbers
        if self.error_code is not None:
            return RequestRecord(error=self._error())
        if ttft is None or e2e is None or tokens_in is None or tokens_out is None:
            raise BenchmarkError("genai-bench reports a request that completed without figures")
        if max(tokens_in, tokens_out) > MOST_TOKENS:  # JSON's integers have no end
            raise BenchmarkError(f"genai-bench reports a request of more than {MOST_TOKENS:g} tokens")
        return RequestRecord(ttft_s=ttft * unit_s, e2e_s=e2e * unit_s, input_tokens=tokens_in, output_tokens=tokens_out)

    def _error(self) -> str:
        said = (self.error_message or "")[:LONGEST_ERROR]
        if self._was_cut(said):
            return f"connection cut: {said}"
        return said if self.status is None else f"HTTP {self.error_code}: {said}"

    @property
    def status(self) -> int | None:
        """The HTTP status where it tells one. Codes 500 and 503 are also its own words for lost connections."""
        said = self.error_message or ""
        lost = self._was_cut(said) or said.startswith("Connection error")
        return self.error_code if isinstance(self.error_code, int) and not lost else None

    @staticmethod
    def _was_cut(said: str) -> bool:
        return "ended prematurely" in said or "Connection broken" in said


class _Spread(BaseModel):
    model_config = STRICT

    min: float | None = None
    max: float | None = None
    mean: float | None = None


class _Stats(BaseModel):
    model_config = STRICT

    ttft: _Spread = _Spread()
    e2e_latency: _Spread = _Spread()
    num_input_tokens: _Spread = _Spread()
    num_output_tokens: _Spread = _Spread()


class _Sums(BaseModel):
    model_config = STRICT

    scenario: str
    num_concurrency: int
    run_duration: float = Field(ge=0)
    num_requests: int = Field(ge=0, le=MOST_REQUESTS)
    num_completed_requests: int = Field(ge=0, le=MOST_REQUESTS)
    mean_output_throughput_tokens_per_s: float | None = None
    stats: _Stats = _Stats()


class LevelReport(BaseModel):
    """One level's file."""

    model_config = STRICT

    aggregated_metrics: _Sums
    individual_request_metrics: list[_Request]
    unit: Literal["s", "ms"] = Field(default="s", alias="_time_unit")

    @classmethod
    def read(cls, report: Mapping[str, Json]) -> LevelReport:
        """Check names and types exactly. Raises BenchmarkError."""
        try:
            return cls.model_validate(dict(report))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BenchmarkError(f"genai-bench's report cannot be read: {place}: {first['msg']}") from error

    @property
    def level(self) -> tuple[str, int]:
        """Scenario and concurrency."""
        return self.aggregated_metrics.scenario, self.aggregated_metrics.num_concurrency

    @property
    def run_duration_s(self) -> float:
        """Polling and stopping included; seconds whatever the unit of the rest."""
        return self.aggregated_metrics.run_duration

    def records(self) -> list[RequestRecord]:
        """Every request, failed ones too."""
        unit_s = {"s": 1.0, "ms": 0.001}[self.unit]
        return [request.record(unit_s) for request in self.individual_request_metrics]

    def told(self, times: Sequence[tuple[float, float]], epoch_s: float) -> list[Told]:
        """Every request; statuses are those of failed ones.

        `times` are what genai-bench's log tells of the level, by a clock to which `epoch_s` is added.
        """
        records, requests = self.records(), self.individual_request_metrics
        return [
            Told(
                record=record,
                began=epoch_s + moment[0] if moment else None,
                ended=epoch_s + moment[1] if moment else None,
                status=request.status,
            )
            for record, request, moment in zip(records, requests, moments(times, records), strict=True)
        ]

    def check_sums(self) -> None:
        """Refuse a report whose parts tell two stories: its own sums are made of the same requests.

        Only where no requests are left out as warm-up or cool-down. Raises BenchmarkError.
        """
        done = [request for request in self.individual_request_metrics if request.error_code is None]
        sums = self.aggregated_metrics
        counts: list[tuple[str, float | None, float | None]] = [
            ("num_requests", sums.num_requests, len(self.individual_request_metrics)),
            ("num_completed_requests", sums.num_completed_requests, len(done)),
        ]
        for said, theirs, ours in (*counts, *self._throughput(done), *self._spreads(done)):
            if theirs is None or ours is None or not math.isclose(theirs, ours, rel_tol=SAME, abs_tol=SAME):
                raise BenchmarkError(
                    f"genai-bench's report contradicts itself: {said} is {theirs}; its requests say {ours}"
                )

    def _throughput(self, done: Sequence[_Request]) -> Iterator[tuple[str, float | None, float | None]]:
        tokens = sum(request.num_output_tokens or 0 for request in done)
        seconds, rate = self.run_duration_s, self.aggregated_metrics.mean_output_throughput_tokens_per_s
        yield "mean_output_throughput_tokens_per_s", rate, tokens / seconds if seconds else None

    def _spreads(self, done: Sequence[_Request]) -> Iterator[tuple[str, float | None, float | None]]:
        for name in _Stats.model_fields:
            spread: _Spread = getattr(self.aggregated_metrics.stats, name)
            values: list[float] = [value for each in done if (value := getattr(each, name)) is not None]
            if values:
                yield f"stats.{name}.min", spread.min, min(values)
                yield f"stats.{name}.max", spread.max, max(values)
                yield f"stats.{name}.mean", spread.mean, math.fsum(values) / len(values)


def spans(log: str) -> list[list[tuple[float, float]]]:
    """For each level in the order of the log: start and end of each request that was read to its end."""
    levels = _LEVEL.split(log)[1:]
    return [[(float(start), float(end)) for start, end in _TIMES.findall(level)] for level in levels]


def duration_s(times: Sequence[tuple[float, float]], records: Sequence[RequestRecord]) -> float | None:
    """From the first start to the last end of the completed requests; None where the log does not show them all.

    Raises BenchmarkError where it shows as many, but others.
    """
    known = sorted(record.e2e_s for record in records if not record.error)
    taken = sorted((end - start, start, end) for start, end in times)
    if len(taken) != len(known):
        return None
    if any(abs(took[0] - e2e) > SAME_S for took, e2e in zip(taken, known, strict=True)):
        raise BenchmarkError("genai-bench's log tells other times of the requests than its report")
    return max(end for _, _, end in taken) - min(start for _, start, _ in taken) if taken else None


def moments(times: Sequence[tuple[float, float]], records: Sequence[RequestRecord]) -> list[tuple[float, float] | None]:
    """Start and end of each request, by genai-bench's clock. It logs and reports completed ones in the same order.

    None for failed requests, which the log does not time, and for all where log and report do not agree one by one.
    """
    known = [record.e2e_s for record in records if not record.error]
    agree = len(times) == len(known) and all(
        abs(end - start - e2e) <= SAME_S for (start, end), e2e in zip(times, known, strict=True)
    )
    taken = iter(times)
    return [next(taken) if agree and not record.error else None for record in records]
