"""The requests of one level of the built-in client, written down while it runs."""

from __future__ import annotations

from pathlib import Path

from optuna_tuner.benchmarks.http_stream import Sample
from optuna_tuner.clock import epoch, now
from optuna_tuner.contracts import Target
from optuna_tuner.request_log import RequestLine, RequestLog, file_name, printable
from optuna_tuner.values import Load


class LevelRecord:
    """A line for each request that has ended, in the order of their ends."""

    def __init__(self, target: Target, load: Load, number: int) -> None:
        """Of the so-manyth level of a trial."""
        self._target, self._load, self._number = target, load, number
        self._log = RequestLog(target.folder / "benchmark" / file_name(number, load))
        self._ended = 0
        # Once for the level: whoever sets the clock meanwhile moves none of its timestamps against the others.
        self._epoch = epoch() - now()

    def note(self, sample: Sample) -> None:
        """Remember one request; touches no disk."""
        self._ended += 1
        self._log.add(self._line(sample))

    def flush(self) -> None:
        """Write what is remembered."""
        self._log.flush()

    def close(self) -> Path | None:
        """Write the rest; where it lies, None where there was no room for all of it."""
        self._log.close()
        return self._log.file if self._log.kept and self._ended else None

    def _line(self, sample: Sample) -> RequestLine:
        record = sample.record(gaps=False)
        good = not sample.error
        return RequestLine(
            request_id=f"{self._target.seed:08x}-{self._number}-{self._ended}",
            measurement=str(self._number),
            level=str(self._load),
            scenario=self._load.scenario,
            service_type=self._target.service_type,
            timestamp_start=self._epoch + sample.due,
            timestamp_end=self._epoch + sample.ended,
            send_delay_s=sample.sent - sample.due,
            latency_s=sample.ended - sample.due,
            success=good,
            http_status=sample.status,
            error=printable(sample.error) if sample.error else None,
            ttft_s=record.ttft_s if good else None,
            tpot_s=record.tpot_s if good else None,
            input_tokens=record.input_tokens if good else None,
            output_tokens=record.output_tokens if good else None,
        )
