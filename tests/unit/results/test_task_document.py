from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from optuna_tuner.results.task_document import task_document
from optuna_tuner.results.views import StudyView
from optuna_tuner.spec.goals import Objective
from optuna_tuner.store.records import Outcome
from optuna_tuner.testing.sample_study import SampleStudy, failed
from optuna_tuner.values import Cause

Document = dict[str, Any]


@pytest.fixture
def document(study: StudyView) -> Document:
    loaded: Document = json.loads(json.dumps(task_document(study), allow_nan=False))
    return loaded


def test_the_document_has_the_keys_of_the_older_format(document: Document) -> None:
    assert set(document) == {
        "task_name",
        "total_experiments",
        "successful_experiments",
        "elapsed_time",
        "best_result",
        "all_results",
    }
    assert set(document["best_result"]["metrics"]) == {
        "num_result_files",
        "concurrency_levels",
        "mean_e2e_latency",
        "p50_e2e_latency",
        "p90_e2e_latency",
        "p99_e2e_latency",
        "mean_ttft",
        "mean_tpot",
        "mean_total_throughput",
        "max_total_throughput",
        "total_requests",
        "total_completed_requests",
        "total_error_requests",
        "success_rate",
        "raw_results",
    }


def test_an_experiment_is_a_configuration_not_a_try(document: Document) -> None:
    assert [result["experiment_id"] for result in document["all_results"]] == list(range(1, 11))
    assert (document["total_experiments"], document["successful_experiments"]) == (10, 8)


def test_latencies_are_in_seconds_and_averaged_over_the_load_levels(document: Document) -> None:
    metrics = document["best_result"]["metrics"]
    assert metrics["concurrency_levels"] == [4, 8]
    assert metrics["mean_e2e_latency"] == pytest.approx((0.5 + 1.0) / 2)
    assert metrics["mean_ttft"] == pytest.approx((0.045 + 0.09) / 2)
    assert metrics["mean_tpot"] == pytest.approx(0.012)
    assert metrics["max_total_throughput"] == pytest.approx(2400)
    assert metrics["mean_total_throughput"] == pytest.approx(1920)


def test_requests_are_added_up_over_the_load_levels(document: Document) -> None:
    metrics = document["best_result"]["metrics"]
    assert (metrics["total_requests"], metrics["total_completed_requests"], metrics["total_error_requests"]) == (
        200,
        198,
        2,
    )
    assert metrics["success_rate"] == pytest.approx(0.99)


def test_a_score_is_better_when_it_is_lower(
    document: Document, latency_study: Callable[[Objective], StudyView]
) -> None:
    assert document["best_result"]["objective_score"] == -800
    latency = task_document(latency_study(Objective(metric="e2e_latency_ms.mean", direction="minimize")))
    best = latency["best_result"]
    assert isinstance(best, dict)
    assert best["objective_score"] == pytest.approx(0.7)


def test_a_failed_experiment_has_neither_metrics_nor_score(document: Document) -> None:
    result = document["all_results"][4]
    assert (result["status"], result["metrics"], result["objective_score"]) == ("failed", None, None)
    assert result["error_message"].startswith("ValueError: No available memory")


def test_without_a_feasible_trial_there_is_no_best_result(
    sample: SampleStudy, ended: Callable[[dict[int, Outcome]], StudyView]
) -> None:
    study = ended({1: failed(sample.spec.goals, Cause.CRASHED, "boom")})
    document = task_document(study, "renamed")
    assert (document["best_result"], document["task_name"], document["total_experiments"]) == (None, "renamed", 1)
