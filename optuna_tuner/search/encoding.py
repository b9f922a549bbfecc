"""Configurations as points: numbers between 0 and 1, on the scales on which servers react."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from optuna_tuner.spec.space import Choice, Float, Int, Parameter, Switch
from optuna_tuner.values import Scalar

Configuration = Mapping[str, Scalar]
Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

PAIR = 2  # words that exclude each other share one coordinate
NOWHERE = 0.5  # a parameter that a configuration does not have: its condition's own coordinate tells it apart


class Encoding:
    """The coordinates of one space.

    A number, or a choice among numbers, has one coordinate: its place in the list of choices, or on the parameter's
    own scale. So have switches, and choices between two words. Longer lists of words have a coordinate a word.
    """

    def __init__(self, space: Mapping[str, Parameter]) -> None:
        self._coordinates = {name: _coordinates(parameter) for name, parameter in space.items()}
        self._missing = {name: (NOWHERE,) * len(self._coordinates[name](_any(each))) for name, each in space.items()}
        self._sizes = [name for name, parameter in space.items() if _is_size(parameter)]
        self._pairs = tuple(combinations(range(len(self._sizes)), 2))

    def points(self, configurations: Sequence[Configuration]) -> Matrix:
        """One row a configuration."""
        return np.array([self._point(each) for each in configurations], dtype=np.float64)

    def products(self, configurations: Sequence[Configuration]) -> Matrix:
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


def is_comparable(parameter: Parameter, value: Scalar) -> bool:
    """Whether a value can lie among those of the parameter: a number beside numbers, a word beside words."""
    if isinstance(parameter, Int | Float) or (isinstance(parameter, Choice) and _is_ordered(parameter)):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return not isinstance(parameter, Switch) or isinstance(value, bool)


def _coordinates(parameter: Parameter) -> Callable[[Scalar], Sequence[float]]:
    """Also of values that the parameter does not take: an engine's default may lie beside the choices."""
    if isinstance(parameter, Int | Float):
        return lambda value: (_place(parameter, float(value)),)
    if isinstance(parameter, Switch):
        return lambda value: (float(bool(value)),)
    if _is_ordered(parameter):
        return _Ranks(parameter)
    if len(parameter.choices) == PAIR:
        return lambda value: (float(parameter.choices.index(value)) if value in parameter.choices else NOWHERE,)
    return lambda value: tuple(float(value == choice) for choice in parameter.choices)


class _Ranks:
    """The place of a number in an ordered list of choices."""

    def __init__(self, parameter: Choice) -> None:
        self._choices = sorted(float(choice) for choice in parameter.choices)
        self._places = np.linspace(0.0, 1.0, len(self._choices))
        self._known = dict(zip(self._choices, map(float, self._places), strict=True))

    def __call__(self, value: Scalar) -> Sequence[float]:
        """One coordinate; between two choices for a number that is none of them."""
        number = float(value)
        if number not in self._known:
            self._known[number] = float(np.interp(number, self._choices, self._places))
        return (self._known[number],)


def _place(parameter: Int | Float, value: float) -> float:
    low, high = float(parameter.low), float(parameter.high)
    value = min(max(value, low), high)
    if parameter.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / ((high - low) or 1.0)


def _is_ordered(parameter: Choice) -> bool:
    return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in parameter.choices)


def _is_size(parameter: Parameter) -> bool:
    """Whether its values are positive numbers, so that products and ratios mean something."""
    if isinstance(parameter, Switch):
        return False
    if isinstance(parameter, Choice):
        return _is_ordered(parameter) and all(float(choice) > 0 for choice in parameter.choices)
    return parameter.low > 0


def _any(parameter: Parameter) -> Scalar:
    return parameter.low if isinstance(parameter, Int | Float) else parameter.values()[0]
