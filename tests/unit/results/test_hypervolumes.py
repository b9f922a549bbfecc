"""How the front of a study grew, trial by trial."""

from __future__ import annotations

import math

import pytest

from optuna_tuner.results.report.hypervolumes import hypervolumes
from optuna_tuner.results.views import StudyView


def test_the_hypervolume_grows_with_the_front_up_to_the_whole(two_objectives: StudyView) -> None:
    """By hand: trial 0 is (500, 1000), 1 (450, 1000), 2 (650, 700), 7 (620, 1000), 8 (800, 1000), 10 (610, 1000)."""
    speed, delay = math.log(800 / 450), math.log(1000 / 700)
    least, most = 0.1 * (speed + 0.01), 0.1 * (delay + 0.01)  # the reference is so much worse than the worst
    first = (math.log(500 / 450) + least) * most
    second = (math.log(650 / 450) + least) * (delay + most)
    end = second + math.log(800 / 650) * most
    found = hypervolumes(two_objectives)
    assert list(found) == [0, 1, 2, 7, 8, 10]
    assert list(found.values()) == pytest.approx([first / end, first / end, second / end, second / end, 1, 1])


def test_one_objective_that_nobody_beat_is_the_whole_at_once(study: StudyView) -> None:
    assert max(hypervolumes(study).values()) == pytest.approx(1)
