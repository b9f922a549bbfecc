"""What guidellm 0.8.1 leaves behind: one JSON with the times of each request.

Its own summaries are only held against the requests. Its "time per output token" is the whole latency over all tokens,
the first one included; what the others call so is its "inter-token latency".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optuna_tuner.benchmarks.client_requests import Told
from optuna_tuner.benchmarks.report_check import MOST_TOKENS
from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.errors import BenchmarkError
from optuna_tuner.values import Json, Load, LoadKind

_STATUS = re.compile(r"(?:Client|Server) error '(\d{3}) ")  # httpx's words
LONGEST_ERROR = 300
SAME = 1e-9  # of two figures of one thing
Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]  # JSON's integers have no end
STRICT = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Timings(BaseModel):
    """Seconds since 1970."""

    model_config = STRICT

    targeted_start: float | None = None
    request_start: float | None = None
    first_token_iteration: float | None = None
    request_end: float | None = None


class _Info(BaseModel):
    model_config = STRICT

    timings: _Timings
    error: str | None = None


class _Request(BaseModel):
    model_config = STRICT

    info: _Info
    request_latency: float | None = None
    request_scheduled_latency: float | None = None
    time_to_first_token_ms: float | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None

    def told(self, kind: LoadKind) -> Told:
        """In an open loop its times count from its scheduled arrival."""
        times = self.info.timings
        sent, first, ended = times.request_start, times.first_token_iteration, times.request_end
        due = sent if kind is LoadKind.CONCURRENCY else times.targeted_start
        tokens = (self.prompt_tokens, self.output_tokens)
        if sent is None or first is None or ended is None or due is None or tokens[0] is None or tokens[1] is None:
            raise BenchmarkError("guidellm reports a request that completed without figures")
        _same("request_latency", self.request_latency, ended - sent)
        _same("time_to_first_token_ms", self.time_to_first_token_ms, 1000 * (first - sent))
        if kind is not LoadKind.CONCURRENCY:
            _same("request_scheduled_latency", self.request_scheduled_latency, ended - due)
        record = RequestRecord(ttft_s=first - due, e2e_s=ended - due, input_tokens=tokens[0], output_tokens=tokens[1])
        delay_s = None if kind is LoadKind.CONCURRENCY else sent - due
        return Told(record=record, began=due, ended=ended, send_delay_s=delay_s)

    def failed(self) -> Told:
        """It tells no reason but in words."""
        said = (self.info.error or "it told no reason")[:LONGEST_ERROR]
        found = _STATUS.search(said)
        status = int(found[1]) if found else None
        error = f"HTTP {status}: {said}" if status else said
        times = self.info.timings
        return Told(
            record=RequestRecord(error=error), began=times.request_start, ended=times.request_end, status=status
        )


class _Requests(BaseModel):
    model_config = STRICT

    successful: list[_Request]
    errored: list[_Request]


class _Totals(BaseModel):
    model_config = STRICT

    successful: Count
    errored: Count


class _Spread(BaseModel):
    model_config = STRICT

    count: Count
    mean: float
    min: float
    max: float


class _Successful(BaseModel):
    model_config = STRICT

    successful: _Spread


class _Metrics(BaseModel):
    model_config = STRICT

    request_totals: _Totals
    request_latency: _Successful
    time_to_first_token_ms: _Successful
    prompt_token_count: _Successful
    output_token_count: _Successful


class _Scheduler(BaseModel):
    model_config = STRICT

    start_time: float
    end_time: float


class _Strategy(BaseModel):
    model_config = STRICT

    type_: str
    streams: int | None = None
    rate: float | None = None


class _Config(BaseModel):
    model_config = STRICT

    strategy: _Strategy


class _Benchmark(BaseModel):
    model_config = STRICT

    config: _Config
    requests: _Requests
    metrics: _Metrics
    scheduler_metrics: _Scheduler


class _Metadata(BaseModel):
    model_config = STRICT

    version: Literal[2]


class Report(BaseModel):
    """The file of one level."""

    model_config = STRICT

    metadata: _Metadata
    benchmarks: list[_Benchmark] = Field(min_length=1, max_length=1)

    @classmethod
    def read(cls, report: Mapping[str, Json]) -> Report:
        """Check names and types exactly. Raises BenchmarkError."""
        try:
            return cls.model_validate(dict(report))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BenchmarkError(f"guidellm's report cannot be read: {place}: {first['msg']}") from error

    def told(self, load: Load) -> Sequence[Told]:
        """Its requests, failed ones too; not those that were cut off at the time limit.

        Raises BenchmarkError for a report of another load, or whose parts tell two stories.
        """
        level = self.benchmarks[0]
        if level.config.strategy != strategy(load):
            raise BenchmarkError(f"guidellm's report is of another load than {load}")
        done, failed = level.requests.successful, level.requests.errored
        for name, theirs, ours in (*self._counts(), *self._sums()):
            _same(name, theirs, ours)
        told = [*(each.told(load.kind) for each in done), *(each.failed() for each in failed)]
        ran = level.scheduler_metrics
        for each in done:
            times = each.info.timings
            if not ran.start_time <= (times.request_start or 0.0) <= (times.request_end or math.inf) <= ran.end_time:
                raise BenchmarkError("guidellm's report contradicts itself: a request lies outside of its level")
        return told

    def _counts(self) -> Iterator[tuple[str, float, float]]:
        level = self.benchmarks[0]
        yield "request_totals.successful", level.metrics.request_totals.successful, len(level.requests.successful)
        yield "request_totals.errored", level.metrics.request_totals.errored, len(level.requests.errored)

    def _sums(self) -> Iterator[tuple[str, float, float]]:
        metrics, done = self.benchmarks[0].metrics, self.benchmarks[0].requests.successful
        figures: Mapping[str, tuple[_Successful, Callable[[_Request], float | None]]] = {
            "request_latency": (metrics.request_latency, lambda each: each.request_latency),
            "time_to_first_token_ms": (metrics.time_to_first_token_ms, lambda each: each.time_to_first_token_ms),
            "prompt_token_count": (metrics.prompt_token_count, lambda each: each.prompt_tokens),
            "output_token_count": (metrics.output_token_count, lambda each: each.output_tokens),
        }
        for name, (theirs, ours) in figures.items() if done else ():
            values = [float(value) for each in done if (value := ours(each)) is not None]
            yield f"{name}.count", theirs.successful.count, len(values)
            if values:
                yield f"{name}.mean", theirs.successful.mean, math.fsum(values) / len(values)
                yield f"{name}.min", theirs.successful.min, min(values)
                yield f"{name}.max", theirs.successful.max, max(values)


def strategy(load: Load) -> _Strategy:
    """A load in guidellm's words."""
    if load.kind is LoadKind.CONCURRENCY:
        return _Strategy(type_="concurrent", streams=int(load.value))
    return _Strategy(type_="poisson" if load.kind is LoadKind.REQUEST_RATE else "constant", rate=float(load.value))


def _same(name: str, theirs: float | None, ours: float) -> None:
    if theirs is None or not math.isclose(theirs, ours, rel_tol=SAME, abs_tol=SAME):
        raise BenchmarkError(f"guidellm's report contradicts itself: {name} is {theirs}; its requests say {ours}")
