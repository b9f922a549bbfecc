"""Any command that prints or writes metrics as JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, cast

from pydantic import BaseModel, BeforeValidator, Field, PositiveFloat, PositiveInt

from optuna_tuner.benchmarks import report_check, scenarios
from optuna_tuner.benchmarks.client_process import ending, fresh_folder, started, tail, vantage_of
from optuna_tuner.benchmarks.plausibility import overlong
from optuna_tuner.client_site import STDOUT, LoadClient, Program, Vantage
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Json, Load, LoadKind, Measurement

REPORT = "metrics.json"
PLACEHOLDERS = ("{url}", "{model}", "{seed}", "{folder}", "{load}")
LONGEST_LINE = 1024 * 1024  # bytes


class ScriptOptions(BaseModel):
    """Options of `benchmark: {kind: script}`."""

    model_config = STRICT

    command: Annotated[
        tuple[str, ...], BeforeValidator(scenarios.listed, json_schema_input_type=str | list[str]), Field(min_length=1)
    ] = Field(
        description="Program and arguments, no shell. {url} {model} {seed} {folder} {load} are replaced: the server's "
        "base URL, its model, the trial's seed, an empty folder, the level's value.",
        examples=[["python", "measure.py", "--url", "{url}", "--concurrency", "{load}"]],
    )
    metrics: Annotated[
        tuple[str, ...], BeforeValidator(scenarios.listed, json_schema_input_type=str | list[str]), Field(min_length=1)
    ] = Field(description="The names that it delivers, from the vocabulary of metrics or its own.")
    output: Literal["stdout", "file"] = Field(
        default="stdout", description=f"Where the JSON object is: the last line printed, or {{folder}}/{REPORT}."
    )
    loads: Annotated[
        tuple[PositiveInt | PositiveFloat, ...],
        BeforeValidator(scenarios.listed, json_schema_input_type=float | list[float]),
    ] = Field(default=(1,), min_length=1, description="The command runs once for each of these values, put at {load}.")
    load_kind: Literal["concurrency", "request_rate", "constant_rate"] = Field(
        default="concurrency", description="What the values of `loads` mean."
    )


class Script(Benchmark):
    """Runs a command once for each load level and believes its metrics only as far as the report check does."""

    kind: ClassVar[str] = "script"
    summary: ClassVar[str] = "any command that prints or writes metrics as JSON"
    Options: ClassVar[type[BaseModel]] = ScriptOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = cast("ScriptOptions", options)

    def metrics(self) -> frozenset[str]:
        """What the study file says that the command delivers."""
        return frozenset(self._options.metrics)

    def loads(self) -> tuple[Load, ...]:
        """One level for each value."""
        kind = LoadKind(self._options.load_kind)
        return tuple(Load(kind=kind, value=value) for value in self._options.loads)

    def bound_here(self) -> str | None:
        """Nothing: it is a program."""
        return None

    def program(self, target: Target, vantage: Vantage) -> Program:
        """The command of the first level."""
        return Program(argv=self.argv(target, self.loads()[0], vantage))

    def missing(self) -> str | None:
        """The program, where it can be known before the server is: it is on this machine or it is not."""
        program = self._options.command[0]
        if "{" in program or shutil.which(program):
            return None
        return f"benchmark.command: there is no program {program} on this machine"

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """The command's own business."""

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """One run of the command a level. A failing command is BenchmarkError, whatever it has printed."""
        for load in self.loads():
            folder, began = fresh_folder(target.folder / "benchmark", "script"), now()
            program = Program(argv=self.argv(target, load, vantage_of(target, folder)))
            with started(program, target, folder, deadline) as client:
                deadline = deadline.later(client.waited_s)
                if poll(lambda client=client: client.exit_code, deadline) is None:  # type: ignore[misc]
                    raise BenchmarkError(f"{load}: the command was not done in time", log_tail=tail(client))
                metrics = self._believed(client, load, target.success_rate, now() - began)
            yield Measurement(load=load, metrics=metrics, report=str(folder.relative_to(target.folder)))

    def _believed(self, client: LoadClient, load: Load, success_rate: float, elapsed_s: float) -> Mapping[str, float]:
        """The metrics of a command that ran so long; refuses failed requests, and what cannot be true."""
        metrics = self._read(client, load)
        report_check.check_values(metrics)
        if (failed := failed_share(metrics)) > 1 - success_rate:
            raise DegradedError(f"{load}: the command reports an error rate of {failed:.1%}")
        told = load.kind is LoadKind.CONCURRENCY and any("{load}" in word for word in self._options.command)
        report_check.check_metrics(metrics, self.metrics(), load.value if told else None)
        if fault := overlong(metrics, elapsed_s):
            raise BenchmarkError(f"{load}: the report cannot be true: {fault}")
        return metrics

    def argv(self, target: Target, load: Load, seen: Vantage) -> tuple[str, ...]:
        """The command with its placeholders replaced; other braces are left alone."""
        values = (seen.url, target.endpoint.model, str(target.seed), seen.folder, f"{load.value:g}")
        words = list(self._options.command)
        for placeholder, value in zip(PLACEHOLDERS, values, strict=True):
            words = [word.replace(placeholder, value) for word in words]
        return tuple(words)

    def _read(self, client: LoadClient, load: Load) -> Mapping[str, float]:
        if client.exit_code:
            words = tail(client)
            said = f": {words.splitlines()[-1]}" if words else ""
            raise BenchmarkError(f"{load}: the command ended with code {client.exit_code}{said}", log_tail=words)
        report = self._object(client)
        text = [name for name, value in report.items() if isinstance(value, bool) or not isinstance(value, int | float)]
        if text:
            raise BenchmarkError(f"{load}: no numbers: {json.dumps({name: report[name] for name in text})[:300]}")
        return cast("Mapping[str, float]", report)

    def _object(self, client: LoadClient) -> Mapping[str, Json]:
        if self._options.output == "file":
            return report_check.read_report(client.folder / REPORT, client.started_at)
        lines = ending(client.folder / STDOUT, LONGEST_LINE).strip().splitlines()
        if not lines:
            raise BenchmarkError("the command printed nothing", log_tail=tail(client))
        return report_check.parse_report(lines[-1], "the command's last line")


def failed_share(metrics: Mapping[str, float]) -> float:
    """The share of requests that failed, by whatever says so; 0 where nothing does."""
    failed, completed = metrics.get("failed_requests", 0.0), metrics.get("completed_requests", 0.0)
    counted = failed / (failed + completed) if failed > 0 else 0.0
    return max(metrics.get("error_rate", 0.0), counted)
