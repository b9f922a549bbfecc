"""What the flags of a configuration are worth."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from hill_study import CORNERS, PROBLEM, Place, hill, history

from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.worth import Loss, Worths, worths
from optuna_tuner.values import Params

INSIDE: list[Place] = [(12, 3), (12, 12), (6, 12), (3, 8), (15, 15), (8, 3), (12, 17)]
ALL: list[Place] = [*CORNERS, *INSIDE]  # the first one is the engine's default
TOP = ALL.index((12, 12))
KNOWN = replace(PROBLEM, default={"a": 0, "b": 0})


def only_a(a: int, _: int) -> float:
    return hill(a, 12)


def found(study: optuna.Study, objection: Objection = NOTHING_KNOWN, margin: float = 0.01) -> Worths:
    made = worths(study, KNOWN, objection, TOP, margin)
    assert made is not None
    return made


def needed(made: Worths) -> list[str]:
    return [each.flag for each in made.flags if each.needed]


def test_a_flag_without_effect_is_not_needed_and_costs_nothing() -> None:
    made = found(history(ALL, only_a))
    assert [each.flag for each in made.flags] == ["a", "b"], "the one that is worth most first"
    assert needed(made) == ["a"]
    a, b = (each.loss for each in made.flags)
    assert a is not None
    assert b is not None
    assert a.share > 0.3
    assert abs(b.share) < 0.01
    assert (made.loss, made.flags[0].default, made.flags[0].value) == (b, 0, 12)


def test_what_is_little_known_is_a_risk_also_where_no_loss_is_expected() -> None:
    assert Loss(share=0.01, error=0.0, holds=1.0).risk == 0.01
    assert Loss(share=-0.2, error=0.001, holds=1.0).risk < 1e-6
    assert Loss(share=0.0, error=0.5, holds=1.0).risk == pytest.approx(
        0.2, abs=0.001
    )  # half of a normal's mean deviation


def test_where_less_is_better_losses_are_losses_too() -> None:
    made = found(history(ALL, lambda a, b: 1000 / only_a(a, b), "minimize"))
    assert needed(made) == ["a"]
    assert made.flags[0].loss is not None
    assert made.flags[0].loss.share > 0.3


@pytest.mark.parametrize(("margin", "kept"), [(0.01, ["a", "b"]), (0.9, [])])
def test_how_much_may_be_lost_decides_how_many_are_needed(margin: float, kept: list[str]) -> None:
    assert sorted(needed(found(history(ALL), margin=margin))) == kept


def test_what_does_not_run_without_a_flag_needs_it() -> None:
    def wants_b(params: Params) -> str | None:
        return None if "b" in params.flags else "it needs b"

    made = found(history(ALL, only_a), wants_b)
    assert needed(made) == ["a", "b"]
    assert {each.flag: each.loss is None for each in made.flags} == {"a": False, "b": True}


def test_what_was_seen_not_to_run_without_a_flag_needs_it() -> None:
    def fails_below_six(a: int, b: int) -> float | None:
        return None if b < 6 else only_a(a, b)

    high: list[Place] = [(0, 7), (5, 7), (20, 7), (12, 8), (16, 16), (2, 18)]
    made = worths(history([*ALL, *high], fails_below_six), KNOWN, NOTHING_KNOWN, TOP, 0.01)
    assert made is not None
    assert "b" in needed(made)


def test_where_the_engines_own_value_is_not_known_a_flag_is_kept() -> None:
    made = worths(history(ALL, only_a), replace(PROBLEM, default={"a": 0}), NOTHING_KNOWN, TOP, 0.01)
    assert made is not None
    assert needed(made) == ["a", "b"]
    assert [each.default for each in made.flags if each.flag == "b"] == [None]


def test_too_few_trials_say_nothing() -> None:
    assert worths(history(ALL[:9]), KNOWN, NOTHING_KNOWN, 3, 0.01) is None
    assert worths(history(ALL), KNOWN, NOTHING_KNOWN, 99, 0.01) is None
