"""A space as samplers want it that know neither conditions nor lists of numbers: every parameter, with its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from optuna_tuner.search.encoding import Configuration, is_ordered
from optuna_tuner.search.joint import distributions
from optuna_tuner.spec.space import Choice, Int, Parameter, Switch
from optuna_tuner.values import Scalar

MANY = 64  # whole numbers: they are drawn as if they had no gaps, since looking at each of them takes seconds


class FlatSpace:
    """Each parameter on a scale of its own: a number of a list is its place among them, from small to large.

    A parameter whose condition does not hold has its first value, so that configurations which differ in nothing else
    are one.
    """

    def __init__(self, space: Mapping[str, Parameter]) -> None:
        self._space = space
        self._axes = {name: _axis(space[name], each) for name, each in distributions(space).items()}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna is to draw from, by parameter; those without a choice are left out."""
        return {name: axis.distribution for name, axis in self._axes.items()}

    def inside(self, configuration: Configuration) -> dict[str, Scalar] | None:
        """As it lies in these distributions; None where it does not, as an engine's default may not."""
        if not all(self._space[name].takes(value) for name, value in configuration.items()):
            return None
        return {name: axis.place(configuration.get(name, axis.first)) for name, axis in self._axes.items()}

    def outside(self, drawn: Configuration) -> dict[str, Scalar]:
        """What was drawn, as the parameters have it; also of those whose condition does not hold."""
        return {name: self._axes[name].value(place) for name, place in drawn.items()}

    def applying(self, values: Configuration) -> Configuration:
        """Those of the values whose conditions hold, with the parameters that have no choice: a whole configuration."""
        chosen: dict[str, Scalar] = {}
        for name, parameter in self._space.items():
            if parameter.applies(chosen):
                chosen[name] = values[name] if name in values else _first(parameter)
        return chosen


@dataclass(frozen=True, slots=True)
class _Axis:
    """One parameter: what is drawn for it, and the way from its values to that and back."""

    distribution: BaseDistribution
    first: Scalar
    place: Callable[[Scalar], Scalar] = lambda value: value
    value: Callable[[Scalar], Scalar] = lambda place: place


def _axis(parameter: Parameter, own: BaseDistribution) -> _Axis:
    if isinstance(parameter, Choice) and is_ordered(parameter):
        listed = sorted(parameter.choices, key=float)
        return _Axis(IntDistribution(0, len(listed) - 1), listed[0], listed.index, lambda place: listed[int(place)])
    if isinstance(parameter, Int) and len(parameter.values()) > MANY:
        gapless = FloatDistribution(float(parameter.low), float(parameter.high), log=parameter.log)
        return _Axis(gapless, parameter.low, float, lambda place: parameter.nearest(float(place)))
    return _Axis(own, _first(parameter))


def _first(parameter: Parameter) -> Scalar:
    return parameter.values()[0] if isinstance(parameter, Choice | Switch) else parameter.low
