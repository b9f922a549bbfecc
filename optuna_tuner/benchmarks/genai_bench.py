"""genai-bench, as a subprocess: all load levels of a trial in one process on the one warm server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

from pydantic import BaseModel

from optuna_tuner.benchmarks import plausibility, probes, report_check, scenarios, statistics
from optuna_tuner.benchmarks.client_failure import Failure
from optuna_tuner.benchmarks.client_process import ending, fresh_folder, started, tail, vantage_of
from optuna_tuner.benchmarks.client_requests import keep
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.benchmarks.genai_bench_program import NAME, program_of
from optuna_tuner.benchmarks.genai_bench_report import LevelReport, duration_s, spans
from optuna_tuner.benchmarks.http import Http
from optuna_tuner.client_site import LoadClient, Program, Vantage
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.errors import BenchmarkError, EnvironmentFaultError
from optuna_tuner.load_range import LoadRange
from optuna_tuner.other_programs import GENAI_BENCH
from optuna_tuner.values import Load, Measurement

LOOK_S = 0.25
DECLARED = statistics.DELIVERED - statistics.ITL
NEARLY = 0.9  # of the time limit: a level that lasted so long was ended by it


class GenaiBench(Benchmark):
    """Loads the server with genai-bench 0.0.5 and reads its per-request records."""

    kind: ClassVar[str] = "genai_bench"
    summary: ClassVar[str] = "genai-bench 0.0.5, in an environment of its own: closed loop, per-request reports"
    Options: ClassVar[type[BaseModel]] = GenaiBenchOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = cast("GenaiBenchOptions", options)

    def metrics(self) -> frozenset[str]:
        """The whole vocabulary but inter-token latency, which genai-bench does not record."""
        sought = self.searched()
        return DECLARED | ({sought.metric} if sought else set())

    def loads(self) -> tuple[Load, ...]:
        """Scenario by scenario, as genai-bench runs them, round after round; none where the load is searched."""
        return self._options.repeat * self._options.round()

    def searched(self) -> LoadRange | None:
        """As the options say."""
        return self._options.searched()

    def mean_tokens(self) -> tuple[int, int]:
        """Over all scenarios."""
        return scenarios.mean_tokens(self._options.scenario)

    def bound_here(self) -> str | None:
        """A search for the load: it is the built-in client that looks for it."""
        if self.searched() is None:
            return None
        return "the load is searched by the built-in client, which runs in the worker: say the loads in concurrency"

    def program(self, target: Target, vantage: Vantage) -> Program:
        """Of the first round."""
        return program_of(self._options, target, vantage, f"{NAME}-1", self._options.executable or NAME)

    def missing(self) -> str | None:
        """How to get genai-bench; None when it is there."""
        return GENAI_BENCH.executable().missing(self._options.executable)

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Send `warm_up_requests` of the first scenario with the built-in client, which starts at once."""
        probes.warm_up(target, self._options.scenario[0], self._options.warm_up_requests, deadline)

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """Yield each level as soon as its report is complete; end genai-bench after the last, before it draws plots.

        Each round is a process of its own, with other prompts.
        """
        if target.endpoint.key_variable:
            raise EnvironmentFaultError("genai-bench takes a key only as an argument, where all can see it: use http")
        executable = self._executable(target)
        for _ in range(self._options.repeat):
            run = _Run(self._options, target, fresh_folder(target.folder / "benchmark", NAME))
            program = program_of(self._options, target, vantage_of(target, run.folder), run.folder.name, executable)
            with started(program, target, run.folder, deadline) as client:
                deadline = deadline.later(client.waited_s)
                for number, load in enumerate(self._options.round()):
                    yield run.measure(load, number, client, deadline)

    def _executable(self, target: Target) -> str:
        if target.site is not None:
            return self._options.executable or NAME
        return str(GENAI_BENCH.executable().demanded(self._options.executable))

    def probe(self, target: Target, loads: Iterable[Load], deadline: Deadline) -> Iterator[Measurement]:
        """By the built-in client, which starts at once; the figures are genai-bench's, at the load that is found."""
        for found in Http(self._options.probing()).probe(target, loads, deadline):
            yield replace(found, probe=True)

    def report(self, target: Target, load: Load, deadline: Deadline) -> Measurement | None:
        """One level of genai-bench."""
        return next(iter(GenaiBench(self._options.at(load)).run(target, deadline)))


