"""What is wanted: objectives, constraints (the SLO), and the load level that is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Metrics, RequestSlo


class Objective(BaseModel):
    """A metric and its direction."""

    model_config = STRICT

    metric: str = Field(description="One that the benchmark delivers.", examples=["output_throughput_tok_s"])
    direction: Literal["maximize", "minimize"] = Field(description="Which way is better.")


class Constraint(BaseModel):
    """An SLO: a trial that breaks it is kept, but is not feasible. Exactly one bound, in the metric's unit."""

    model_config = STRICT

    metric: str = Field(description="One that the benchmark delivers.", examples=["ttft_ms.p99"])
    at_most: float | None = Field(default=None, description="Upper bound.")
    at_least: float | None = Field(default=None, description="Lower bound.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.at_most is None and self.at_least is None:
            refuse([Misfit((), "a constraint needs a bound: at_most or at_least")])
        if self.at_most is not None and self.at_least is not None:
            refuse([Misfit(("at_least",), "a constraint has one bound; write at_most and at_least as two constraints")])
        return self

    @property
    def name(self) -> str:
        """How the constraint is called in Optuna's history."""
        if self.at_most is not None:
            return f"{self.metric} <= {self.at_most:.12g}"
        return f"{self.metric} >= {self.at_least:.12g}"

    def excess(self, metrics: Metrics) -> float:
        """Relative violation, dimensionless; zero or less is feasible. A bound of 0 counts as 1."""
        value = metrics[self.metric]
        if self.at_most is not None:
            return (value - self.at_most) / (abs(self.at_most) or 1.0)
        bound = self.at_least or 0.0
        return (bound - value) / (abs(bound) or 1.0)


class RequestSloSpec(BaseModel):
    """Bounds on one request; goodput counts the requests that keep them all."""

    model_config = STRICT

    ttft_ms: float | None = Field(default=None, gt=0, description="Upper bound of the time to first token.")
    tpot_ms: float | None = Field(default=None, gt=0, description="Upper bound of the time per output token.")
    e2e_latency_ms: float | None = Field(default=None, gt=0, description="Upper bound of the whole request's time.")

    def value(self) -> RequestSlo:
        """As the value that travels."""
        return RequestSlo(ttft_ms=self.ttft_ms, tpot_ms=self.tpot_ms, e2e_latency_ms=self.e2e_latency_ms)

    @property
    def bounded(self) -> bool:
        """Whether any bound is set."""
        return any(bound is not None for bound in (self.ttft_ms, self.tpot_ms, self.e2e_latency_ms))


class Goals(BaseModel):
    """Objectives and constraints, and how several load levels become one score."""

    model_config = STRICT

    objectives: tuple[Objective, ...] = Field(
        min_length=1, strict=False, description="What is wanted; several give a Pareto front."
    )
    constraints: tuple[Constraint, ...] = Field(
        default=(), strict=False, description="What must hold of the whole load level: the SLO."
    )
    request_slo: RequestSloSpec = Field(
        default_factory=RequestSloSpec, description="What a single request must keep to count as good."
    )
    level: Literal["best", "mean"] = Field(
        default="best",
        description="best: the level that is best in the first objective among those that keep every constraint. "
        "mean: each metric's mean over all levels.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        metrics = [objective.metric for objective in self.objectives]
        refuse(goal_misfits(metrics, dict(enumerate(self.constraints)), self.request_slo))
        return self


def goal_misfits(
    objectives: Sequence[str], constraints: Mapping[int, Constraint], request_slo: RequestSloSpec
) -> Iterator[Misfit]:
    """What does not fit together: a metric or a constraint that is named twice, a goodput without its bounds."""
    names: list[str] = []
    for index, metric in enumerate(objectives):
        if metric in objectives[:index]:
            yield Misfit(("objectives", index, "metric"), f"{metric} is an objective already")
        if _counts_good(metric) and not request_slo.bounded:
            yield Misfit(("objectives", index, "metric"), _NEEDS_BOUNDS)
    for index, constraint in constraints.items():
        if constraint.name in names:
            yield Misfit(("constraints", index), f"duplicate constraint {constraint.name}")
        names.append(constraint.name)
        if _counts_good(constraint.metric) and not request_slo.bounded:
            yield Misfit(("constraints", index, "metric"), _NEEDS_BOUNDS)


_NEEDS_BOUNDS = "goodput needs at least one bound in goals.request_slo: ttft_ms, tpot_ms or e2e_latency_ms"


def _counts_good(metric: str) -> bool:
    """Whether a metric counts the requests that kept their bounds."""
    return metric.startswith("goodput_")
