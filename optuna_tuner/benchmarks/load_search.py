"""What a study file says to have the most load looked for, and how many requests one probe needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from optuna_tuner.benchmarks import scenarios
from optuna_tuner.load_range import LoadRange
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Load, LoadKind

ROUNDS = 4  # requests of each user: the first ones all begin together, and say little of how it goes on


class LoadSearchSpec(BaseModel):
    """What both ways to search have."""

    model_config = STRICT

    search: Literal["max"] = Field(description="Each trial looks for the most load at which the goals are kept.")
    precision: float = Field(
        default=0.1,
        ge=0.01,
        le=1,
        description="How far a load that is too much may lie above the one that is found, as a share of it.",
    )
    probes: PositiveInt = Field(default=12, le=100, description="The most loads that a trial measures, repeats too.")

    def range(self, low: Load, high: Load) -> LoadRange:
        """As the value that travels."""
        return LoadRange(low=low, high=high, precision=self.precision, probes=self.probes)


class ConcurrencySearch(LoadSearchSpec):
    """`concurrency: {search: max, low: 1, high: 256}`."""

    low: PositiveInt = Field(default=1, description="The fewest requests in flight that are tried.")
    high: PositiveInt = Field(description="The most requests in flight that are tried.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _refuse_turned_round(self.low, self.high)
        return self

    def between(self, scenario: str) -> LoadRange:
        """The range for one scenario."""
        return self.range(*(Load(value=value, scenario=scenario) for value in (self.low, self.high)))


class RateSearch(LoadSearchSpec):
    """`request_rate: {search: max, low: 0.5, high: 32}`."""

    low: PositiveFloat = Field(description="The fewest requests a second that are tried.")
    high: PositiveFloat = Field(description="The most requests a second that are tried.")
    hold_s: float = Field(default=20, gt=0, description="A rate is kept up for so long at least: a queue must grow.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _refuse_turned_round(self.low, self.high)
        return self

    def between(self, scenario: str, kind: LoadKind) -> LoadRange:
        """The range for one scenario and way to arrive."""
        return self.range(*(Load(kind=kind, value=value, scenario=scenario) for value in (self.low, self.high)))


def _refuse_turned_round(low: float, high: float) -> None:
    if low >= high:
        refuse([Misfit(("high",), f"must be above low, which is {low:g}")])


def refuse_several(texts: Sequence[str]) -> None:
    """A load that is searched is one number."""
    if len(texts) > 1:
        refuse([Misfit(("scenario",), "a search for the most load has one scenario: make a study for each")])


_LIST, _SEARCH = "list of loads", "search for a load"  # no keys of a study file: they are not told


def _which(value: object) -> str:
    searches = isinstance(value, Mapping | LoadSearchSpec)
    return _SEARCH if searches else _LIST


UserCounts = Annotated[
    tuple[PositiveInt, ...],
    BeforeValidator(scenarios.listed, json_schema_input_type=int | list[int]),
    scenarios.DIFFERENT,
]
Rates = Annotated[
    tuple[PositiveFloat, ...],
    BeforeValidator(scenarios.listed, json_schema_input_type=float | list[float]),
    scenarios.DIFFERENT,
]
Concurrency = Annotated[
    Annotated[UserCounts, Tag(_LIST)] | Annotated[ConcurrencySearch, Tag(_SEARCH)], Discriminator(_which)
]
RequestRate = Annotated[Annotated[Rates, Tag(_LIST)] | Annotated[RateSearch, Tag(_SEARCH)], Discriminator(_which)]


def requests_of(load: Load, least: int, hold_s: float = 0.0) -> int:
    """How many requests a probe needs so that the load is really there, and for long enough."""
    if load.kind is LoadKind.CONCURRENCY:
        return max(least, ROUNDS * int(load.value))
    return max(least, ceil(load.value * hold_s))
