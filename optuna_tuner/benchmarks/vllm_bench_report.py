"""What `vllm bench serve --save-detailed` of vLLM 0.32.0 leaves behind: one flat JSON with a list for each figure.

Its own summaries are only held against the requests. A request starts when it is sent and ends with its last chunk; a
first chunk without text counts as its first token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optuna_tuner.benchmarks.client_requests import Told
from optuna_tuner.benchmarks.report_check import MOST_TOKENS
from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.errors import BenchmarkError
from optuna_tuner.values import Json, Load, LoadKind

SAME = 1e-9  # of two sums of equal figures
GRAIN_S = 1e-6
STATUSES = {status.phrase: status.value for status in HTTPStatus}
Count = Annotated[int, Field(ge=0, le=MOST_TOKENS)]  # JSON's integers have no end
Sum = Annotated[int, Field(ge=0, le=1e18)]
STRICT = ConfigDict(frozen=True, strict=True, extra="ignore")


class Report(BaseModel):
    """The file of one level. Times are seconds; `start_times` are of the machine's monotonic clock."""

    model_config = STRICT

    max_concurrency: int | None
    request_rate: float | Literal["inf"]
    duration: float = Field(gt=0)
    completed: Count
    failed: Count
    total_input_tokens: Sum
    total_output_tokens: Sum
    output_throughput: float
    mean_ttft_ms: float
    mean_itl_ms: float
    mean_e2el_ms: float
    input_lens: list[Count]
    output_lens: list[Count]
    ttfts: list[float]
    itls: list[list[float]]
    latencies: list[float]
    start_times: list[float]
    queue_times: list[float]
    errors: list[str]

    @classmethod
    def read(cls, report: Mapping[str, Json]) -> Report:
        """Check names and types exactly, and that all lists are of the same requests. Raises BenchmarkError."""
        try:
            found = cls.model_validate(dict(report))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BenchmarkError(f"vllm bench serve's report cannot be read: {place}: {first['msg']}") from error
        lists = (found.input_lens, found.output_lens, found.ttfts, found.itls, found.latencies, found.start_times)
        if {len(each) for each in (*lists, found.queue_times)} != {len(found.errors)}:
            raise BenchmarkError("vllm bench serve's report contradicts itself: its lists differ in length")
        return found

    def told(self, load: Load, epoch_s: float) -> Sequence[Told]:
        """Its requests, failed ones too. In an open loop their times count from their arrival.

        Added to the client's clock, `epoch_s` is the time since 1970.
        Raises BenchmarkError for a report of another load, or whose parts tell two stories.
        """
        wanted = (int(load.value), "inf") if load.kind is LoadKind.CONCURRENCY else (None, load.value)
        if (self.max_concurrency, self.request_rate) != wanted:
            raise BenchmarkError(f"vllm bench serve's report is of another load than {load}")
        for name, theirs, ours in self._sums():
            if not math.isclose(theirs, ours, rel_tol=SAME, abs_tol=SAME):
                raise BenchmarkError(
                    f"vllm bench serve's report contradicts itself: {name} is {theirs}; its requests say {ours}"
                )
        self._check_times()
        return [self._request(place, load.kind, epoch_s) for place in range(len(self.errors))]

    def _request(self, place: int, kind: LoadKind, epoch_s: float) -> Told:
        open_loop = kind is not LoadKind.CONCURRENCY
        sent = epoch_s + self.start_times[place]
        if error := self._error(place):
            status = STATUSES.get(error)
            told = RequestRecord(error=f"HTTP {status}: {error}" if status else error)
            return Told(record=told, began=sent, status=status)
        waited = self.queue_times[place] if open_loop else 0.0
        record = RequestRecord(
            ttft_s=self.ttfts[place] + waited,
            e2e_s=self.latencies[place] + waited,
            input_tokens=self.input_lens[place],
            output_tokens=self.output_lens[place],
            gaps_s=tuple(self.itls[place]),
        )
        ended = sent + self.latencies[place]
        return Told(record=record, began=sent - waited, ended=ended, send_delay_s=waited if open_loop else None)

    def _error(self, place: int) -> str:
        """It tells an exception's whole story, or a reason phrase, which a server may leave out."""
        lines = self.errors[place].strip().splitlines()
        if lines:
            return lines[-1]
        return "" if self.output_lens[place] or self.ttfts[place] else "it told no reason"

    def _sums(self) -> Iterator[tuple[str, float, float]]:
        done = [place for place in range(len(self.errors)) if not self._error(place)]
        gaps = [gap for place in done for gap in self.itls[place]]
        yield "completed", self.completed, len(done)
        yield "failed", self.failed, len(self.errors) - len(done)
        yield "total_input_tokens", self.total_input_tokens, sum(self.input_lens[place] for place in done)
        yield "total_output_tokens", self.total_output_tokens, sum(self.output_lens)
        yield "output_throughput", self.output_throughput, sum(self.output_lens) / self.duration
        yield "mean_ttft_ms", self.mean_ttft_ms, _mean_ms([self.ttfts[place] for place in done])
        yield "mean_e2el_ms", self.mean_e2el_ms, _mean_ms([self.latencies[place] for place in done])
        yield "mean_itl_ms", self.mean_itl_ms, _mean_ms(gaps)

    def _check_times(self) -> None:
        """Requests arrive in the order of the lists, are sent after that, and lie within the level."""
        times = zip(self.start_times, self.queue_times, self.latencies, strict=True)
        sent = [(start, waited, start + latency) for start, waited, latency in times]
        arrived = [start - waited for start, waited, _ in sent]
        ordered = all(later >= earlier - GRAIN_S for earlier, later in pairwise(arrived))
        within = not sent or max(end for *_, end in sent) - min(arrived) <= self.duration + GRAIN_S
        if not (ordered and within and all(waited >= 0 for _, waited, _ in sent)):
            raise BenchmarkError("vllm bench serve's report contradicts itself: its times do not fit together")


def _mean_ms(seconds: Sequence[float]) -> float:
    return 1000 * math.fsum(seconds) / len(seconds) if seconds else 0.0
