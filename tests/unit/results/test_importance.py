"""Which flags mattered, and what is left in memory afterwards."""

from __future__ import annotations

import gc
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from optuna_tuner.results.importance import importance_of

pytest.importorskip("sklearn")


def trial(number: int, of: int) -> FrozenTrial:
    return create_trial(
        params={"strong": number / of, "weak": (number * 7 % of) / of},
        distributions={"strong": FloatDistribution(0, 1), "weak": FloatDistribution(0, 1)},
        value=float(number),
    )


TRIALS = [trial(number, 20) for number in range(20)]


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


def test_of_many_trials_some_are_looked_at_from_all_over_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    evaluate = FanovaImportanceEvaluator.evaluate

    def watched(self: FanovaImportanceEvaluator, study: optuna.Study, **rest: Any) -> dict[str, float]:
        seen.extend(int(trial.value or 0) for trial in study.trials)
        return evaluate(self, study, **rest)

    monkeypatch.setattr(FanovaImportanceEvaluator, "evaluate", watched)
    many = [trial(number, 450) for number in range(450)]
    assert next(iter(importance_of(many).shares)) == "strong"
    assert seen == list(range(0, 450, 3))


def test_what_was_asked_before_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importance_of(TRIALS)
    monkeypatch.delattr(FanovaImportanceEvaluator, "evaluate")
    assert importance_of(list(TRIALS)) == found
    with pytest.raises(NotImplementedError):
        importance_of(TRIALS[1:])
