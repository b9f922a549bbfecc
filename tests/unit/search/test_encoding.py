"""Where configurations lie, also those that the space does not have."""

from __future__ import annotations

import numpy as np
import pytest

from optuna_tuner.search.belief import Belief
from optuna_tuner.search.encoding import APART, Encoding
from optuna_tuner.search.evidence import Evidence
from optuna_tuner.spec.space import Choice, Float, Int, Parameter
from optuna_tuner.values import Scalar

SEQUENCES = Choice(type="choice", choices=(128, 8, 64, 16, 32))
BATCH = Int(type="int", low=16, high=256, log=True)
SHARE = Float(type="float", low=0.8, high=0.9)
THRESHOLD = Choice(type="choice", choices=(0, 2048, 4096))


@pytest.mark.parametrize(
    ("parameter", "value", "place"),
    [
        (SEQUENCES, 8, 0.0),
        (SEQUENCES, 64, 0.75),
        (SEQUENCES, 48, 0.625),
        (SEQUENCES, 256, 1.25),  # one step more, as from 64 to 128
        (SEQUENCES, 4, -0.25),
        (BATCH, 64, 0.5),
        (BATCH, 4096, 2.0),
        (BATCH, 4, -0.5),
        (SHARE, 0.85, 0.5),
        (SHARE, 0.92, 1.2),
        (THRESHOLD, 8192, 2.0),  # with a zero among them there is no logarithm
    ],
)
def test_a_number_beside_the_range_lies_further_on_along_its_scale(
    parameter: Parameter, value: float, place: float
) -> None:
    assert Encoding({"x": parameter}).points([{"x": value}])[0, 0] == pytest.approx(place)


@pytest.mark.parametrize(("parameter", "word"), [(SEQUENCES, -1), (BATCH, 0), (SHARE, 0.0), (THRESHOLD, -1)])
def test_what_stands_for_no_limit_lies_apart_from_all_sizes(parameter: Parameter, word: float) -> None:
    assert Encoding({"x": parameter}).points([{"x": word}])[0, 0] == APART


def test_a_range_of_one_value_has_a_place_beside_it() -> None:
    one = Encoding({"x": Int(type="int", low=512, high=512)})
    assert one.points([{"x": 512}, {"x": 8192}, {"x": 100}])[:, 0].tolist() == [0.0, 1.0, -1.0]


def test_what_a_default_beyond_the_range_measured_is_not_taken_for_the_end_of_the_range() -> None:
    def worth_of_the_end(slow_at: Scalar) -> float:
        rising = [(8, 1.0), (16, 2.0), (32, 4.0), (64, 8.0), (slow_at, 1.0)]
        evidence = [Evidence(configuration={"x": x}, ran=True, values=(value,), excesses={}) for x, value in rising]
        belief = Belief(Encoding({"x": SEQUENCES}), evidence, [], np.random.default_rng(0))
        return float(belief.worth([{"x": 128}])[0])

    assert worth_of_the_end(256) > 2 * worth_of_the_end(128)
