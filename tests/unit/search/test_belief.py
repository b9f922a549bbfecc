"""What many trials say: hyperparameters come from some of them, and what is believed from all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optuna_tuner.search.belief import Belief
from optuna_tuner.search.encoding import Encoding
from optuna_tuner.search.evidence import Evidence
from optuna_tuner.search.processes import LEARNT_FROM
from optuna_tuner.spec.space import Float, Switch

ENCODING = Encoding({"x": Float(type="float", low=0.0, high=1.0)})
COUNT = 2 * LEARNT_FROM + 1
HOLE = (0.3, 0.5)  # where only one trial was


def at(x: float) -> Evidence:
    value = 2.0 + np.cos(2 * np.pi * (x - 0.4))  # the best lies in the middle of the hole
    return Evidence(configuration={"x": x}, ran=True, values=(float(value),), excesses={"slo": -0.5})


@pytest.mark.parametrize("place", [1, COUNT - 2])
def test_a_trial_from_which_no_hyperparameter_was_learnt_is_believed_all_the_same(place: int) -> None:
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.0, 0.8, COUNT)
    evidence = [at(float(x if x < HOLE[0] else x + HOLE[1] - HOLE[0])) for x in spread]
    without = Belief(ENCODING, evidence, [], np.random.default_rng(0))
    evidence[place] = replace(at(0.4), excesses={"slo": 6.0})  # the promise is broken there, far from what was seen
    known = Belief(ENCODING, evidence, [], np.random.default_rng(0))
    peak = [{"x": 0.4}]
    assert known.worth(peak)[0] < without.worth(peak)[0] / 10


def test_what_flags_do_by_themselves_is_believed_of_configurations_unlike_all_that_were_tried() -> None:
    """Eight switches that each give something: only half of them were ever on together."""
    names = "abcdefgh"
    encoding = Encoding({name: Switch(type="switch") for name in names})
    rng = np.random.default_rng(0)

    def on(switches: str) -> Evidence:
        value = float(np.exp(0.2 * len(switches) + rng.normal(0, 0.01)))
        configuration = {name: name in switches for name in names}
        return Evidence(configuration=configuration, ran=True, values=(value,), excesses={})

    few = [on("".join(rng.choice(list(names), 4, replace=False))) for _ in range(16)]
    belief = Belief(encoding, [on(""), *few], [], np.random.default_rng(0))
    all_on, one_less = on(names).configuration, on(names[1:]).configuration
    share, deviation, _ = belief.losses(all_on, [one_less])
    assert share[0] == pytest.approx(1 - np.exp(-0.2), abs=0.06)
    assert deviation[0] < 0.06


def between(x: float, excess: float = -0.5) -> Evidence:
    """Of two objectives one is the better, the worse the other one is."""
    values = (float(np.exp(x)), float(np.exp(1 - x)))
    return Evidence(configuration={"x": x}, ran=True, values=values, excesses={"slo": excess})


ENDS = [between(x) for x in (0.0, 0.2, 0.8, 1.0)]  # of a front, with a large hole in its middle, and two small ones
PLACES = [{"x": x} for x in (0.1, 0.5, 0.9)]


def of_two(evidence: list[Evidence], pending: list[float] | None = None, seed: int = 0) -> Belief:
    return Belief(ENCODING, evidence, [{"x": x} for x in pending or []], np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(8))
def test_of_two_objectives_that_is_worth_most_which_adds_most_to_the_hypervolume(seed: int) -> None:
    """Whatever is drawn: with weights drawn at random, a small hole is preferred now and then."""
    low, middle, high = of_two(ENDS, seed=seed).worth(PLACES)
    assert middle > 4 * max(low, high)


def test_what_is_pending_counts_as_a_part_of_the_front() -> None:
    assert of_two(ENDS, [0.5]).worth(PLACES)[1] < of_two(ENDS).worth(PLACES)[1] / 20


def test_what_breaks_a_promise_is_no_part_of_the_front_and_little_is_hoped_for_in_its_place() -> None:
    kept, broken = ([*ENDS, *(between(x, excess) for x in (0.45, 0.55))] for excess in (-0.5, 1.0))
    beside = [{"x": 0.3}]
    assert of_two(broken).worth(beside) > 1.5 * of_two(kept).worth(beside), "there is more left to be gained"
    assert of_two(broken).worth(PLACES)[1] < of_two(ENDS).worth(PLACES)[1] / 10


def test_where_no_promise_is_kept_yet_whether_they_will_be_is_all_that_counts() -> None:
    worths = of_two([between(x, 1.0 - x) for x in (0.0, 0.2, 0.4, 0.6, 0.8)]).worth([{"x": 0.1}, {"x": 1.0}])
    assert worths[0] < worths[1] <= 1


def test_three_objectives_have_a_hypervolume_too() -> None:
    def of_three(x: float) -> Evidence:
        return replace(between(x), values=(*(between(x).values or ()), 2.0))

    worths = of_two([of_three(float(each.configuration["x"])) for each in ENDS]).worth(PLACES)
    assert worths[1] > 4 * max(worths[0], worths[2])
