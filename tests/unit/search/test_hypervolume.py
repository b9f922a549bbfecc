"""The space that a front dominates, and what a candidate is expected to add to it."""

from __future__ import annotations

import numpy as np
import pytest

from optuna_tuner.search.hypervolume import expected_gain, front_of, hypervolume

STEPS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])  # three steps of a stair
NOTHING = np.zeros(2)


def test_the_front_is_what_none_beats_each_once() -> None:
    points = np.vstack([STEPS, [[2.0, 1.0], [2.0, 2.0], [0.5, 3.0]]])
    assert sorted(map(tuple, front_of(points))) == sorted(map(tuple, STEPS))


@pytest.mark.parametrize(
    ("points", "reference", "space"),
    [
        ([[2.0, 3.0]], [0.0, 0.0], 6.0),
        (STEPS, [0.0, 0.0], 6.0),  # 3 + 2 + 1 squares
        (STEPS, [1.0, 1.0], 1.0),  # only the middle one is better than that in both
        (STEPS, [4.0, 0.0], 0.0),
        ([[2.0, 2.0], [1.0, 1.0], [2.0, 2.0]], [0.0, 0.0], 4.0),
        ([[1.0, 2.0, 3.0], [2.0, 1.0, 1.0]], [0.0, 0.0, 0.0], 7.0),  # 6 + 2 - 1
        (np.empty((0, 2)), [0.0, 0.0], 0.0),
    ],
)
def test_the_hypervolume_is_that_of_boxes_counted_by_hand(
    points: list[list[float]], reference: list[float], space: float
) -> None:
    assert hypervolume(np.array(points), np.array(reference)) == pytest.approx(space)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_the_hypervolume_is_the_share_of_random_points_that_are_dominated(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    points, drawn = rng.random((12, objectives)), rng.random((40_000, objectives))
    dominated = np.zeros(len(drawn), dtype=bool)
    for point in points:
        dominated |= (drawn <= point).all(axis=1)
    assert hypervolume(points, np.zeros(objectives)) == pytest.approx(dominated.mean(), abs=0.01)


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_expected_gain_is_the_mean_over_what_may_come_out(objectives: int) -> None:
    rng = np.random.default_rng(0)
    front = front_of(rng.random((8, objectives)))
    mean, deviation, reference = np.full((1, objectives), 0.7), np.full((1, objectives), 0.3), np.zeros(objectives)
    now = hypervolume(front, reference)
    drawn = mean + deviation * rng.standard_normal((4000, objectives))
    gains = [hypervolume(np.vstack([front, each]), reference) - now for each in drawn]
    expected = expected_gain(mean, deviation, front, reference)[0]
    assert expected == pytest.approx(np.mean(gains), abs=4 * np.std(gains) / np.sqrt(len(gains)))


def test_where_nothing_is_in_doubt_the_gain_is_the_box_that_is_added() -> None:
    candidates = np.array([[2.5, 2.0], [4.0, 4.0], [1.0, 1.0], [0.5, 4.0]])
    gain = expected_gain(candidates, np.full((4, 2), 1e-9), STEPS, NOTHING)
    assert gain == pytest.approx([0.5, 10.0, 0.0, 0.5], abs=1e-6)
