"""What the engines' own guides say of flags, as where a search begins: expectations.yaml."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, TypeAdapter

from optuna_tuner.own_data import read_yaml
from optuna_tuner.values import Scalar


class Entry(BaseModel):
    """What is expected of some flags; expectations.yaml tells how it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flags: tuple[str, ...] = Field(min_length=1)
    values: Mapping[bool | str, PositiveFloat] = Field(default_factory=dict)
    each_doubling: PositiveFloat = 1.0
    up_to: PositiveFloat | None = None
    source: str = Field(min_length=1)

    def factor(self, value: Scalar) -> float:
        """The logarithm of the factor that is expected of this value."""
        if isinstance(value, bool | str):
            return math.log(self.values.get(value, 1.0))
        if value <= 0:  # "no limit", or "choose yourself"
            return 0.0
        doublings = math.log2(value) if self.up_to is None else min(0.0, math.log2(value / self.up_to))
        return doublings * math.log(self.each_doubling)


@cache
def entries(engine: str) -> Mapping[str, Entry]:
    """By the flags' canonical names; none for an engine of which nothing is written."""
    text = files("optuna_tuner.engines").joinpath("expectations.yaml").read_text(encoding="utf-8")
    book = TypeAdapter(Mapping[str, tuple[Entry, ...]]).validate_python(read_yaml(text))
    return {flag: entry for entry in book.get(engine, ()) for flag in entry.flags}


def expected(engine: str, flag: str, value: Scalar) -> float:
    """The logarithm of the factor by which servers are expected to be faster with this flag, by its canonical name."""
    entry = entries(engine).get(flag)
    return 0.0 if entry is None else entry.factor(value)
