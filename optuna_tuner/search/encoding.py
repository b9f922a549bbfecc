"""Configurations as points: numbers between 0 and 1, on the scales on which servers react.

An engine's own default may lie beside what the space has; it has its place there, below 0 or above 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from optuna_tuner.spec.space import Choice, Float, Int, Parameter, Switch
from optuna_tuner.values import Scalar

Configuration = Mapping[str, Scalar]
Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Estimates = Callable[[Configuration], Sequence[float]]
"""What a model tells of a configuration beforehand, such as how full its memory will be: always so many numbers."""

PAIR = 2  # words that exclude each other share one coordinate
NOWHERE = 0.5  # a parameter that a configuration does not have: its condition's own coordinate tells it apart
APART = -1.0  # a word among sizes, as 0 or -1 for "no limit" is: away from all of them, whatever it stands for


def nothing_estimated(configuration: Configuration) -> Sequence[float]:  # noqa: ARG001  as all estimates are called
    """Of no configuration anything."""
    return ()


class Encoding:
    """The coordinates of one space.

    A number, or a choice among numbers, has one coordinate: its place in the list of choices, or on the parameter's
    own scale. So have switches, and choices between two words. Longer lists of words have a coordinate a word.
    """

    def __init__(self, space: Mapping[str, Parameter], estimates: Estimates = nothing_estimated) -> None:
        self._space, self._estimates = space, estimates
        self._coordinates = {name: _coordinates(parameter) for name, parameter in space.items()}
        self._missing = {name: (NOWHERE,) * len(self._coordinates[name](_any(each))) for name, each in space.items()}
        self._sizes = [name for name, parameter in space.items() if _is_size(parameter)]
        self._pairs = tuple(combinations(range(len(self._sizes)), 2))

    @cached_property
    def graded(self) -> NDArray[np.bool_]:
        """Which coordinates have values between others, as sizes have and switches have not."""
        widths = {name: len(each) for name, each in self._missing.items()}
        return np.repeat([_is_graded(self._space[name]) for name in widths], list(widths.values()))

    def points(self, configurations: Sequence[Configuration]) -> Matrix:
        """One row a configuration."""
        return np.array([self._point(each) for each in configurations], dtype=np.float64)

    def features(self, configurations: Sequence[Configuration]) -> Matrix:
        """The points, and what servers fail by: products and ratios of sizes, and what was estimated of memory."""
        estimates = np.array([self._estimates(each) for each in configurations], dtype=np.float64)
        return np.hstack([self.points(configurations), self._products(configurations), estimates])

    def _products(self, configurations: Sequence[Configuration]) -> Matrix:
        """For each two sizes the logarithms of their product and of their ratio; one row a configuration.

        What fails often fails by one of those: tensor times pipeline parallelism against the number of GPUs, or a batch
        of tokens that is smaller than the number of sequences.
        """
        logarithms = np.array([[self._logarithm(each, name) for name in self._sizes] for each in configurations])
        columns = [logarithms[:, one] + sign * logarithms[:, other] for one, other in self._pairs for sign in (1, -1)]
        return np.column_stack(columns) if columns else np.empty((len(configurations), 0))

    def _point(self, configuration: Configuration) -> Sequence[float]:
        row: list[float] = []
        for name, coordinates in self._coordinates.items():
            row += coordinates(configuration[name]) if name in configuration else self._missing[name]
        return row

    def _logarithm(self, configuration: Configuration, name: str) -> float:
        value = float(configuration.get(name, 0))
        return math.log(value) if value > 0 else 0.0  # an engine's default may be 0, or -1 for "no limit"


def is_ordered(parameter: Choice) -> bool:
    """Whether its choices are numbers."""
    return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in parameter.choices)


def is_comparable(parameter: Parameter, value: Scalar) -> bool:
    """Whether a value can lie among those of the parameter: a number beside numbers, a word beside words."""
    if isinstance(parameter, Int | Float) or (isinstance(parameter, Choice) and is_ordered(parameter)):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return not isinstance(parameter, Switch) or isinstance(value, bool)


def _coordinates(parameter: Parameter) -> Callable[[Scalar], Sequence[float]]:
    """Also of values that the parameter does not take: an engine's default may lie beside the choices."""
    if isinstance(parameter, Int | Float):
        return _Places(_Scale(float(parameter.low), float(parameter.high), log=parameter.log))
    if isinstance(parameter, Switch):
        return lambda value: (float(bool(value)),)
    if is_ordered(parameter):
        choices = sorted(map(float, parameter.choices))
        return _Places(_Scale(choices[0], choices[-1], log=choices[0] > 0), choices)
    if len(parameter.choices) == PAIR:
        return lambda value: (float(parameter.choices.index(value)) if value in parameter.choices else NOWHERE,)
    return lambda value: tuple(float(value == choice) for choice in parameter.choices)


class _Places:
    """The places of a parameter's numbers; those of a list lie evenly, whatever is between them."""

    def __init__(self, scale: _Scale, listed: Sequence[float] = ()) -> None:
        self._scale, self._listed = scale, listed
        self._ranks = np.linspace(0.0, 1.0, len(listed))
        self._known: dict[float, tuple[float]] = {}

    def __call__(self, value: Scalar) -> Sequence[float]:
        """One coordinate; between two choices for a number that is none of them."""
        number = float(value)
        if number not in self._known:
            self._known[number] = (self._place(number),)
        return self._known[number]

    def _place(self, number: float) -> float:
        if self._listed and self._scale.holds(number):
            return float(np.interp(number, self._listed, self._ranks))
        return self._scale.place(number)


class _Scale:
    """From 0 at the low end to 1 at the high end, and further on beyond them."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._low, self._high, self._log = low, high, log

    def holds(self, number: float) -> bool:
        """Whether it lies between the ends."""
        return self._low <= number <= self._high

    def place(self, number: float) -> float:
        """Where the number lies; one end is as far from the other as anything beside them where both are the same."""
        if number <= 0 < self._low or number < 0 <= self._low:
            return APART
        low, high, here = (math.log(each) if self._log else each for each in (self._low, self._high, number))
        return (here - low) / (high - low) if high > low else float(np.sign(here - low))


def _is_graded(parameter: Parameter) -> bool:
    """Whether its values are more than two numbers."""
    if isinstance(parameter, Choice):
        return is_ordered(parameter) and len(parameter.choices) > PAIR
    return not isinstance(parameter, Switch) and parameter.size() not in {1, PAIR}


def _is_size(parameter: Parameter) -> bool:
    """Whether its values are positive numbers, so that products and ratios mean something."""
    if isinstance(parameter, Switch):
        return False
    if isinstance(parameter, Choice):
        return is_ordered(parameter) and all(float(choice) > 0 for choice in parameter.choices)
    return parameter.low > 0


def _any(parameter: Parameter) -> Scalar:
    return parameter.low if isinstance(parameter, Int | Float) else parameter.values()[0]
