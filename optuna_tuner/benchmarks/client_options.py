"""What a study file says of a load client that is another program, with a process for each load level."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, field_validator

from optuna_tuner.benchmarks import load_search, scenarios
from optuna_tuner.benchmarks.http import HttpOptions
from optuna_tuner.benchmarks.load_options import LoadOptions
from optuna_tuner.values import Load, LoadKind

_KEY = re.compile(r"api.?key|authorization|bearer", re.IGNORECASE)


class ClientOptions(LoadOptions):
    """The traffic, the program, and what else it is told."""

    reserved: ClassVar[frozenset[str]]  # the flags that the tuner itself sets

    extra_args: Annotated[
        tuple[str, ...], BeforeValidator(scenarios.listed, json_schema_input_type=str | list[str])
    ] = Field(default=(), description="More words of its command line, as they are. None may hold a key.")
    executable: str | None = Field(default=None, description="Path of the program; found by itself when left out.")

    @field_validator("extra_args")
    @classmethod
    def _neither_ours_nor_a_key(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for word in given:
            if _KEY.search(word):
                raise ValueError("all can see a command line: a server's key belongs to deployer.api_key")
        if taken := next(cls._taken(given), None):
            raise ValueError(f"{taken} is set by the tuner itself")
        return given

    @classmethod
    def _taken(cls, given: tuple[str, ...]) -> Iterator[str]:
        names = (word.partition("=")[0].replace("_", "-") for word in given if word.startswith("-"))
        return (name for name in names if name in cls.reserved)

    def probing(self) -> HttpOptions:
        """What the built-in client needs to look for the load with the same traffic."""
        return HttpOptions(**{name: getattr(self, name) for name in LoadOptions.model_fields})

    def at(self, load: Load) -> Self:
        """The same at one load that was found, with so many requests that it is really there."""
        requests = load_search.requests_of(load, self.requests, self.hold_s)
        users = (int(load.value),) if load.kind is LoadKind.CONCURRENCY else ()
        rates = () if users else (load.value,)
        return self.model_copy(update={"concurrency": users, "request_rate": rates, "requests": requests, "repeat": 1})
