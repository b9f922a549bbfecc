"""genai-bench, as a subprocess: all load levels of a trial in one process on the one warm server."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, model_validator

from optuna_tuner.benchmarks import (
    genai_bench_env,
    load_search,
    plausibility,
    probes,
    prompts,
    report_check,
    scenarios,
    statistics,
)
from optuna_tuner.benchmarks.client_process import Client, ending, fresh_folder, started
from optuna_tuner.benchmarks.genai_bench_report import LevelReport, duration_s, spans
from optuna_tuner.benchmarks.genai_bench_requests import keep_requests
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.errors import BenchmarkError, DegradedError, EnvironmentFaultError
from optuna_tuner.load_range import LoadRange
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Load, Measurement

NAME = "genai-bench"
LOOK_S = 0.25
_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception)): .*$", re.MULTILINE)
COUNTED_ANEW = 1.5
DECLARED = statistics.DELIVERED - statistics.ITL
NEARLY = 0.9  # of the time limit: a level that lasted so long was ended by it
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}  # unless the user has set them otherwise
ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "ENABLE_UI": "false",  # its live screen costs CPU
    "GENAI_BENCH_LOGGING_LEVEL": "DEBUG",  # the only place where it tells when each request started and ended
    "MPLBACKEND": "Agg",
    "NO_PROXY": "*",
}


class GenaiBenchOptions(BaseModel):
    """Options of `benchmark: {kind: genai_bench}`."""

    model_config = STRICT

    scenario: Annotated[
        tuple[scenarios.ScenarioText, ...],
        BeforeValidator(scenarios.listed, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = Field(description="Traffic scenarios: D(64,32), N(mean,dev)/(mean,dev) or U(low,high)/(low,high).")
    concurrency: load_search.Concurrency = Field(
        description="Requests in flight at any time; one level each, or a search for the most."
    )
    requests: int = Field(default=100, ge=1, description="Requests of each level, at least: it looks once a second.")
    repeat: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Rounds: so often all levels are measured, one round after the other; figures are their means.",
    )
    max_time_s: float = Field(
        default=600,
        gt=0,
        description="Time limit of a level, rounded up to whole minutes: genai-bench knows no others.",
    )
    warm_up_requests: int = Field(default=4, ge=0, description="Requests before the first level; not measured.")
    task: Literal["text-to-text"] = Field(default="text-to-text", description="genai-bench's task.")
    additional_params: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Put into each request's body as they are."
    )
    executable: str | None = Field(default=None, description="Path of genai-bench; found by itself when left out.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.concurrency, load_search.ConcurrencySearch):
            load_search.refuse_several(self.scenario)
        elif not self.users:
            refuse([Misfit(("concurrency",), "must not be empty")])
        return self

    @property
    def users(self) -> tuple[int, ...]:
        """The levels; none where the load is searched."""
        return () if isinstance(self.concurrency, load_search.ConcurrencySearch) else self.concurrency

    def round(self) -> tuple[Load, ...]:
        """Each level once; none where the load is searched."""
        return tuple(Load(value=value, scenario=text) for text in self.scenario for value in self.users)

    def searched(self) -> LoadRange | None:
        """Where the load is searched."""
        search = self.concurrency
        return search.between(self.scenario[0]) if isinstance(search, load_search.ConcurrencySearch) else None

    def at(self, load: Load) -> GenaiBenchOptions:
        """The same at one load that was found, with so many requests that it is really there."""
        requests = load_search.requests_of(load, self.requests)
        return self.model_copy(update={"concurrency": (int(load.value),), "requests": requests, "repeat": 1})

    def probing(self) -> HttpOptions:
        """What the built-in client needs to look for the load with the same traffic."""
        return HttpOptions(
            scenario=self.scenario,
            concurrency=self.concurrency,
            requests=self.requests,
            max_time_s=self.max_time_s,
            additional_params=self.additional_params,
        )

    @property
    def minutes(self) -> int:
        """The time limit as genai-bench wants it."""
        return math.ceil(self.max_time_s / 60)


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

    def missing(self) -> str | None:
        """How to get genai-bench; None when it is there."""
        return genai_bench_env.missing(self._options.executable)

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Send `warm_up_requests` of the first scenario with the built-in client, which starts at once."""
        probes.warm_up(target, self._options.scenario[0], self._options.warm_up_requests, deadline)

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """Yield each level as soon as its report is complete; end genai-bench after the last, before it draws plots.

        Each round is a process of its own, with other prompts.
        """
        if target.endpoint.key_variable:
            raise EnvironmentFaultError("genai-bench takes a key only as an argument, where all can see it: use http")
        program = genai_bench_env.find(self._options.executable)
        if program is None:
            raise EnvironmentFaultError(self.missing() or "")
        for _ in range(self._options.repeat):
            run = _Run(self._options, target, fresh_folder(target.folder / "benchmark", NAME))
            with started([str(program), *run.arguments()], _environment(), run.folder) as client:
                for number, load in enumerate(self._options.round()):
                    yield run.measure(load, number, client, deadline)

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
        self.folder = folder
        self._options = options
        self._target = target
        self._prompts = folder / "prompts.json"
        prompts.write_lines(self._prompts, f"{target.seed} {folder.name}")
        self._started_at = self._prompts.stat().st_mtime
        self._began = now()

    def arguments(self) -> list[str]:
        """Its command line. It adds /v1 to the base URL by itself; the key is a word that it insists on, no secret."""
        options, endpoint = self._options, self._target.endpoint
        pairs = [
            ("--api-backend", "vllm"),
            ("--api-base", endpoint.url.rstrip("/").removesuffix("/v1")),
            ("--api-key", "none"),
            ("--api-model-name", endpoint.model),
            ("--model", self._target.model.name),
            ("--model-tokenizer", self._target.model.tokenizer),
            ("--task", options.task),
            *(("--traffic-scenario", text) for text in options.scenario),
            *(("--num-concurrency", str(value)) for value in options.users),
            ("--max-time-per-run", str(options.minutes)),
            ("--max-requests-per-run", str(options.requests)),
            ("--dataset-path", str(self._prompts)),
            ("--additional-request-params", json.dumps(dict(options.additional_params))),
            ("--experiment-base-dir", str(self.folder)),
            ("--experiment-folder-name", "report"),
            ("--log-dir", str(self.folder)),
        ]
        return ["benchmark", *(word for pair in pairs for word in pair)]

    def measure(self, load: Load, number: int, client: Client, deadline: Deadline) -> Measurement:
        """One level, the so-manyth of this run, as soon as its report is there, and only if it can be true."""
        path, report = self.wait_for(load, client, deadline)
        levels = spans(self._log())
        times = levels[number] if number < len(levels) else []
        keep_requests(self._target, load, report, times, self.folder, number + 1)
        metrics = self.metrics(report, times)
        report_check.check_metrics(metrics, DECLARED, load.value)
        return Measurement(load=load, metrics=metrics, report=str(path.relative_to(self._target.folder)))

    def wait_for(self, load: Load, client: Client, deadline: Deadline) -> tuple[Path, LevelReport]:
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
        """Where the server does not count, genai-bench's tokenizer does: not quite the tokens that were generated."""
        asked = int(COUNTED_ANEW * scenarios.parse(report.level[0]).output.highest)
        return scenarios.most_tokens(asked, self._options.additional_params)

    def _log(self) -> str:
        path = self.folder / "genai_bench.log"
        return ending(path, report_check.LARGEST_REPORT_BYTES).decode(errors="replace") if path.exists() else ""

    def _failure(self, load: Load, client: Client, deadline: Deadline, *, late: bool) -> Exception:
        for path in self.folder.glob("report/debug_for_run_*.json"):
            records = LevelReport.read(report_check.read_report(path, self._started_at)).records()
            report_check.check_requests(records, 1, self._target.success_rate)
        what = "was not done in time" if late else f"ended with code {client.exit_code} and no report"
        completed = len((spans(self._log()) or [[]])[-1])
        story = f"{load}: genai-bench {what} ({completed} requests completed)"
        if late and completed:
            return DegradedError(f"{story}: the server is too slow for the limit")
        if wrong := probes.probe(self._target, deadline):
            return DegradedError(f"{story}; the server does not answer as it should: {wrong}")
        return BenchmarkError(f"{story}{self._reason(client)}", log_tail=client.tail())

    def _reason(self, client: Client) -> str:
        """The last error that it told, and the most frequent reason of all."""
        told = _ERROR.findall(f"{self._log()}\n{client.tail()}")
        tokenizer = self._target.model.tokenizer
        absent = "" if Path(tokenizer).is_dir() else f'; its tokenizer "{tokenizer}" is no folder on this machine'
        return f"{': ' + told[-1] if told else ''}{absent}"


def _environment() -> dict[str, str]:
    return {**OFFLINE, **{name: os.environ[name] for name in OFFLINE if name in os.environ}, **ENVIRONMENT}
