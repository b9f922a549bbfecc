"""What more trials could bring."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hill_study import AROUND_THE_PEAK, CORNERS, ENOUGH, PROBLEM, hill, history

from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.outlook import outlook
from optuna_tuner.values import Params


def ahead(study: optuna.Study, trials: int = 10, objection: Objection = NOTHING_KNOWN) -> float:
    found = outlook(study, PROBLEM, objection, trials)
    assert found is not None
    return found


def test_it_is_much_before_the_top_was_found_and_little_afterwards() -> None:
    before, after = ahead(history(CORNERS)), ahead(history([*CORNERS, *AROUND_THE_PEAK]))
    assert before > 0.03
    assert after < 0.005


def test_more_trials_could_bring_more_and_whoever_asks_hears_the_same() -> None:
    study = history(CORNERS)
    found = [ahead(study, trials) for trials in (1, 3, 30, 3)]
    assert found[0] < found[1] < found[2]
    assert found[3] == found[1]


def test_it_is_a_share_of_what_is_less_too() -> None:
    seconds = history(CORNERS, lambda a, b: 1000 / hill(a, b), "minimize")
    assert 0.03 < ahead(seconds) < 1


def test_what_is_known_not_to_run_brings_nothing() -> None:
    def inside(params: Params) -> str | None:
        return "too far in" if int(params.flags["a"]) > 2 else None

    study = history(CORNERS)
    assert ahead(study, objection=inside) < ahead(study) / 2
    assert outlook(study, PROBLEM, lambda _: "no", 10) is None, "nothing is left to be tried"


def test_what_was_seen_not_to_run_brings_less() -> None:
    def cliff(a: int, b: int) -> float | None:
        return None if a > 10 or b > 10 else hill(a, b)

    inside = [(a, b) for a in range(0, 11, 3) for b in range(0, 11, 3)]
    alive, dead = history([*inside, (10, 10)]), history([*inside, (10, 10), *CORNERS, *AROUND_THE_PEAK], cliff)
    assert ahead(dead) < ahead(alive) / 2


def test_noise_that_repeats_show_is_not_taken_for_what_could_be_found() -> None:
    rng = np.random.default_rng(1)
    flat = [*CORNERS, *AROUND_THE_PEAK, *[(0, 0)] * 6]
    study = history(flat, lambda _a, _b: 100.0 * float(np.exp(0.03 * rng.standard_normal())))
    assert ahead(study) < 0.03


@pytest.mark.parametrize(
    ("study", "why"),
    [
        (history(CORNERS[: ENOUGH - 1]), "too few"),
        (history([*CORNERS, (1, 1), (2, 2)], lambda a, b: None if a + b < 25 else 1.0), "most did not run"),
        (history(CORNERS, lambda a, _b: a - 5.0), "no shares of such values"),
    ],
)
def test_where_nothing_can_be_said_nothing_is(study: optuna.Study, why: str) -> None:
    assert outlook(study, PROBLEM, NOTHING_KNOWN, 10) is None, why


def test_several_objectives_have_no_outlook() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    assert outlook(study, PROBLEM, NOTHING_KNOWN, 10) is None
