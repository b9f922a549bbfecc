from __future__ import annotations

import pytest

from optuna_tuner.errors import BenchmarkError, DeployerError, NotReadyError, RejectedError, ServerCrashedError
from optuna_tuner.search.verdict import SERVER_RUNS, failed, pruned, score, scored
from optuna_tuner.spec.goals import Constraint, Goals, Objective
from optuna_tuner.store.records import Verdict
from optuna_tuner.values import Cause, Diagnosis, Load, Measurement

GOALS = Goals(
    objectives=(Objective(metric="output_throughput_tok_s", direction="maximize"),),
    constraints=(Constraint(metric="ttft_ms.p99", at_most=100),),
)
MEAN_GOALS = Goals(objectives=(Objective(metric="ttft_ms.p99", direction="minimize"),), level="mean")


def level(concurrency: int, throughput: float, ttft: float) -> Measurement:
    return Measurement(
        load=Load(value=concurrency), metrics={"output_throughput_tok_s": throughput, "ttft_ms.p99": ttft}
    )


def test_the_operating_point_is_the_best_level_that_keeps_the_slo() -> None:
    outcome = scored(GOALS, [level(1, 50, 20), level(4, 150, 90), level(8, 200, 300)])
    assert (outcome.verdict, outcome.values, outcome.level) == (Verdict.COMPLETE, (150.0,), "concurrency=4")
    assert outcome.cause is None
    assert outcome.constraints == {SERVER_RUNS: 0.0, "ttft_ms.p99 <= 100": pytest.approx(-0.1)}


def test_where_no_level_keeps_the_slo_the_least_violation_is_scored_and_named() -> None:
    outcome = scored(GOALS, [level(1, 50, 150), level(8, 200, 300)])
    assert (outcome.level, outcome.cause) == ("concurrency=1", Cause.SLO)
    assert outcome.constraints["ttft_ms.p99 <= 100"] == pytest.approx(0.5)
    assert "ttft_ms.p99 <= 100" in outcome.reason


def test_the_mean_level_averages_each_metric() -> None:
    assert score(MEAN_GOALS, [level(1, 50, 20), level(4, 150, 90)]).values == (55.0,)


@pytest.mark.parametrize(
    "error",
    [
        RejectedError("rule"),
        NotReadyError("silent"),
        ServerCrashedError("exit 1", diagnosis=Diagnosis(cause=Cause.OUT_OF_MEMORY_POOL, evidence="no memory")),
    ],
)
def test_the_configurations_fault_is_pruned_with_every_constraint_violated(error: ServerCrashedError) -> None:
    outcome = failed(GOALS, error)
    assert (outcome.verdict, outcome.cause) == (Verdict.PRUNED, error.cause)
    assert outcome.constraints == {SERVER_RUNS: 1.0, "ttft_ms.p99 <= 100": 1.0}


@pytest.mark.parametrize(
    "error",
    [
        BenchmarkError("client died"),
        DeployerError("port", diagnosis=Diagnosis(cause=Cause.PORT_IN_USE, evidence="in use")),
        ServerCrashedError("exit 1", diagnosis=Diagnosis(cause=Cause.DEVICE_BUSY, evidence="GPU not free")),
    ],
)
def test_the_machines_fault_is_told_as_fail_without_constraints(error: ServerCrashedError) -> None:
    outcome = failed(GOALS, error)
    assert (outcome.verdict, outcome.constraints) == (Verdict.FAIL, {})


def test_the_reason_holds_the_evidence_once() -> None:
    diagnosis = Diagnosis(cause=Cause.BAD_FLAG, evidence="unrecognized arguments: --x")
    error = ServerCrashedError("the server ended with exit code 2", diagnosis=diagnosis)
    assert failed(GOALS, error).reason == "the server ended with exit code 2: unrecognized arguments: --x"
    assert failed(GOALS, RejectedError("a > b")).reason == "a > b"


def test_a_pruned_trial_keeps_what_was_measured() -> None:
    outcome = pruned(GOALS, [level(1, 50, 20)])
    assert (outcome.verdict, outcome.cause, outcome.metrics["ttft_ms.p99"]) == (Verdict.PRUNED, Cause.PRUNED, 20)
    assert all(excess <= 0 for excess in outcome.constraints.values())


@pytest.mark.parametrize("kind", [ServerCrashedError, DeployerError])
def test_what_the_log_tells_exactly_stands_with_the_outcome(kind: type[ServerCrashedError | DeployerError]) -> None:
    exact = Diagnosis(cause=Cause.BAD_FLAG, evidence="n_seq_max must be <= 256", exact_advice="Lower parallel.")
    assert failed(GOALS, kind("it ended", diagnosis=exact)).advice == "Lower parallel."
    plain = Diagnosis(cause=Cause.BAD_FLAG, evidence="no")
    assert failed(GOALS, kind("it ended", diagnosis=plain)).advice == Cause.BAD_FLAG.advice
