"""Which flags mattered, and what is left in memory afterwards."""

from __future__ import annotations

import gc

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.importance import FanovaImportanceEvaluator

from optuna_tuner.results.importance import importance_of

pytest.importorskip("sklearn")

TRIALS = [
    optuna.trial.create_trial(
        params={"strong": number / 20, "weak": (number * 7 % 20) / 20},
        distributions={"strong": FloatDistribution(0, 1), "weak": FloatDistribution(0, 1)},
        value=float(number),
    )
    for number in range(20)
]


def alive(kind: str) -> int:
    gc.collect()
    return sum(type(each).__name__ == kind for each in gc.get_objects())


def test_the_flag_that_explains_the_value_comes_first() -> None:
    shares = importance_of(TRIALS).shares
    assert next(iter(shares)) == "strong"
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["_FanovaTree", "_Point"])
def test_nothing_of_the_forest_and_of_the_trials_stays_in_memory(kind: str) -> None:
    before = alive(kind)
    importance_of(TRIALS[2:])
    assert alive(kind) <= before


def test_what_was_asked_before_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importance_of(TRIALS)
    monkeypatch.delattr(FanovaImportanceEvaluator, "evaluate")
    assert importance_of(list(TRIALS)) == found
    with pytest.raises(NotImplementedError):
        importance_of(TRIALS[1:])