class _Run:
    """One process of genai-bench and its folder."""

    def __init__(self, options: GenaiBenchOptions, target: Target, folder: Path) -> None:
        self.folder, self._started_at = folder, folder.stat().st_mtime
        self._options = options
        self._target = target
        self._began = now()

    def measure(self, load: Load, number: int, client: LoadClient, deadline: Deadline) -> Measurement:
        """One level, the so-manyth of this run, as soon as its report is there, and only if it can be true."""
        path, report = self.wait_for(load, client, deadline)
        levels = spans(self._log())
        times = levels[number] if number < len(levels) else []
        keep(self._target, load, report.told(times, client.epoch_s), self.folder, number + 1)
        metrics = self.metrics(report, times)
        report_check.check_metrics(metrics, DECLARED, load.value)
        return Measurement(load=load, metrics=metrics, report=str(path.relative_to(self._target.folder)))

    def wait_for(self, load: Load, client: LoadClient, deadline: Deadline) -> tuple[Path, LevelReport]:
        """The level's report as soon as it is complete; else an error that says whose fault it is."""

        def look() -> tuple[Path, LevelReport] | bool | None:
            ended = client.exit_code is not None  # asked first: what it wrote before its end is then there
            return self._find(load) or (False if ended else None)

        found = poll(look, deadline, LOOK_S)
        if isinstance(found, tuple):
            return found
        raise self._failure(load, client, deadline, late=found is None)

    def _find(self, load: Load) -> tuple[Path, LevelReport] | None:
        """The file's name ends in a measured time, and it is not written at one stroke: read what there is."""
        wanted, found = (load.scenario, int(load.value)), list[tuple[Path, LevelReport]]()
        for path in sorted(self.folder.glob(f"report/*_num_concurrency_{wanted[1]}_time_*s.json")):
            with suppress(BenchmarkError):
                report = LevelReport.read(report_check.read_report(path, self._started_at))
                found += [(path, report)] if report.level == wanted else []
        if len(found) > 1:
            raise BenchmarkError(f"genai-bench wrote {len(found)} reports of {load}: which one is true is not known")
        return found[0] if found else None

    def metrics(self, report: LevelReport, times: Sequence[tuple[float, float]]) -> dict[str, float]:
        """Of the level, whose `times` its log tells. The limit of requests is looked at only once a second."""
        records = report.records()
        timed_out = report.run_duration_s >= NEARLY * 60 * self._options.minutes
        wanted = 1 if timed_out else self._options.requests
        report_check.check_requests(records, wanted, self._target.success_rate, self._most_tokens(report))
        report.check_sums()
        if report.run_duration_s > now() - self._began:
            raise BenchmarkError(f"genai-bench says that it ran for {report.run_duration_s:g} s, longer than it did")
        span_s = duration_s(times, records)
        if span_s is not None and span_s > report.run_duration_s * (1 + plausibility.SLACK):
            raise BenchmarkError(f"genai-bench's requests took {span_s:g} s, longer than its whole level")
        return statistics.summarise(records, span_s or report.run_duration_s, self._target.slo)

    def _most_tokens(self, report: LevelReport) -> float:
        """Where the server does not count, genai-bench does."""
        asked = int(scenarios.COUNTED_ANEW * scenarios.parse(report.level[0]).output.highest)
        return scenarios.most_tokens(asked, self._options.additional_params)

    def _log(self) -> str:
        path = self.folder / "genai_bench.log"
        return ending(path, report_check.LARGEST_REPORT_BYTES).decode(errors="replace") if path.exists() else ""

    def _failure(self, load: Load, client: LoadClient, deadline: Deadline, *, late: bool) -> Exception:
        for path in self.folder.glob("report/debug_for_run_*.json"):
            records = LevelReport.read(report_check.read_report(path, self._started_at)).records()
            report_check.check_requests(records, 1, self._target.success_rate)
        failure = Failure(
            load=load,
            name=NAME,
            client=client,
            completed=len((spans(self._log()) or [[]])[-1]),
            late=late,
            said=f"{self._log()}\n{tail(client)}",
        )
        return failure.error(self._target, deadline)
