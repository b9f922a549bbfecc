"""The nearest allowed configuration, by moving one parameter inside its own domain."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from optuna_tuner.search.objection import Objection
from optuna_tuner.spec.space import Float, Int, Parameter, params_of
from optuna_tuner.values import Scalar

CANDIDATES = 64  # values of one parameter that are tried, beside those that stand in the configuration


@dataclass(frozen=True, slots=True)
class Move:
    """One parameter's new value. `distance` is dimensionless: 0 is where it stood, 1 the length of its domain."""

    distance: float
    name: str
    value: Scalar


def repaired(
    space: Mapping[str, Parameter], values: Mapping[str, Scalar], fixed: Collection[str], objection: Objection
) -> Move | None:
    """The shortest move after which nothing speaks against the configuration; None where no single one does it.

    Of a parameter with many values some are tried that are spread over its domain, and the values of the others, since
    rules bound one flag by another. The parameters in `fixed` stay, and so do those on which others depend: then a
    configuration has the same parameters before and after.
    """
    conditions = {other for parameter in space.values() for other in parameter.when}
    movable = [name for name in values if name not in conditions and name not in fixed]
    moves = [move for name in movable for move in _moves(name, space[name], values)]
    allowed = (move for move in sorted(moves, key=_distance) if _is_allowed(space, values, move, objection))
    return next(allowed, None)


def _distance(move: Move) -> float:
    return move.distance


def _is_allowed(space: Mapping[str, Parameter], values: Mapping[str, Scalar], move: Move, objection: Objection) -> bool:
    return objection(params_of(space, {**values, move.name: move.value})) is None


def _moves(name: str, parameter: Parameter, values: Mapping[str, Scalar]) -> Iterator[Move]:
    here = values[name]
    others = (value for value in values.values() if parameter.takes(value))
    for value in dict.fromkeys((*_spread(parameter), *others)):
        if value != here:
            yield Move(_length(parameter, here, value), name, value)


def _spread(parameter: Parameter) -> Sequence[Scalar]:
    """All values of a parameter, or so many of them, evenly on its own scale."""
    size = parameter.size()
    if not isinstance(parameter, Int | Float) or (size is not None and size <= CANDIDATES):
        return parameter.values()[:CANDIDATES]
    low, high = _scaled(parameter, parameter.low), _scaled(parameter, parameter.high)
    places = [low + (high - low) * index / (CANDIDATES - 1) for index in range(CANDIDATES)]
    return [parameter.nearest(math.exp(place) if parameter.log else place) for place in places]


def _length(parameter: Parameter, here: Scalar, there: Scalar) -> float:
    """How far it is from one value to another, as a share of the domain; places in the list where there is no scale."""
    if isinstance(parameter, Int | Float):
        low, high = _scaled(parameter, parameter.low), _scaled(parameter, parameter.high)
        return abs(_scaled(parameter, float(here)) - _scaled(parameter, float(there))) / ((high - low) or 1.0)
    values = parameter.values()
    return abs(values.index(here) - values.index(there)) / len(values)


def _scaled(parameter: Int | Float, value: float) -> float:
    return math.log(value) if parameter.log else value
