from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import optuna
import pytest

from optuna_tuner.results import figures
from optuna_tuner.results.importance import FANOVA, importance_of
from optuna_tuner.results.views import StudyView
from optuna_tuner.testing.sample_study import SampleStudy


def traces(figure: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in json.loads(figure.to_json())["data"]}


def test_the_history_never_counts_an_infeasible_trial_as_best(study: StudyView) -> None:
    drawn = traces(figures.history(study))
    assert drawn["not feasible"]["x"] == [3, 9]
    assert drawn["not feasible"]["marker"]["color"] == figures.GREY
    assert drawn["best so far"]["y"] == [500, 500, 650, 650, 800, 800]
    assert "trial 3: slo" in drawn["not feasible"]["text"][0]


def test_the_history_draws_the_default_as_a_line(study: StudyView) -> None:
    shapes = json.loads(figures.history(study).to_json())["layout"]["shapes"]
    assert [shape["y0"] for shape in shapes] == [500]


def test_load_curves_name_the_best_and_the_default(study: StudyView) -> None:
    drawn = traces(figures.load_curves(study, "ttft_ms.p99"))
    assert drawn["best: trial 8"]["y"] == [90, 180]
    assert drawn["default: trial 0"]["x"] == [4, 8]
    assert drawn["trial 3"]["line"]["color"] == figures.GREY
    assert "trial 4" not in drawn  # it was never measured


def test_a_search_goes_to_and_fro_and_its_curve_does_not(study: StudyView) -> None:
    (default, *others) = study.trials
    turned = replace(default, measurements=default.measurements[::-1], load_search="the SLO is kept at 4")
    drawn = traces(figures.load_curves(replace(study, trials=(turned, *others), baseline=turned), "ttft_ms.p99"))
    assert drawn["default: trial 0"]["x"] == [4, 8]


def test_causes_are_counted_with_their_advice(study: StudyView) -> None:
    (bars,) = json.loads(figures.causes(study).to_json())["data"]
    assert dict(zip(bars["y"], bars["x"], strict=True))["slo"] == 2
    assert any("memory fraction" in text for text in bars["text"])


def test_phase_times_are_stacked_by_phase(study: StudyView) -> None:
    drawn = traces(figures.phase_times(study))
    assert list(drawn) == ["start-up", "warm-up", "benchmark", "teardown"]
    assert drawn["start-up"]["y"][:5] == [20, 20, 20, 20, 12]


@pytest.fixture
def skewed() -> optuna.Study:
    """A study in which only x matters, with a baseline that sampled nothing."""
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(values=[5.0], params={}, distributions={}))
    for number in range(40):
        params = {"x": number % 8 / 8, "idle": number * 7 % 11 / 11}
        study.add_trial(
            optuna.trial.create_trial(
                values=[params["x"] ** 2],
                params=params,
                distributions={name: optuna.distributions.FloatDistribution(0, 1) for name in params},
            )
        )
    return study


def test_fanova_gives_a_flag_without_effect_almost_nothing(skewed: optuna.Study) -> None:
    found = importance_of(skewed.trials)
    assert found.method == FANOVA
    assert next(iter(found.shares)) == "x"
    assert found.shares["idle"] < 0.1


def test_too_few_or_equal_trials_say_nothing_about_importance(skewed: optuna.Study) -> None:
    assert importance_of(skewed.trials[:4]).shares == {}
    same = [trial for trial in skewed.trials if trial.values == [0.25]]
    assert importance_of(same).shares == {}


def test_figures_are_small_enough_for_a_database(study: StudyView, sample: SampleStudy) -> None:
    assert len(sample.attempts) == 11
    assert len(figures.history(study).to_json()) < 10_000
