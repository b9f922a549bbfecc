"""The requests of a level as another program told of them, and as lines of ours: what it does not tell is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna_tuner.benchmarks.statistics import RequestRecord
from optuna_tuner.contracts import Target
from optuna_tuner.request_log import RequestLine, RequestLog, file_name, printable
from optuna_tuner.values import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One request.

    Attributes:
        record: what it did.
        began, ended: seconds since 1970; in an open loop it began at its scheduled arrival.
        send_delay_s: by which it was sent later than that; a part of the record's times.
        status: of HTTP.

    """

    record: RequestRecord
    began: float | None = None
    ended: float | None = None
    send_delay_s: float | None = None
    status: int | None = None


def keep(target: Target, load: Load, told: Sequence[Told], folder: Path, number: int = 1) -> None:
    """Write the requests of a level, the so-manyth of its run, into the run's folder."""
    log = RequestLog(folder / file_name(number, load))
    for line in _lines(target, load, told, f"{folder.name}-{number}"):
        log.add(line)
    log.close()


def _lines(target: Target, load: Load, told: Sequence[Told], run: str) -> Iterator[RequestLine]:
    for place, each in enumerate(told, start=1):
        record = each.record
        good = not record.error
        yield RequestLine(
            request_id=f"{target.seed:08x}-{run}-{place}",
            measurement=run,
            level=str(load),
            scenario=load.scenario,
            service_type=target.service_type,
            timestamp_start=each.began,
            timestamp_end=each.ended,
            send_delay_s=each.send_delay_s,
            latency_s=record.e2e_s if good else None,
            success=good,
            http_status=each.status,
            error=printable(record.error) if record.error else None,
            ttft_s=record.ttft_s if good else None,
            tpot_s=record.tpot_s if good else None,
            input_tokens=record.input_tokens if good else None,
            output_tokens=record.output_tokens if good else None,
        )
