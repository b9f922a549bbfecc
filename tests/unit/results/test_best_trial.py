from __future__ import annotations

from collections.abc import Callable

import pytest

from optuna_tuner.results.best import UNCONFIRMED
from optuna_tuner.results.views import StudyView
from optuna_tuner.spec.goals import Objective
from optuna_tuner.store.records import Outcome, Verdict
from optuna_tuner.testing.sample_study import SampleStudy, failed, measured
from optuna_tuner.values import Cause

Ended = Callable[[dict[int, Outcome]], StudyView]


def test_the_best_trial_keeps_the_slo_though_another_one_is_faster(study: StudyView) -> None:
    assert study.best.trial is not None
    assert study.best.trial.number == 8
    assert max(trial.values for trial in study.trials if trial.values) == (950.0,)


def test_a_best_trial_is_said_to_be_unconfirmed(study: StudyView) -> None:
    assert study.best.text == f"Trial 8: output_throughput_tok_s = 800 tok/s. {UNCONFIRMED}"
    assert UNCONFIRMED in study.comparison.text


def test_a_smaller_value_is_better_when_it_is_minimized(latency_study: Callable[[Objective], StudyView]) -> None:
    study = latency_study(Objective(metric="ttft_ms.p99", direction="minimize"))
    assert study.best.trial is not None
    assert study.best.trial.number == 2
    assert study.comparison.share == pytest.approx(0.1)
    assert "10.0 % better" in study.comparison.text


def test_the_pareto_front_holds_only_feasible_trials(two_objectives: StudyView) -> None:
    assert sorted(trial.number or 0 for trial in two_objectives.best.trials) == [2, 8]
    assert two_objectives.best.text.startswith("Pareto front of 2 feasible trials: 2, 8.")
    assert [gain.metric for gain in two_objectives.comparison.gains] == [
        "output_throughput_tok_s",
        "e2e_latency_ms.mean",
    ]


def test_equal_trials_are_both_on_the_front(sample: SampleStudy, two_objectives: StudyView) -> None:
    del sample
    assert two_objectives.best.trial is not None
    assert two_objectives.best.trial.number == 8  # the best in the first objective is the one to recommend


def test_nothing_feasible_is_an_outcome_that_names_the_nearest_trial(sample: SampleStudy, ended: Ended) -> None:
    goals = sample.spec.goals
    study = ended(
        {
            0: failed(goals, Cause.CRASHED, "boom"),
            1: measured(goals, 900, 300),
            2: measured(goals, 800, 250),
            3: failed(goals, Cause.BAD_FLAG, "unknown flag"),
        }
    )
    assert study.best.trials == ()
    assert study.best.nearest is not None
    assert study.best.nearest.number == 2
    assert study.best.text == (
        'Nothing feasible among 4 trials. Least infeasible: trial 2, which breaks "ttft_ms.p99 <= 200" by +25.0 %.'
    )
    assert study.comparison.text == "No gain is known: the engine's default gave no numbers (crashed)."


def test_when_nothing_could_be_measured_a_reason_is_quoted(sample: SampleStudy, ended: Ended) -> None:
    study = ended({1: failed(sample.spec.goals, Cause.BAD_FLAG, "unknown flag --x")})
    assert study.best.text.endswith("None could be measured; the last word of trial 1: unknown flag --x.")


def test_before_the_first_trial_ends_nothing_is_claimed(ended: Ended) -> None:
    assert ended({}).best.text == "No trial has been measured yet."


def test_the_gain_is_relative_to_the_baseline(study: StudyView) -> None:
    assert study.comparison.share == pytest.approx(0.6)
    assert study.comparison.text.startswith(
        "Best (trial 8) over the engine's default (trial 0): "
        "output_throughput_tok_s 800 tok/s against 500 tok/s (60.0 % better)."
    )


def test_a_baseline_that_breaks_the_slo_is_compared_and_said_to_break_it(sample: SampleStudy, ended: Ended) -> None:
    goals = sample.spec.goals
    study = ended({0: measured(goals, 1000, 400), 1: measured(goals, 500, 100)})
    assert study.comparison.share == pytest.approx(-0.5)
    assert "50.0 % worse" in study.comparison.text
    assert "The default itself is infeasible: it breaks ttft_ms.p99 <= 200." in study.comparison.text


def test_a_study_without_baseline_says_so(sample: SampleStudy, ended: Ended) -> None:
    study = ended({1: measured(sample.spec.goals, 500, 100)})
    assert study.comparison.gains == ()
    assert "was not asked for" in study.comparison.text


def test_a_baseline_of_zero_gives_no_share(sample: SampleStudy, ended: Ended) -> None:
    goals = sample.spec.goals
    study = ended({0: measured(goals, 0, 100), 1: measured(goals, 500, 100)})
    assert study.comparison.share is None
    assert "500 tok/s against 0 tok/s." in study.comparison.text


def test_when_the_default_is_best_no_gain_is_claimed(sample: SampleStudy, ended: Ended) -> None:
    study = ended({0: measured(sample.spec.goals, 500, 100), 1: measured(sample.spec.goals, 400, 100)})
    assert study.comparison.text == "No gain: no feasible trial beats the engine's default."


def test_a_baseline_that_the_machine_failed_is_not_compared(sample: SampleStudy, ended: Ended) -> None:
    lost = Outcome(verdict=Verdict.FAIL, cause=Cause.NODE_LOST)
    study = ended({0: lost, 1: measured(sample.spec.goals, 400, 100)})
    assert study.comparison.text == "No gain is known: the engine's default gave no numbers (node_lost)."
