"""What pairs of measurements say."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from optuna_tuner.search.gain import Decision, Estimate, decide, estimate


def found(low: float, high: float) -> Estimate:
    return Estimate(winner=1, default=1, share=(low + high) / 2, low=low, high=high, pairs=5)


def test_the_interval_is_students_of_the_log_ratios() -> None:
    winner, default = [120.0, 118.0, 125.0, 121.0], [100.0, 99.0, 101.0, 98.0]
    ratios = [math.log(ours / theirs) for ours, theirs in zip(winner, default, strict=True)]
    low, high = stats.t.interval(0.9, 3, loc=sum(ratios) / 4, scale=stats.sem(ratios))
    seen = estimate(winner, default, maximize=True, confidence=0.9)
    assert seen is not None
    assert (seen.low, seen.high) == pytest.approx((math.expm1(low), math.expm1(high)))
    assert seen.share == pytest.approx(seen.winner / seen.default - 1)
    assert seen.pairs == 4


def test_what_changes_both_halves_of_a_pair_alike_drops_out() -> None:
    drifting = estimate([110, 220, 55], [100, 200, 50], maximize=True, confidence=0.95)
    assert drifting is not None
    assert (drifting.low, drifting.share, drifting.high) == pytest.approx((0.1, 0.1, 0.1))


def test_less_is_better_where_it_is_to_be_minimized() -> None:
    faster = estimate([80, 81, 79], [100, 100, 100], maximize=False, confidence=0.95)
    assert faster is not None
    assert faster.low < faster.share < faster.high
    assert faster.share == pytest.approx(0.2, abs=0.001)


@pytest.mark.parametrize(("winner", "default"), [([], []), ([1.0], [1.0]), ([1.0, 0.0], [1.0, 1.0])])
def test_one_pair_and_what_has_no_ratio_give_no_interval(winner: list[float], default: list[float]) -> None:
    assert estimate(winner, default, maximize=True, confidence=0.95) is None


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (0.011, 0.2, Decision.WIN),
        (0.01, 0.2, Decision.INCONCLUSIVE),  # perhaps no more than what counts
        (-0.01, 0.01, Decision.TIE),
        (0.002, 0.009, Decision.TIE),  # better for certain, and by too little to count
        (-0.02, 0.02, Decision.INCONCLUSIVE),
        (-0.02, -0.005, Decision.INCONCLUSIVE),
        (-0.2, -0.011, Decision.LOSS),
    ],
)
def test_a_verdict_is_where_the_whole_interval_lies(low: float, high: float, decision: Decision) -> None:
    assert decide(found(low, high), 0.01) is decision


def test_without_an_interval_nothing_is_decided() -> None:
    assert decide(None, 0.01) is Decision.INCONCLUSIVE
