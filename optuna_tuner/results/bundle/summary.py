"""`summary.json`: the figures of a load, recomputed from its requests alone."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

FROZEN = ConfigDict(frozen=True, extra="forbid")


class Spread(BaseModel):
    """A distribution over the requests that completed and have the value. Seconds."""

    model_config = FROZEN

    count: int = Field(description="So many requests have it.")
    avg: float = Field(description="Arithmetic mean.")
    min: float = Field(description="The least.")
    max: float = Field(description="The greatest.")
    p50: float = Field(description="Median. Percentiles are linear between ranks, as numpy's default.")
    p90: float = Field(description="90th percentile.")
    p95: float = Field(description="95th percentile.")
    p99: float = Field(description="99th percentile.")


class Figures(BaseModel):
    """What requests say together. A figure that they do not tell is null, and `missing` says why."""

    model_config = FROZEN

    total_requests: int = Field(description="Requests.")
    successful_requests: int = Field(description="Those that completed.")
    failed_requests: int = Field(description="The others.")
    success_rate: float | None = Field(description="Completed / all, 0 to 1.")
    latency_s: Spread | None = Field(description="End-to-end latency of completed requests.")
    ttft_s: Spread | None = Field(description="Time to first token of completed requests.")
    tpot_s: Spread | None = Field(description="Time per output token after the first, one value a request.")
    started: float | None = Field(description="The first request's start, seconds since 1970 (UTC).")
    ended: float | None = Field(description="The last request's end, seconds since 1970 (UTC).")
    duration_s: float | None = Field(description="ended - started: what rates are divided by.")
    requests_per_second: float | None = Field(description="Completed requests / duration_s.")
    input_tokens: int | None = Field(description="Prompt tokens of completed requests.")
    output_tokens: int | None = Field(description="Reply tokens of completed requests.")
    input_tokens_per_second: float | None = Field(description="input_tokens / duration_s.")
    output_tokens_per_second: float | None = Field(description="output_tokens / duration_s.")
    total_tokens_per_second: float | None = Field(description="Both together / duration_s.")
    errors: Mapping[str, int] = Field(description="Why requests failed, the most frequent first, and how often.")
    missing: tuple[str, ...] = Field(description="What is not there, and why.")


class LevelFigures(Figures):
    """The figures of one load level."""

    measurement: str = Field(description="As in the lines: which measurement of the trial.")
    level: str = Field(description="The load, as it is called everywhere.")


class Summary(Figures):
    """All requests of a file together, then level by level. Gaps between levels are part of the whole's duration."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="summary.json")

    service_type: str = Field(description="The engine that answered; empty where the lines do not say.")
    levels: tuple[LevelFigures, ...] = Field(description="Each load level, in the order of the file.")
