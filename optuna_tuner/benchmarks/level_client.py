"""Load clients that measure one load level a process, and leave one JSON with every request in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from optuna_tuner.benchmarks import report_check, statistics
from optuna_tuner.benchmarks.client_failure import Failure
from optuna_tuner.benchmarks.client_process import started, tail
from optuna_tuner.benchmarks.client_requests import Told, keep
from optuna_tuner.benchmarks.plausibility import SLACK
from optuna_tuner.client_site import LoadClient, Program
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError
from optuna_tuner.values import Json, Load, LoadKind, Measurement, Metrics

REPORT = "report.json"
LOOK_S = 0.25
NEARLY = 0.9  # of the time limit: a level that lasted so long was ended by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One process of a client, and how to read what it leaves.

    Attributes:
        name: of the client, for people.
        program: what is started.
        folder: where it leaves REPORT.
        load: what it measures.
        requests: so many there must be, unless the level lasted for nearly `max_time_s`.
        most_tokens: that a reply may have.
        declared: the metrics that it must deliver.
        read: the requests in its report, and of its clock the time since 1970; raises BenchmarkError.
        progress: the last match in what it says on standard error tells how many requests have completed.

    """

    name: str
    program: Program
    folder: Path
    load: Load
    requests: int
    most_tokens: float
    declared: frozenset[str]
    read: Callable[[Mapping[str, Json], float], Sequence[Told]]
    progress: re.Pattern[str]
    max_time_s: float = math.inf

    def measure(self, target: Target, deadline: Deadline) -> Measurement:
        """Run it to its end. An exit code of 0 proves nothing, and another one is never believed."""
        began = now()
        with started(self.program, target, self.folder, deadline) as client:
            code = poll(lambda: client.exit_code, deadline, LOOK_S)
            if code != 0:
                raise self._failure(client, target, deadline, late=code is None)
            told = self._told(client)
        keep(target, self.load, told, self.folder)
        metrics = self.metrics(told, target, now() - began)
        report = (self.folder / REPORT).relative_to(target.folder)
        return Measurement(load=self.load, metrics=metrics, report=str(report))

    def metrics(self, told: Sequence[Told], target: Target, elapsed_s: float) -> Metrics:
        """Of requests of a client that ran for so long. Raises BenchmarkError and DegradedError."""
        records, span_s = [each.record for each in told], _span_s(told)
        wanted = 1 if span_s >= NEARLY * self.max_time_s else self.requests
        report_check.check_requests(records, wanted, target.success_rate, self.most_tokens)
        if not 0 < span_s <= elapsed_s * (1 + SLACK):
            raise BenchmarkError(f"{self.name}'s requests took {span_s:g} s in all; it ran for {elapsed_s:.3f} s")
        metrics = statistics.summarise(records, span_s, target.slo)
        users = self.load.value if self.load.kind is LoadKind.CONCURRENCY else None
        report_check.check_metrics(metrics, self.declared, users)
        return metrics

    def _told(self, client: LoadClient) -> Sequence[Told]:
        return self.read(report_check.read_report(self.folder / REPORT, client.started_at), client.epoch_s)

    def _failure(self, client: LoadClient, target: Target, deadline: Deadline, *, late: bool) -> Exception:
        with suppress(BenchmarkError):  # there is none, as a rule
            report_check.check_requests([each.record for each in self._told(client)], 1, target.success_rate)
        said = tail(client)
        counts = self.progress.findall(said)
        completed = int(counts[-1]) if counts else 0
        failure = Failure(load=self.load, name=self.name, client=client, completed=completed, late=late, said=said)
        return failure.error(target, deadline)


def _span_s(told: Sequence[Told]) -> float:
    """From the first start to the last end of the completed requests; 0 where there is none."""
    done = [each for each in told if not each.record.error]
    began, ended = [each.began for each in done if each.began], [each.ended for each in done if each.ended]
    return max(ended) - min(began) if began and ended else 0.0
