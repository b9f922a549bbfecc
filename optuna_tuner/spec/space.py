"""The search space: which flags are sampled, from what, when, and which combinations are known to be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Literal, Protocol, Self, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.values import Params, Scalar

# Deferred, here and elsewhere: a command pays only for the models that it uses.
STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
SMALLEST = -(2**63)  # what a database column holds
LARGEST = 2**63 - 1


class Suggesting(Protocol):
    """What gives parameters their values: an Optuna trial, or a draw that only looks like one.

    Optuna itself takes half a second to import; reading a study file needs none of it.
    """

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Choose a whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Choose a number."""

    def suggest_categorical(
        self, name: str, choices: Sequence[bool | int | float | str | None]
    ) -> bool | int | float | str | None:
        """Choose one of these."""


def flag_name(written: str) -> str:
    """A flag's name as it is kept: `--max-num-seqs`, `max-num-seqs` and `max_num_seqs` are one."""
    return written.lstrip("-").replace("-", "_")


class _Parameter(BaseModel):
    model_config = STRICT

    env: bool = Field(default=False, description="It is an environment variable of the server, not a flag.")
    when: Mapping[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="Sample it only when each named parameter has this value, or one of these."
    )

    @field_validator("when")
    @classmethod
    def _names(cls, when: Mapping[str, Scalar | list[Scalar]]) -> Mapping[str, Scalar | list[Scalar]]:
        return {flag_name(name): want for name, want in when.items()}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        refuse(self.misfits())
        return self

    def misfits(self) -> Iterator[Misfit]:
        """What does not fit together in this parameter."""
        return iter(())

    def conditions(self) -> Mapping[str, tuple[Scalar, ...]]:
        """For each other parameter, the values with which this one is sampled."""
        return {name: tuple(want) if isinstance(want, list) else (want,) for name, want in self.when.items()}

    def applies(self, chosen: Mapping[str, Scalar]) -> bool:
        """Whether it is sampled beside what was chosen before it."""
        return all(other in chosen and chosen[other] in wanted for other, wanted in self.conditions().items())


class Int(_Parameter):
    """A whole number from `low` to `high`, both included."""

    type: Literal["int"]
    low: int = Field(ge=SMALLEST, le=LARGEST, description="Smallest value.")
    high: int = Field(ge=SMALLEST, le=LARGEST, description="Largest value.")
    step: int = Field(default=1, ge=1, le=LARGEST, description="Distance between two values, counted from low.")
    log: bool = Field(default=False, description="Sample small values as finely as large ones.")

    def misfits(self) -> Iterator[Misfit]:
        """What does not fit together in this parameter."""
        yield from _range_misfits(self.low, self.high, self.step if self.step != 1 else None, log=self.log)

    def suggest(self, trial: Suggesting, name: str) -> Scalar:
        """Let Optuna choose."""
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)

    def size(self) -> int | None:
        """How many values it can take."""
        return (self.high - self.low) // self.step + 1

    def values(self) -> Sequence[Scalar]:
        """Every value that it can take."""
        return range(self.low, self.high + 1, self.step)

    def nearest(self, number: float) -> Scalar:
        """The value that it can take which is nearest to this number."""
        return self.low + round((min(max(number, self.low), self.high) - self.low) / self.step) * self.step

    def takes(self, value: Scalar) -> bool:
        """Whether it can have this value."""
        return type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0


class Float(_Parameter):
    """A number from `low` to `high`, both included."""

    type: Literal["float"]
    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    step: float | None = Field(default=None, gt=0, description="Distance between two values, counted from low.")
    log: bool = Field(default=False, description="Sample small values as finely as large ones.")

    def misfits(self) -> Iterator[Misfit]:
        """What does not fit together in this parameter."""
        yield from _range_misfits(self.low, self.high, self.step, log=self.log)

    def suggest(self, trial: Suggesting, name: str) -> Scalar:
        """Let Optuna choose. With a step the number is as one writes it: 0.92, where Optuna has 0.9199999999999999."""
        return self.nearest(trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log))

    def nearest(self, number: float) -> float:
        """The value that it can take which is nearest to this number."""
        found = min(max(number, self.low), self.high)
        if self.step is None:
            return found
        low, step = _exact(self.low), _exact(self.step)
        return float(low + round((_exact(found) - low) / step) * step)

    def size(self) -> int | None:
        """How many values it can take; None where they cannot be counted."""
        if self.step is None:
            return 1 if self.low == self.high else None
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step)) + 1

    def values(self) -> Sequence[Scalar]:
        """Every value that it can take. Raises ValueError where they cannot be counted."""
        size = self.size()
        if size is None:
            raise ValueError("a float without a step has no list of values")
        step = _exact(self.step or 1.0)
        return tuple(float(_exact(self.low) + step * index) for index in range(size))

    def takes(self, value: Scalar) -> bool:
        """Whether it can have this value."""
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            return False
        return self.step is None or (_exact(value) - _exact(self.low)) % _exact(self.step) == 0


