"""What is expected before anything was measured: where a search begins, and not where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from optuna_tuner import Search
from optuna_tuner.search.expectation import Expectation, Expected, nothing_expected
from optuna_tuner.values import Scalar

NAMES, BETTER_ON = "abcdefgh", "adf"
SPACE = {name: {"type": "switch"} for name in NAMES}
GOALS = {"objectives": [{"metric": "speed", "direction": "maximize"}]}
TIMES = {"objectives": [{"metric": "seconds", "direction": "minimize"}]}


def some_on(name: str, value: Scalar) -> float:
    """Some switches are better on, the others are better off."""
    return math.log(1.2 if name in BETTER_ON else 0.8) if value is True else 0.0


def none_on(name: str, value: Scalar) -> float:  # noqa: ARG001  of all switches alike
    return math.log(0.8) if value is True else 0.0


def asked(
    expectation: Expectation, trials: int, goals: object = GOALS, *, truly: Expectation = some_on
) -> Sequence[Mapping[str, Scalar]]:
    """What is tried, where that is true."""
    search = Search(SPACE, goals, seed=0, default=dict.fromkeys(NAMES, False), expectation=expectation)  # type: ignore[arg-type]
    found = []
    for _ in range(trials):
        suggestion = search.ask()
        speed = 100 * math.exp(sum(truly(*each) for each in suggestion.params.items()))
        search.tell(suggestion.number, {"speed": speed, "seconds": 1000 / speed})
        found.append(suggestion.params)
    return found


def right(params: Mapping[str, Scalar]) -> int:
    """How many switches are as is best by `some_on`."""
    return sum(value == (name in BETTER_ON) for name, value in params.items())


@pytest.mark.parametrize("goals", [GOALS, TIMES])
def test_the_first_trials_lie_where_most_is_expected(goals: object) -> None:
    spread = slice(1, 5)  # after the default
    with_it, without = (asked(each, 5, goals)[spread] for each in (some_on, nothing_expected))
    assert sum(map(right, with_it)) > sum(map(right, without)) + 4


@pytest.mark.parametrize("goals", [GOALS, TIMES])
def test_a_true_expectation_spares_trials(goals: object) -> None:
    """By as many as there are before anything is learnt."""
    spread = slice(1, 5)
    with_it, without = (asked(each, 5, goals)[spread] for each in (some_on, nothing_expected))
    assert max(map(right, with_it)) == len(NAMES) > max(map(right, without))


def test_trials_that_say_otherwise_outweigh_it() -> None:
    """The default, all off, is the best: in the end it is searched around that, and not where most was expected."""
    last = asked(some_on, 20, truly=none_on)[-6:]
    assert sum(sum(map(bool, each.values())) <= 2 for each in last) >= 4


def test_a_switch_that_is_on_is_no_number_1() -> None:
    expected = Expected(lambda name, value: {("a", "True"): 1.0, ("a", "1"): 2.0, ("b", "x"): 0.5}[name, str(value)])
    assert expected([{"a": True, "b": "x"}, {"a": 1, "b": "x"}]).tolist() == [1.5, 2.5]
