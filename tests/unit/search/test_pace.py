"""How long trials take, and that what is tried quickly goes first."""

from __future__ import annotations

import numpy as np
import pytest

from optuna_tuner.search.belief import Belief
from optuna_tuner.search.encoding import Encoding, Matrix
from optuna_tuner.search.evidence import Evidence
from optuna_tuner.search.pace import FEWEST, Pace
from optuna_tuner.spec.space import Float, Switch

CORNERS = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=np.float64)


def seconds(points: Matrix) -> list[float]:
    """One flag makes trials four times as long, another one half."""
    return list(100.0 * 4.0 ** points[:, 0] * 0.5 ** points[:, 1])


def test_flags_lengthen_trials_by_factors() -> None:
    seen = CORNERS[:-1]
    pace = Pace(seen, seconds(seen))
    one, other = pace(np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    assert one / other == pytest.approx(4.0, rel=0.1)
    assert float(np.median(pace(seen))) == pytest.approx(1.0, abs=0.1)


def test_nothing_is_believed_to_be_shorter_or_longer_than_what_was_seen() -> None:
    seen = CORNERS[:6]
    pace = Pace(seen, seconds(seen))
    told = np.array(seconds(seen))
    assert np.ptp(np.log(pace(10 * CORNERS))) <= np.log(told.max() / told.min()) + 1e-9


@pytest.mark.parametrize("known", [0, FEWEST - 1])
def test_of_few_trials_nothing_is_believed(known: int) -> None:
    told = seconds(CORNERS[:known])
    pace = Pace(CORNERS, [*told, *[None] * (len(CORNERS) - known)])
    assert list(pace(CORNERS)) == [1.0] * len(CORNERS)


def test_of_two_that_promise_the_same_the_quicker_one_is_worth_more() -> None:
    """A hill in one number, of which the middle was not tried; a switch that does nothing else than take time."""
    encoding = Encoding({"x": Float(type="float", low=0.0, high=1.0), "slow": Switch(type="switch")})
    places = [(x, slow) for x in (0.0, 0.3, 0.8, 1.0) for slow in (False, True)]

    def worths(factor: float) -> tuple[float, float]:
        evidence = [
            Evidence(
                configuration={"x": x, "slow": slow},
                ran=True,
                values=(2.0 - abs(x - 0.5),),
                excesses={},
                took_s=100.0 * (factor if slow else 1.0),
            )
            for x, slow in places
        ]
        belief = Belief(encoding, evidence, [], np.random.default_rng(0))
        quick, slow = belief.worth([{"x": 0.5, "slow": each} for each in (False, True)])
        return float(quick), float(slow)

    (quick, slow), (quicker, slower) = worths(1.0), worths(4.0)
    assert slow > 0
    assert quicker / slower == pytest.approx(4 * quick / slow, rel=0.2)
