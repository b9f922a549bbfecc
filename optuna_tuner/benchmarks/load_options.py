"""What a study file says of the load, for every client that knows closed and open loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, model_validator

from optuna_tuner.benchmarks import load_search, scenarios
from optuna_tuner.load_range import LoadRange
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Load, LoadKind


class LoadOptions(BaseModel):
    """The traffic of a study. Exactly one of `concurrency` and `request_rate`."""

    model_config = STRICT

    scenario: Annotated[
        tuple[scenarios.ScenarioText, ...],
        BeforeValidator(scenarios.listed, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ] = Field(description="Input and output tokens: D(64,32), N(mean,dev)/(mean,dev) or U(low,high)/(low,high).")
    concurrency: load_search.Concurrency = Field(
        default=(),
        description="Closed loop: so many requests in flight at any time; one level each, or a search for the most.",
    )
    request_rate: load_search.RequestRate = Field(
        default=(),
        description="Open loop: so many requests a second arrive, whether or not the server keeps up; one level each, "
        "or a search for the most.",
    )
    arrival: Literal["poisson", "constant"] = Field(default="poisson", description="How open-loop requests arrive.")
    requests: int = Field(default=100, ge=1, description="Requests of each level.")
    repeat: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Rounds: so often all levels are measured, one round after the other; figures are their means.",
    )
    warm_up_requests: int = Field(default=4, ge=0, description="Requests before the first level; not measured.")
    additional_params: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="Put into each request's body as they are."
    )

    @model_validator(mode="after")
    def _one_kind_of_load(self) -> Self:
        if bool(self.concurrency) == bool(self.request_rate):
            raise ValueError("give either concurrency or request_rate")
        if self.searched() is not None:
            load_search.refuse_several(self.scenario)
        return self

    def loads(self) -> tuple[Load, ...]:
        """One level for each scenario and value, round after round; none where the load is searched."""
        users, rates = self.concurrency, self.request_rate
        if isinstance(users, load_search.ConcurrencySearch) or isinstance(rates, load_search.RateSearch):
            return ()
        kind = LoadKind.CONCURRENCY if users else self._open_loop
        once = tuple(Load(kind=kind, value=value, scenario=text) for text in self.scenario for value in users or rates)
        return self.repeat * once

    def searched(self) -> LoadRange | None:
        """Where the load is searched."""
        if isinstance(self.concurrency, load_search.ConcurrencySearch):
            return self.concurrency.between(self.scenario[0])
        if isinstance(self.request_rate, load_search.RateSearch):
            return self.request_rate.between(self.scenario[0], self._open_loop)
        return None

    @property
    def hold_s(self) -> float:
        """How long a searched rate is kept up at least."""
        return self.request_rate.hold_s if isinstance(self.request_rate, load_search.RateSearch) else 0.0

    @property
    def _open_loop(self) -> LoadKind:
        return LoadKind.REQUEST_RATE if self.arrival == "poisson" else LoadKind.CONSTANT_RATE
