"""What is wanted: objectives, constraints (the SLO), and the load level that is scored."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Metrics, RequestSlo


class Objective(BaseModel):
    """A metric and its direction."""

    model_config = STRICT

    metric: str = Field(examples=["output_throughput_tok_s"])
    direction: Literal["maximize", "minimize"]


class Constraint(BaseModel):
    """An SLO: a trial that breaks it is kept, but is not feasible. Exactly one bound."""

    model_config = STRICT

    metric: str = Field(examples=["ttft_ms.p99"])
    at_most: float | None = None
    at_least: float | None = None

    @property
    def name(self) -> str:
        """How the constraint is called in Optuna's history."""
        return (
            f"{self.metric} <= {self.at_most:g}" if self.at_most is not None else f"{self.metric} >= {self.at_least:g}"
        )

    def excess(self, metrics: Metrics) -> float:
        """Relative violation, dimensionless; zero or less is feasible."""
        value = metrics[self.metric]
        if self.at_most is not None:
            return (value - self.at_most) / (abs(self.at_most) or 1.0)
        bound = self.at_least or 0.0
        return (bound - value) / (abs(bound) or 1.0)


class RequestSloSpec(BaseModel):
    """Bounds on one request; goodput counts the requests that keep them all."""

    model_config = STRICT

    ttft_ms: float | None = Field(default=None, gt=0)
    tpot_ms: float | None = Field(default=None, gt=0)
    e2e_latency_ms: float | None = Field(default=None, gt=0)

    def value(self) -> RequestSlo:
        """As the value that travels."""
        return RequestSlo(ttft_ms=self.ttft_ms, tpot_ms=self.tpot_ms, e2e_latency_ms=self.e2e_latency_ms)


class Goals(BaseModel):
    """Objectives and constraints, and how several load levels become one score."""

    model_config = STRICT

    objectives: tuple[Objective, ...] = Field(min_length=1)
    constraints: tuple[Constraint, ...] = ()
    request_slo: RequestSloSpec = Field(default_factory=RequestSloSpec)
    level: Literal["best", "mean"] = Field(
        default="best",
        description="best: the level that is best in the first objective among those that keep every constraint. "
        "mean: each metric's mean over all levels.",
    )
