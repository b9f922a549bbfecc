"""genai-bench's own requests as lines of ours, after a level: what it does not tell is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna_tuner.benchmarks.genai_bench_report import LevelReport, moments
from optuna_tuner.contracts import Target
from optuna_tuner.request_log import RequestLine, RequestLog, file_name, printable
from optuna_tuner.values import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a run: the run's folder, the so-manyth in it, and its client's clock, as seconds since 1970."""

    folder: Path
    number: int
    epoch_s: float


def keep_requests(
    target: Target, load: Load, report: LevelReport, times: Sequence[tuple[float, float]], level: Level
) -> None:
    """Write the requests of a level into its run's folder.

    `times` are what genai-bench's log tells of the level. Raises BenchmarkError for a report that contradicts itself.
    """
    log = RequestLog(level.folder / file_name(level.number, load))
    for line in _lines(target, load, report, times, level):
        log.add(line)
    log.close()


def _lines(
    target: Target, load: Load, report: LevelReport, times: Sequence[tuple[float, float]], level: Level
) -> Iterator[RequestLine]:
    records, run = report.records(), f"{level.folder.name}-{level.number}"
    places = zip(records, report.statuses(), moments(times, records), strict=True)
    for place, (record, status, moment) in enumerate(places, start=1):
        good = not record.error
        yield RequestLine(
            request_id=f"{target.seed:08x}-{run}-{place}",
            measurement=run,
            level=str(load),
            scenario=load.scenario,
            service_type=target.service_type,
            timestamp_start=level.epoch_s + moment[0] if moment else None,
            timestamp_end=level.epoch_s + moment[1] if moment else None,
            latency_s=record.e2e_s if good else None,
            success=good,
            http_status=status,
            error=printable(record.error) if record.error else None,
            ttft_s=record.ttft_s if good else None,
            tpot_s=record.tpot_s if good else None,
            input_tokens=record.input_tokens if good else None,
            output_tokens=record.output_tokens if good else None,
        )
