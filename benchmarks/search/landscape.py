"""What a landscape is: a search space whose every configuration has a known truth, and noise around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Protocol

import numpy as np

from optuna_tuner.memory.gpus import Gpu
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.search.encoding import Matrix
from optuna_tuner.spec.space import Parameter
from optuna_tuner.values import Cause, Model, Scalar, Slot

Configuration = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a trial of one configuration gives.

    Attributes:
        cause: why it does not run; None where it does.
        objective: at the operating point: the load level that is best among those that keep every constraint or, where
            none does, the one that breaks them least. None where it does not run.
        constraints: at the same level: log(metric / limit) each, above 0 is a violation; empty where it does not run.
        cost_s: seconds of the whole trial, also of one that fails.
        rungs: for each load level in its order: the objective (where a constraint is broken there: 0, or infinity where
            less is better), and the seconds from the trial's beginning to the level's end. Empty where there is but one
            level.
        traded: the second objective at the operating point, where the landscape has two: less is better.

    """

    cause: Cause | None = None
    objective: float | None = None
    constraints: tuple[float, ...] = ()
    cost_s: float
    rungs: tuple[tuple[float, float], ...] = ()
    traded: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether it runs and keeps every constraint."""
        return self.cause is None and max(self.constraints, default=0.0) <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Standard deviations of the logarithm of what is measured, from one run to the next."""

    objective: float = 0.02
    constraints: float = 0.05


class Landscape(Protocol):
    """A search space with a known truth.

    Attributes:
        name: of the landscape.
        about: model, machine, traffic and goal in one line.
        space: the parameters, as a study file has them.
        default: the engine's own defaults in terms of the space; only parameters that apply.
        first: what a practitioner would try first; may be empty.
        engine, version: whose flags these are.
        fixed: flags that every configuration has beside those of the space.
        model, slot: what the engine's rules are asked about.
        facts, gpu: what the memory model is asked about; None where they are not known.
        maximize: whether a larger objective is better.
        constraint_names: in the order of `Truth.constraints`.
        front: where it has two objectives, the scores of the feasible configurations that none beats in both.
        noise: of one measurement.

    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def about(self) -> str: ...  # noqa: D102
    @property
    def space(self) -> Mapping[str, Parameter]: ...  # noqa: D102
    @property
    def default(self) -> Configuration: ...  # noqa: D102
    @property
    def first(self) -> Sequence[Configuration]: ...  # noqa: D102
    @property
    def engine(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def fixed(self) -> Configuration: ...  # noqa: D102
    @property
    def model(self) -> Model: ...  # noqa: D102
    @property
    def slot(self) -> Slot: ...  # noqa: D102
    @property
    def facts(self) -> ModelFacts | None: ...  # noqa: D102
    @property
    def gpu(self) -> Gpu | None: ...  # noqa: D102
    @property
    def maximize(self) -> bool: ...  # noqa: D102
    @property
    def constraint_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def front(self) -> Matrix | None: ...  # noqa: D102
    @property
    def noise(self) -> Noise: ...  # noqa: D102

    @property
    def optimum(self) -> float:
        """The true objective of the best feasible configuration; the first call looks at all of them."""

    def truth(self, params: Configuration) -> Truth:
        """What this configuration gives, without noise. Raises ValueError for one that is not of the space."""

    def observe(self, params: Configuration, rng: np.random.Generator) -> Truth:
        """What a trial of it sees."""


def noisy(truth: Truth, noise: Noise, rng: np.random.Generator) -> Truth:
    """The same as a trial sees it: each level has noise of its own; the operating point is the true one.

    Whether a server starts, and how long a trial takes, has none.
    """
    if truth.cause is not None or truth.objective is None:
        return truth
    factors = [exp(noise.objective * rng.standard_normal()) for _ in truth.rungs or (0,)]
    chosen = next((place for place, (value, _) in enumerate(truth.rungs) if value == truth.objective), 0)
    return replace(
        truth,
        objective=truth.objective * factors[chosen],
        constraints=tuple(excess + noise.constraints * rng.standard_normal() for excess in truth.constraints),
        rungs=tuple((value * factor, at) for (value, at), factor in zip(truth.rungs, factors, strict=False)),
        traded=truth.traded and truth.traded * exp(noise.objective * rng.standard_normal()),
    )


def scores(truths: Iterable[Truth], *, maximize: bool) -> Matrix:
    """The two objectives of the feasible ones, a row each: logarithms, of which more is better."""
    sign = 1.0 if maximize else -1.0
    rows = [
        (sign * log(each.objective), -log(each.traded))
        for each in truths
        if each.feasible and each.objective is not None and each.traded is not None
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def best(truths: Iterator[Truth], *, maximize: bool) -> float:
    """The best objective among the feasible. Raises ValueError where there is none."""
    found = [truth.objective for truth in truths if truth.feasible and truth.objective is not None]
    if not found:
        raise ValueError("no configuration is feasible")
    return max(found) if maximize else min(found)
