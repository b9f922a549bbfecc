"""What an older study found and this one measures again: the figures of then, and what surrounded them.

`optuna-tuner gate` and `optuna-tuner rerun` write these sections. They are in the study and not beside it, so that a
study that was interrupted, or is read on another machine, is judged against the same figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from optuna_tuner.spec.goals import Goals
from optuna_tuner.spec.misfits import Misfit, refuse
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Scalar

Runs = Annotated[tuple[float, ...], Field(strict=False)]  # of one metric, in its unit, a value a run
FEWEST_RUNS = 2  # one says nothing of the noise


class Older(BaseModel):
    """Where the figures of then are from."""

    model_config = STRICT

    study: str = Field(description="The study that measured them.")
    trial: int = Field(ge=0, description="Its trial.")
    environment: Mapping[str, Scalar] = Field(
        default_factory=dict, description="What surrounded it: engine, image, machine, GPUs, driver, versions."
    )


class Gate(Older):
    """A confirmed winner and the default, measured again in pairs: whether the winner lost more than it may.

    `optuna-tuner gate` writes this section, `first` with the winner, and a space that holds nothing else. The winner is
    judged against the default, now as then; what each lost by itself tells a slower machine from slower flags.
    """

    max_regression: float = Field(gt=0, lt=1, description="The share that the winner may lose: 0.05 is 5 %.")
    winner: Mapping[str, Runs] = Field(description="What it gave in the pairs of then, by metric, a value a pair.")
    default: Mapping[str, Runs] = Field(description="What the default gave in the same pairs.")
    kept: int = Field(ge=0, description="Of these pairs, those in which the winner kept every constraint.")

    @model_validator(mode="after")
    def _fits(self) -> Gate:
        refuse(self._misfits())
        return self

    def _misfits(self) -> Iterator[Misfit]:
        for metric, runs in self.winner.items():
            if len(runs) < FEWEST_RUNS:
                yield Misfit(("winner", metric), f"needs {FEWEST_RUNS} runs and more: one says nothing of the noise")
            if len(self.default.get(metric, ())) != len(runs):
                yield Misfit(("default",), f"needs {metric} as often as winner has it: they are pairs")
        if not self.winner:
            yield Misfit(("winner",), "is empty: there is nothing to judge against")
        elif self.kept > self.pairs:
            yield Misfit(("kept",), f"is above the number of pairs, which is {self.pairs}")

    @property
    def notice(self) -> str:
        """What must be known of its study first."""
        return f'A GATE, no search: the winner of study "{self.study}" is measured again.'

    @property
    def pairs(self) -> int:
        """How many there were."""
        return max(map(len, self.winner.values()))


class Rerun(Older):
    """One trial, measured again: whether its figures are the same.

    `optuna-tuner rerun` writes this section, and a space that holds nothing but the trial.
    """

    times: int = Field(ge=FEWEST_RUNS, le=100, description="So often it is measured.")
    figures: Mapping[str, Runs] = Field(description="What it gave then, by metric, a value a run; empty if nothing.")
    cause: str = Field(default="", description="Why it gave nothing then: a word of the list of causes.")

    @property
    def notice(self) -> str:
        """What must be known of its study first."""
        return f'A RERUN, no search: trial {self.trial} of study "{self.study}" measured again.'


def recheck_misfits(
    gate: Gate | None, rerun: Rerun | None, first: int, goals: Goals, *, confirmed: bool
) -> Iterator[Misfit]:
    """What does not fit in a study with so many configurations in `first`, and these goals."""
    if gate is not None and rerun is not None:
        yield Misfit(("rerun",), "does not go with gate: leave one of them out")
    if gate is not None and (not confirmed or first != 1):
        yield Misfit(("gate",), "needs confirm, and one configuration in first: the winner")
    for metric in (each.metric for each in goals.objectives if gate and each.metric not in gate.winner):
        yield Misfit(("gate", "winner"), f"needs {metric}: it is judged by that")
    if rerun is not None and first > 1:
        yield Misfit(("rerun",), "needs one configuration in first, or none for the engine's own default")
