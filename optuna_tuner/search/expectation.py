"""What is expected of parameters before anything was measured: no search need learn what is common knowledge.

An expectation is where a search begins, and no rule: a few trials that say otherwise outweigh it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from optuna_tuner.search.encoding import Configuration, Vector
from optuna_tuner.values import Scalar

Expectation = Callable[[str, Scalar], float]
"""Of one parameter's value: the logarithm of the factor by which the objective is better with it; 0 for nothing."""


def nothing_expected(name: str, value: Scalar) -> float:  # noqa: ARG001  as all expectations are called
    """Of no parameter anything."""
    return 0.0


class Expected:
    """What is expected of whole configurations: all that is expected of their parameters, one beside the other."""

    def __init__(self, expectation: Expectation = nothing_expected) -> None:
        self._of = lru_cache(maxsize=None, typed=True)(expectation)  # typed: True is no 1

    def __call__(self, configurations: Sequence[Configuration]) -> Vector:
        """The logarithm of a factor on the objective for each."""
        return np.array([sum(self._of(*each) for each in one.items()) for one in configurations], dtype=np.float64)
