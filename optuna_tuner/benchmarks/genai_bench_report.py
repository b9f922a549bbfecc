"""What genai-bench 0.0.5 leaves behind: one JSON a load level, and a log with the time of each request.

Its own sums are not used. Its error_rate is always 0 (computed before the requests are counted), and its throughput is
low on short runs: run_duration includes up to two seconds of polling and stopping. Figures are computed from its
per-request records, and the duration from the request times in its debug log: from the first start to the last end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.errors import BenchmarkError
from optuna_tuner.values import Json

_LEVEL = re.compile(r"Starting benchmark with concurrency=\d+")
_TIMES = re.compile(r"^Start Time: ([\d.]+)\nEnd Time: ([\d.]+)$", re.MULTILINE)
LONGEST_ERROR = 300
SAME_S = 1e-6
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
        return RequestRecord(ttft_s=ttft * unit_s, e2e_s=e2e * unit_s, input_tokens=tokens_in, output_tokens=tokens_out)

    def _error(self) -> str:
        """Codes 500 and 503 are also genai-bench's own words for lost and refused connections."""
        said = (self.error_message or "")[:LONGEST_ERROR]
        if "ended prematurely" in said or "Connection broken" in said:
            return f"connection cut: {said}"
        return said if said.startswith("Connection error") else f"HTTP {self.error_code}: {said}"


class _Sums(BaseModel):
    model_config = STRICT

    scenario: str
    num_concurrency: int
    run_duration: float = Field(ge=0)


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


def spans(log: str) -> list[list[tuple[float, float]]]:
    """For each level in the order of the log: start and end of each request that was read to its end."""
    levels = _LEVEL.split(log)[1:]
    return [[(float(start), float(end)) for start, end in _TIMES.findall(level)] for level in levels]


def duration_s(times: Sequence[tuple[float, float]], records: Sequence[RequestRecord]) -> float | None:
    """From the first start to the last end of the completed requests; None where the log does not show them all."""
    known = sorted(record.e2e_s for record in records if not record.error)
    taken = sorted((end - start, start, end) for start, end in times)
    if len(taken) != len(known) or any(abs(took[0] - e2e) > SAME_S for took, e2e in zip(taken, known, strict=True)):
        return None
    return max(end for _, _, end in taken) - min(start for _, start, _ in taken) if taken else None
