from __future__ import annotations

import numpy as np

from optuna_tuner.search.candidates import key_of
from optuna_tuner.search.encoding import Configuration, Vector
from optuna_tuner.search.shortlist import Shortlist


def worth(configurations: object) -> Vector:
    assert isinstance(configurations, list)
    return np.array([float(each["a"]) for each in configurations])


def odd(configuration: Configuration) -> str | None:
    return "odd" if int(configuration["a"]) % 2 else None


def numbers(*values: int) -> list[Configuration]:
    return [{"a": value} for value in values]


def test_the_worthiest_come_first_without_those_that_were_tried_or_are_refused() -> None:
    found = Shortlist(worth, odd, {key_of({"a": 8})})
    found.add(numbers(1, 4, 8, 9))
    assert found.top(5) == numbers(4)
    found.add(numbers(6, 4, 2))
    assert found.top(2) == numbers(6, 4)
    assert found.refused == {key_of({"a": 9}): "odd", key_of({"a": 1}): "odd"}


def test_no_more_are_asked_about_than_may_be_and_those_that_were_allowed_stay() -> None:
    found = Shortlist(worth, odd, set(), examined=3)
    found.add(numbers(*range(10)))
    assert found.top(10) == numbers(8)
    assert len(found.refused) == 2
    found.add(numbers(20))
    assert found.top(10) == numbers()  # nobody knows whether the new one, which stands first, may be tried