class Choice(_Parameter):
    """One of the listed values: all numbers, all text, or true and false."""

    type: Literal["choice"]
    choices: tuple[Scalar, ...] = Field(min_length=1, strict=False, description="The values.")

    def misfits(self) -> Iterator[Misfit]:
        """What does not fit together in this parameter."""
        sorts = list(dict.fromkeys(_sort(value) for value in self.choices))
        if len(sorts) > 1:
            yield Misfit(("choices",), f"mixes {' and '.join(sorts)}; choices must be of one sort")
            return
        for index, value in enumerate(self.choices):
            if value in self.choices[:index]:
                yield Misfit(("choices", index), f"duplicate choice {value!r}")

    def suggest(self, trial: Suggesting, name: str) -> Scalar:
        """Let Optuna choose."""
        return cast("Scalar", trial.suggest_categorical(name, self.choices))

    def size(self) -> int | None:
        """How many values it can take."""
        return len(self.choices)

    def values(self) -> Sequence[Scalar]:
        """Every value that it can take."""
        return self.choices

    def takes(self, value: Scalar) -> bool:
        """Whether it can have this value."""
        return value in self.choices and _sort(value) == _sort(self.choices[0])


class Switch(_Parameter):
    """On or off; an engine that has words for both says both aloud."""

    type: Literal["switch"]

    def suggest(self, trial: Suggesting, name: str) -> Scalar:
        """Let Optuna choose."""
        return cast("bool", trial.suggest_categorical(name, (False, True)))

    def size(self) -> int | None:
        """How many values it can take."""
        return 2

    def values(self) -> Sequence[Scalar]:
        """Every value that it can take."""
        return (False, True)

    def takes(self, value: Scalar) -> bool:
        """Whether it can have this value."""
        return isinstance(value, bool)


Parameter = Annotated[Int | Float | Choice | Switch, Field(discriminator="type")]


def suggest(space: Mapping[str, Parameter], trial: Suggesting) -> Params:
    """Sample one configuration; a parameter whose `when` does not hold is left to the engine's default."""
    chosen: dict[str, Scalar] = {}
    for name, parameter in space.items():
        if parameter.applies(chosen):
            chosen[name] = parameter.suggest(trial, name)
    return params_of(space, chosen)


def params_of(space: Mapping[str, Parameter], chosen: Mapping[str, Scalar]) -> Params:
    """One configuration as a server gets it: flags, and variables as text."""
    return Params(
        flags={name: value for name, value in chosen.items() if not space[name].env},
        env={name: shell_word(value) for name, value in chosen.items() if space[name].env},
    )


def chosen_of(space: Mapping[str, Parameter], params: Params) -> Mapping[str, Scalar]:
    """The inverse of `params_of`: variables as their parameters have them."""
    return {**params.flags, **{name: _read(space[name], text) for name, text in params.env.items()}}


def _read(parameter: Parameter, text: str) -> Scalar:
    if isinstance(parameter, Int | Float):
        return float(text) if isinstance(parameter, Float) else int(text)
    return next(value for value in parameter.values() if shell_word(value) == text)


def named_in(space: Mapping[str, Parameter], params: Params) -> Mapping[str, Parameter]:
    """The parameters that have a value in a configuration, in the order of the space."""
    return {name: each for name, each in space.items() if name in (params.env if each.env else params.flags)}


def written_in(space: Mapping[str, Parameter], given: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """Values by the space's own names, and as its parameters have them: 2 for 2.0 where the choices are 1 and 2."""
    named = {name if name in space else flag_name(name): value for name, value in given.items()}
    return {name: _own(space[name], value) if name in space else value for name, value in named.items()}


def _own(parameter: Parameter, value: Scalar) -> Scalar:
    if isinstance(parameter, Choice):
        return next((each for each in parameter.choices if each == value), value)
    return float(value) if isinstance(parameter, Float) and isinstance(value, int) else value


def shell_word(value: Scalar) -> str:
    """As programs expect it in their environment: switches as 1 and 0."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _sort(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true/false"
    return "text" if isinstance(value, str) else "numbers"


def _exact(number: float) -> Decimal:
    """As written, so that 0.01 is a hundredth. Optuna counts its steps in the same way."""
    return Decimal(str(number))


def _range_misfits(low: float, high: float, step: float | None, *, log: bool) -> Iterator[Misfit]:
    if low > high:
        yield Misfit(("high",), f"must not be less than low, which is {low}; it is {high}")
    if log and low <= 0:
        yield Misfit(("low",), f"must be greater than 0 with log: true, not {low}")
    if step is None:
        return
    if log:
        yield Misfit(("step",), "does not go with log: true; leave one of them out")
    elif low <= high:
        yield from _step_misfits(low, high, step)


def _step_misfits(low: float, high: float, step: float) -> Iterator[Misfit]:
    width = _exact(high) - _exact(low)
    if _exact(step) > width > 0:
        yield Misfit(("step",), f"must not be larger than the range from {low} to {high}; it is {step}")
    elif width % _exact(step):
        last = _exact(low) + width // _exact(step) * _exact(step)
        yield Misfit(("high",), f"is not a whole number of steps above low; with step {step} the last value is {last}")
