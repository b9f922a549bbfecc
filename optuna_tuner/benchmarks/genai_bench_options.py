"""What a study may say of `benchmark: {kind: genai_bench}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, model_validator

from optuna_tuner.benchmarks import load_search, scenarios
from optuna_tuner.benchmarks.http import HttpOptions
from optuna_tuner.load_range import LoadRange
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Load


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
