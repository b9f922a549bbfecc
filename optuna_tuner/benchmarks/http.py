"""The built-in load client: for probes, quick starts and traffic that arrives on its own schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import BaseModel, Field

from optuna_tuner.benchmarks import load_search, probes, prompts, report_check, scenarios, statistics
from optuna_tuner.benchmarks.load_options import LoadOptions
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.errors import DegradedError
from optuna_tuner.load_range import LoadRange
from optuna_tuner.values import Load, LoadKind, Measurement

if TYPE_CHECKING:
    from optuna_tuner.benchmarks.http_client import Plan
    from optuna_tuner.benchmarks.http_record import LevelRecord
    from optuna_tuner.benchmarks.http_stream import Sample

CALIBRATION_WORDS = (40, 400)


class HttpOptions(LoadOptions):
    """Options of `benchmark: {kind: http}`."""

    max_time_s: float = Field(default=600, gt=0, description="No request of a level starts later; those under way end.")
    request_timeout_s: float = Field(default=300, gt=0, description="A request that takes longer has failed.")
    reuse_connections: bool = Field(
        default=False, description="Keep connections open between requests. llama.cpp drops some of those."
    )


class Http(Benchmark):
    """Sends streaming chat completions from this process."""

    kind: ClassVar[str] = "http"
    summary: ClassVar[str] = "the built-in load client: closed or open loop, light, starts at once"
    Options: ClassVar[type[BaseModel]] = HttpOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = cast("HttpOptions", options)

    def metrics(self) -> frozenset[str]:
        """The whole vocabulary; where the load is searched, what it is called, too."""
        sought = self.searched()
        return statistics.DELIVERED | ({sought.metric} if sought else set())

    def loads(self) -> tuple[Load, ...]:
        """Scenario by scenario, in the order of the options."""
        return self._options.loads()

    def searched(self) -> LoadRange | None:
        """As the options say."""
        return self._options.searched()

    def mean_tokens(self) -> tuple[int, int]:
        """Over all scenarios."""
        return scenarios.mean_tokens(self._options.scenario)

    def bound_here(self) -> str | None:
        """It sends from this process."""
        return "the built-in client sends from the worker's own process: take genai_bench or script"

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Send `warm_up_requests`; whether they succeed is the first level's matter."""
        probes.warm_up(target, self._options.scenario[0], self._options.warm_up_requests, deadline)

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """Measure level by level. Open-loop latencies count from the scheduled arrival."""
        scale = self.calibrate(target, deadline)
        for number, load in enumerate(self.loads(), start=1):
            plan = self._plan(load, self._options.requests, target.success_rate)
            yield self._measure(target, plan, *self._sent(target, plan, scale, number, deadline))

    def probe(self, target: Target, loads: Iterable[Load], deadline: Deadline) -> Iterator[Measurement]:
        """As `run`, with so many requests that the load is really there.

        Raises DegradedError where the server does not answer any more after a load that was too much for it.
        """
        scale = self.calibrate(target, deadline)
        for number, load in enumerate(loads, start=1):
            requests = load_search.requests_of(load, self._options.requests, self._options.hold_s)
            plan = self._plan(load, requests, target.success_rate)
            sent = self._sent(target, plan, scale, number, deadline)
            try:
                found = self._measure(target, plan, *sent)
            except DegradedError as error:
                if wrong := probes.probe(target, deadline):
                    raise DegradedError(f"{load}: {error}; and then it does not answer: {wrong}") from error
                found = _failed(target, load, *sent)
            yield found

    def missing(self) -> str | None:
        """Nothing: its library comes with the package."""
        return None

    def _plan(self, load: Load, requests: int, success_rate: float = 0.0) -> Plan:
        from optuna_tuner.benchmarks.http_client import Plan  # noqa: PLC0415  aiohttp only where requests are sent

        return Plan(
            load=load,
            requests=requests,
            max_time_s=self._options.max_time_s,
            request_timeout_s=self._options.request_timeout_s,
            failures_allowed=(1 - success_rate) * requests,
            reuse_connections=self._options.reuse_connections,
            extra=self._options.additional_params,
        )

    def _sent(
        self, target: Target, plan: Plan, scale: prompts.Scale, number: int, deadline: Deadline
    ) -> tuple[Sequence[Sample], Path | None]:
        """The requests of one level, and where they are kept; nowhere where there was no room."""
        from optuna_tuner.benchmarks.http_record import LevelRecord  # noqa: PLC0415  as above

        record = LevelRecord(target, plan.load, number)
        try:
            samples = self._send(target, plan, scale, deadline, f"level {number}", record)
        finally:
            kept = record.close()
        return samples, kept

    @staticmethod
    def _send(
        target: Target,
        plan: Plan,
        scale: prompts.Scale,
        deadline: Deadline,
        purpose: str,
        record: LevelRecord | None = None,
    ) -> list[Sample]:
        from optuna_tuner.benchmarks.http_client import send  # noqa: PLC0415  aiohttp only where requests are sent

        seed = f"{target.seed} {purpose}"
        texts = prompts.prompts(scenarios.parse(plan.load.scenario), scale, seed)
        return send(target.endpoint, plan, texts, deadline, seed, record)

    def calibrate(self, target: Target, deadline: Deadline) -> prompts.Scale:
        """Tokens a word: by the model's tokenizer, else as the server counts two prompts, else one."""
        if local := prompts.scale_of_tokenizer(target.model.tokenizer):
            return local
        counts: list[tuple[int, int]] = []
        for words in CALIBRATION_WORDS:
            plan = self._plan(Load(value=1, scenario=f"D({words},2)"), 1)
            (sample, *_) = self._send(target, plan, prompts.Scale(), deadline, f"calibration {words}")
            told = sample.usage.get("prompt_tokens")
            if not isinstance(told, int):
                break
            counts.append((words, told))
        else:
            return prompts.Scale.between(*counts)
        return prompts.Scale()

    def _measure(self, target: Target, plan: Plan, samples: Sequence[Sample], report: Path | None) -> Measurement:
        began = min((sample.due for sample in samples), default=0.0)
        records = [sample.record() for sample in samples]
        span_s = max((sample.ended for sample in samples), default=0.0) - began
        full = span_s < self._options.max_time_s
        most = max((sample.prompt.output_tokens for sample in samples), default=0)
        asked = scenarios.most_tokens(most, self._options.additional_params)
        report_check.check_requests(records, plan.requests if full else 1, target.success_rate, asked)
        metrics = statistics.summarise(records, span_s, target.slo)
        users = plan.load.value if plan.load.kind is LoadKind.CONCURRENCY else None
        report_check.check_metrics(metrics, statistics.DELIVERED, users)
        return Measurement(load=plan.load, metrics=metrics, report=_told(target, report))


def _failed(target: Target, load: Load, samples: Sequence[Sample], report: Path | None) -> Measurement:
    """Of a level under which too many requests failed: the times of the others would be those of survivors."""
    failed = sum(bool(sample.error) for sample in samples)
    counts = {"completed_requests": float(len(samples) - failed), "failed_requests": float(failed)}
    metrics = {**counts, "error_rate": failed / max(1, len(samples))}
    return Measurement(load=load, metrics=metrics, report=_told(target, report))


def _told(target: Target, report: Path | None) -> str:
    return str(report.relative_to(target.folder)) if report else ""
