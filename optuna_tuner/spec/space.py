"""The search space: which flags are sampled, from what, when, and which combinations are known to be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, cast

from optuna.trial import BaseTrial
from pydantic import BaseModel, ConfigDict, Field

from optuna_tuner.values import Params, Scalar

STRICT = ConfigDict(frozen=True, extra="forbid", strict=False)


class _Parameter(BaseModel):
    model_config = STRICT

    env: bool = Field(default=False, description="It is an environment variable of the server, not a flag.")
    when: Mapping[str, Scalar | list[Scalar]] = Field(
        default_factory=dict, description="Sample it only when each named parameter has this value, or one of these."
    )

    def conditions(self) -> Mapping[str, tuple[Scalar, ...]]:
        """For each other parameter, the values with which this one is sampled."""
        return {name: tuple(want) if isinstance(want, list) else (want,) for name, want in self.when.items()}


class Int(_Parameter):
    """A whole number from `low` to `high`, both included."""

    type: Literal["int"]
    low: int
    high: int
    step: int = Field(default=1, ge=1)
    log: bool = False

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Let Optuna choose."""
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)


class Float(_Parameter):
    """A number from `low` to `high`, both included."""

    type: Literal["float"]
    low: float
    high: float
    step: float | None = Field(default=None, gt=0)
    log: bool = False

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Let Optuna choose."""
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


class Choice(_Parameter):
    """One of the listed values."""

    type: Literal["choice"]
    choices: tuple[Scalar, ...] = Field(min_length=1)

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Let Optuna choose."""
        return cast("Scalar", trial.suggest_categorical(name, self.choices))


class Switch(_Parameter):
    """On or off; an engine says both aloud."""

    type: Literal["switch"]

    def suggest(self, trial: BaseTrial, name: str) -> Scalar:
        """Let Optuna choose."""
        return trial.suggest_categorical(name, (False, True))


Parameter = Annotated[Int | Float | Choice | Switch, Field(discriminator="type")]


def suggest(space: Mapping[str, Parameter], trial: BaseTrial) -> Params:
    """Sample one configuration; a parameter whose `when` does not hold is left to the engine's default."""
    chosen: dict[str, Scalar] = {}
    for name, parameter in space.items():
        if all(chosen.get(other) in wanted for other, wanted in parameter.conditions().items()):
            chosen[name] = parameter.suggest(trial, name)
    return Params(
        flags={name: value for name, value in chosen.items() if not space[name].env},
        env={name: str(value) for name, value in chosen.items() if space[name].env},
    )
