"""Configurations that might be tried next: at random over the space, and around the best ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random

from optuna_tuner.search.encoding import Configuration
from optuna_tuner.search.grid import configurations
from optuna_tuner.spec.space import Float, Int, Parameter
from optuna_tuner.values import Scalar

LISTED = 1024  # a space with no more configurations is looked at as a whole
AT_RANDOM = 512
FEW = 16  # values: so many neighbours of one parameter are all looked at
STEPS = (0.02, 0.05, 0.1, 0.2)  # of a longer parameter's range, to both sides

Key = frozenset[tuple[str, Scalar]]


class Candidates:
    """Draws configurations of a space; what is given stays as it is in all of them."""

    def __init__(self, space: Mapping[str, Parameter], given: Configuration, rng: Random) -> None:
        self._space, self._given, self._rng = space, given, rng

    def pool(self) -> Sequence[Configuration]:
        """Each once: a whole small space, else some at random."""
        found = self._listed() or [self.at_random() for _ in range(AT_RANDOM)]
        return list({key_of(each): each for each in found}.values())

    def around(self, centres: Iterable[Configuration]) -> Sequence[Configuration]:
        """Each once: those that differ from a centre in one parameter, and as many that differ in another one, too."""
        found = [each for centre in centres for each in self._neighbours(centre)]
        return list({key_of(each): each for each in found}.values())

    def at_random(self) -> Configuration:
        """Any configuration."""
        return self._completed({})

    def _listed(self) -> Sequence[Configuration] | None:
        most = math.prod(parameter.size() or math.inf for parameter in self._space.values())
        if most > LISTED:
            return None
        found = configurations(self._space)
        return [each for each in found if self._given.items() <= each.items()] or [self.at_random()]

    def _neighbours(self, one: Configuration) -> Iterator[Configuration]:
        for name, value in one.items():
            for other in self._near(self._space[name], value):
                moved = self._completed({**one, name: other})
                yield moved
                second = self._rng.choice(tuple(moved))
                yield self._completed({**moved, second: self._drawn(self._space[second])})

    def _near(self, parameter: Parameter, value: Scalar) -> Iterator[Scalar]:
        size = parameter.size()
        if not isinstance(parameter, Int | Float) or (size is not None and size <= FEW):
            yield from (each for each in parameter.values() if each != value)
            return
        low, high = _ends(parameter)
        inside = float(parameter.nearest(float(value)))
        here = math.log(inside) if parameter.log else inside
        for step in STEPS:
            for side in (-1, 1):
                yield _at(parameter, here + side * step * (high - low))

    def _completed(self, wanted: Configuration) -> Configuration:
        """The wanted values where they apply and fit, and drawn ones for the parameters that are still without."""
        chosen: dict[str, Scalar] = {}
        for name, parameter in self._space.items():
            if name in self._given:
                chosen[name] = self._given[name]
            elif not parameter.when or parameter.applies(chosen):
                fits = name in wanted and parameter.takes(wanted[name])
                chosen[name] = wanted[name] if fits else self._drawn(parameter)
        return chosen

    def _drawn(self, parameter: Parameter) -> Scalar:
        if isinstance(parameter, Int | Float):
            low, high = _ends(parameter)
            return _at(parameter, self._rng.uniform(low, high))
        return self._rng.choice(parameter.values())


def key_of(configuration: Configuration) -> Key:
    """The same for equal configurations."""
    return frozenset(configuration.items())


def _ends(parameter: Int | Float) -> tuple[float, float]:
    low, high = float(parameter.low), float(parameter.high)
    return (math.log(low), math.log(high)) if parameter.log else (low, high)


def _at(parameter: Int | Float, place: float) -> Scalar:
    return parameter.nearest(math.exp(place) if parameter.log else place)
