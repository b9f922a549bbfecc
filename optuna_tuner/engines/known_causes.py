"""What an engine's log means, as data: the lines by which a failure is known, its cause, and what to do about it.

`causes/ENGINE.yaml` holds them. Its sections:

* `ready`: the words which say that the server answers. What was logged before is `starting`, from there on `serving`.
* `pressure`: where the log tells it, the line that tells of requests which lost their place in the KV cache. That is
  no failure. Its group `count` says how many; the counts of one `rank` are added up, and so are those of several
  `engine`s; ranks of one engine tell of the same requests.
* `signs`: what one line shows, in the order of trust. `near` must be found somewhere in the log too, where the line
  alone could mean two things. `named_above`: what the line speaks of stands alone in the line above it, as pydantic
  writes; each such pair of lines is evidence. `advice` is given where it can be more exact than the cause's own; groups
  of the pattern stand in it in braces.

`causes/common.yaml` holds the signs that every engine's log may show; they come after the engine's own.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from optuna_tuner.own_data import read_yaml
from optuna_tuner.values import Cause


class Phase(StrEnum):
    """When a sign means what it says."""

    STARTING = "starting"
    SERVING = "serving"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sign(_Strict):
    """A line that tells a cause. `^` in its pattern is the start of a line without the logger's prefix."""

    id: str
    pattern: re.Pattern[str]
    near: re.Pattern[str] | None = None
    named_above: bool = False
    phase: Phase | None = None  # None: in both
    cause: Cause
    advice: str = ""
    source: str  # whose source code prints it

    @model_validator(mode="after")
    def _advice_can_be_filled_in(self) -> Sign:
        wanted = {name for _, name, _, _ in Formatter().parse(self.advice) if name}
        if unknown := wanted - self.pattern.groupindex.keys():
            raise ValueError(f"{self.id}: the advice names {sorted(unknown)}, which the pattern does not find")
        return self

    def exact_advice(self, line: str) -> str:
        """What to do, with what the line tells in it; empty where the cause's own advice says it all."""
        found = self.pattern.search(line)
        return self.advice.format_map(found.groupdict()) if found else ""


def _counts(pattern: re.Pattern[str]) -> re.Pattern[str]:
    if "count" not in pattern.groupindex:
        raise ValueError("the pattern has no group `count`")
    return pattern


class Pressure(_Strict):
    """The line that tells of requests which lost their place in the KV cache. Its pattern meets the line as it is."""

    pattern: Annotated[re.Pattern[str], AfterValidator(_counts)]
    source: str


class SignBook(_Strict):
    """All that is known of one engine's log."""

    ready: str
    pressure: Pressure | None = None
    signs: tuple[Sign, ...]

    def of(self, phase: Phase) -> tuple[Sign, ...]:
        """The engine's own signs in this phase, then those of every engine."""
        return tuple(each for each in (*self.signs, *common_signs()) if each.phase in {None, phase})


class _Common(_Strict):
    signs: tuple[Sign, ...]


@lru_cache(maxsize=8)
def sign_book(engine: str) -> SignBook:
    """The signs of one engine, read once. Raises FileNotFoundError for an engine that has none."""
    return SignBook.model_validate(read_yaml(_text(engine)))


@lru_cache(maxsize=1)
def common_signs() -> tuple[Sign, ...]:
    """The signs that every engine's log may show, read once."""
    return _Common.model_validate(read_yaml(_text("common"))).signs


def _text(name: str) -> str:
    return (files("optuna_tuner.engines") / "causes" / f"{name}.yaml").read_text(encoding="utf-8")
