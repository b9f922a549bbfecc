"""The built-in load client: for probes, quick starts and traffic that arrives on its own schedule."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, cast

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, PositiveFloat, PositiveInt, model_validator

from optuna_tuner.benchmarks import gate, probes, prompts, scenarios, statistics
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Load, LoadKind, Measurement

if TYPE_CHECKING:
    from optuna_tuner.benchmarks.http_client import Plan
    from optuna_tuner.benchmarks.http_stream import Sample

CALIBRATION_WORDS = (40, 400)


logger = logging.getLogger(__name__)


class HttpOptions(BaseModel):
    """Options of `benchmark: {kind: http}`. Exactly one of `concurrency` and `request_rate`."""

    model_config = STRICT

    scenario: Annotated[
        tuple[scenarios.ScenarioText, ...],
        BeforeValidator(scenarios.listed, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = Field(description="Input and output tokens: D(64,32), N(mean,dev)/(mean,dev) or U(low,high)/(low,high).")
    concurrency: Annotated[
        tuple[PositiveInt, ...],
        BeforeValidator(scenarios.listed, json_schema_input_type=int | list[int]),
        scenarios.DIFFERENT,
    ] = Field(default=(), description="Closed loop: so many requests in flight at any time; one level each.")
    request_rate: Annotated[
        tuple[PositiveFloat, ...],
        BeforeValidator(scenarios.listed, json_schema_input_type=float | list[float]),
        scenarios.DIFFERENT,
    ] = Field(
        default=(), description="Open loop: so many requests a second arrive, whether or not the server keeps up."
    )
    arrival: Literal["poisson", "constant"] = Field(default="poisson", description="How open-loop requests arrive.")
    requests: int = Field(default=100, ge=1, description="Requests of each level.")
    max_time_s: float = Field(default=600, gt=0, description="No request of a level starts later; those under way end.")
    request_timeout_s: float = Field(default=300, gt=0, description="A request that takes longer has failed.")
    warm_up_requests: int = Field(default=4, ge=0, description="Requests before the first level; not measured.")
    reuse_connections: bool = Field(
        default=False, description="Keep connections open between requests. llama.cpp drops some of those."
    )
    additional_params: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Put into each request's body as they are."
    )

    @model_validator(mode="after")
    def _one_kind_of_load(self) -> Self:
        if bool(self.concurrency) == bool(self.request_rate):
            raise ValueError("give either concurrency or request_rate")
        return self

    def loads(self) -> tuple[Load, ...]:
        """One level for each scenario and value."""
        open_loop = LoadKind.REQUEST_RATE if self.arrival == "poisson" else LoadKind.CONSTANT_RATE
        kind = LoadKind.CONCURRENCY if self.concurrency else open_loop
        values = self.concurrency or self.request_rate
        return tuple(Load(kind=kind, value=value, scenario=text) for text in self.scenario for value in values)


class Http(Benchmark):
    """Sends streaming chat completions from this process."""

    kind: ClassVar[str] = "http"
    summary: ClassVar[str] = "the built-in load client: closed or open loop, light, starts at once"
    Options: ClassVar[type[BaseModel]] = HttpOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = cast("HttpOptions", options)

    def metrics(self) -> frozenset[str]:
        """The whole vocabulary."""
        return statistics.DELIVERED

    def loads(self) -> tuple[Load, ...]:
        """Scenario by scenario, in the order of the options."""
        return self._options.loads()

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Send `warm_up_requests`; whether they succeed is the first level's matter."""
        probes.warm_up(target, self._options.scenario[0], self._options.warm_up_requests, deadline)

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """Measure level by level. Open-loop latencies count from the scheduled arrival."""
        folder = target.folder / "benchmark"
        scale = self._calibrate(target, deadline)
        for number, load in enumerate(self.loads(), start=1):
            plan = self._plan(load, self._options.requests, target.success_rate)
            samples = self._send(target, plan, scale, f"level {number}", deadline)
            report = folder / f"requests-{number}-{load.kind.value}-{load.value:g}.jsonl"
            yield self._measure(target, load, samples, report)

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

    @staticmethod
    def _send(target: Target, plan: Plan, scale: prompts.Scale, purpose: str, deadline: Deadline) -> list[Sample]:
        from optuna_tuner.benchmarks.http_client import send  # noqa: PLC0415  aiohttp only where requests are sent

        seed = f"{target.seed} {purpose}"
        texts = prompts.prompts(scenarios.parse(plan.load.scenario), scale, seed)
        return send(target.endpoint, plan, texts, deadline, seed)

    def _calibrate(self, target: Target, deadline: Deadline) -> prompts.Scale:
        """Tokens a word: by the model's tokenizer, else as the server counts two prompts, else one."""
        if local := prompts.scale_of_tokenizer(target.model.tokenizer):
            return local
        counts: list[tuple[int, int]] = []
        for words in CALIBRATION_WORDS:
            plan = self._plan(Load(value=1, scenario=f"D({words},2)"), 1)
            (sample, *_) = self._send(target, plan, prompts.Scale(), f"calibration {words}", deadline)
            told = sample.usage.get("prompt_tokens")
            if not isinstance(told, int):
                break
            counts.append((words, told))
        else:
            return prompts.Scale.between(*counts)
        return prompts.Scale()

    def _measure(self, target: Target, load: Load, samples: Sequence[Sample], report: Path) -> Measurement:
        began = min((sample.due for sample in samples), default=0.0)
        kept = _keep(report, "".join(sample.line(began) + "\n" for sample in samples))
        records = [sample.record() for sample in samples]
        span_s = max((sample.ended for sample in samples), default=0.0) - began
        full = span_s < self._options.max_time_s
        most = max((sample.prompt.output_tokens for sample in samples), default=0)
        asked = scenarios.most_tokens(most, self._options.additional_params)
        gate.check_requests(records, self._options.requests if full else 1, target.success_rate, asked)
        metrics = statistics.summarise(records, span_s, target.slo)
        users = load.value if load.kind is LoadKind.CONCURRENCY else None
        gate.check_metrics(metrics, self.metrics(), users)
        told = str(report.relative_to(target.folder)) if kept else ""
        return Measurement(load=load, metrics=metrics, report=told)


def _keep(report: Path, text: str) -> bool:
    """Whether there was room for it: a full disk must not keep a trial from its result."""
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(text, encoding="utf-8")
    except OSError as error:
        logger.warning("the raw report %s is not kept: %s", report, error)
        return False
    return True
