"""Traffic scenarios: how many tokens go in and come out, in the notation of genai-bench."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue

_PAIR = r"\((\d+),(\d+)\)"
_FORMS = {
    "D": re.compile(rf"D{_PAIR}"),
    "N": re.compile(rf"N{_PAIR}/{_PAIR}"),
    "U": re.compile(rf"U{_PAIR}(?:/{_PAIR})?"),
}
LENGTH_PARAMS = {"max_tokens", "max_completion_tokens", "min_tokens", "n", "best_of"}  # of a request's body
COUNTED_ANEW = 1.5  # where the server does not count, a client's tokenizer finds not quite what was generated
FEWEST_OUTPUT_TOKENS = 2  # a time per output token needs two


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How one length in tokens is distributed: `a` and `b` are mean and deviation (N), or lowest and highest."""

    form: str
    a: int
    b: int

    def sample(self, random: Random, fewest: int) -> int:
        """One length, never below `fewest`."""
        drawn = random.gauss(self.a, self.b) if self.form == "N" else random.uniform(self.a, self.b)
        return max(fewest, int(drawn))

    @property
    def mean(self) -> float:
        """The length in the middle."""
        return self.a if self.form == "N" else (self.a + self.b) / 2

    @property
    def highest(self) -> int:
        """A length that is rarely exceeded: three deviations above the mean for N."""
        return self.a + 3 * self.b if self.form == "N" else self.b


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Input and output lengths. D(in,out); N(mean,deviation)/(mean,deviation); U(low,high)/(low,high) or U(in,out)."""

    text: str
    input: Lengths
    output: Lengths

    def sample(self, random: Random) -> tuple[int, int]:
        """Input and output tokens of one request."""
        return self.input.sample(random, 1), self.output.sample(random, FEWEST_OUTPUT_TOKENS)


def parse(text: str) -> Scenario:
    """The scenario that the text means. Raises ValueError that says what is allowed."""
    form = text[:1]
    match = _FORMS[form].fullmatch(text) if form in _FORMS else None
    if match is None:
        raise ValueError(f'"{text}" is no scenario: use D(in,out), N(mean,dev)/(mean,dev), U(low,high)/(low,high)')
    numbers = [int(group) for group in match.groups() if group is not None]
    if len(numbers) == len(("in", "out")):
        numbers = [low for n in numbers for low in ((n, n) if form == "D" else (1, n))]
    a, b, c, d = numbers
    if form != "N" and (a > b or c > d or b < 1 or d < FEWEST_OUTPUT_TOKENS):
        raise ValueError(f'"{text}": needs low <= high, at least 1 token in and {FEWEST_OUTPUT_TOKENS} out')
    return Scenario(text=text, input=Lengths(form=form, a=a, b=b), output=Lengths(form=form, a=c, b=d))


def mean_tokens(texts: Sequence[str]) -> tuple[int, int]:
    """Input and output tokens of a request, as a mean over these scenarios."""
    found = [parse(text) for text in texts]
    return round(fmean(each.input.mean for each in found)), round(fmean(each.output.mean for each in found))


def _checked(text: str) -> str:
    parse(text)
    return text


ScenarioText = Annotated[str, AfterValidator(_checked), Field(examples=["D(64,32)", "N(480,240)/(300,150)"])]


def most_tokens(asked: int, extra: Mapping[str, JsonValue]) -> float:
    """How many output tokens a reply may have; one more than asked is a server that counts the token of the end."""
    return math.inf if LENGTH_PARAMS & extra.keys() else asked + 1


def listed(value: object) -> object:
    """One value for a list of one, so that a study file may say either."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _different(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a level is listed twice")
    return values


DIFFERENT = AfterValidator(_different)
