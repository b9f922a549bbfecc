from __future__ import annotations

import pytest
from pydantic import ValidationError

from optuna_tuner.spec.goals import Constraint, Goals, Objective, RequestSloSpec


def test_an_upper_bound_is_exceeded_relatively() -> None:
    constraint = Constraint(metric="ttft_ms.p99", at_most=500)
    assert constraint.name == "ttft_ms.p99 <= 500"
    assert constraint.excess({"ttft_ms.p99": 600}) == pytest.approx(0.2)
    assert constraint.excess({"ttft_ms.p99": 500}) == 0


def test_a_lower_bound_is_missed_relatively() -> None:
    constraint = Constraint(metric="request_rate_req_s", at_least=4)
    assert constraint.name == "request_rate_req_s >= 4"
    assert constraint.excess({"request_rate_req_s": 3}) == pytest.approx(0.25)
    assert constraint.excess({"request_rate_req_s": 5}) < 0


@pytest.mark.parametrize("bound", [{"at_most": 0.0}, {"at_least": 0.0}])
def test_a_bound_of_zero_divides_by_nothing(bound: dict[str, float]) -> None:
    assert abs(Constraint(metric="error_rate", **bound).excess({"error_rate": 0.5})) == 0.5


def test_large_bounds_have_names_of_their_own() -> None:
    first, second = (Constraint(metric="x", at_most=bound) for bound in (1_000_000.0, 1_000_001.0))
    assert first.name != second.name


def test_goodput_with_a_bound_is_an_objective() -> None:
    objective = Objective(metric="goodput_req_s", direction="maximize")
    goals = Goals(objectives=(objective,), request_slo=RequestSloSpec(ttft_ms=500))
    assert goals.request_slo.value().ttft_ms == 500
    with pytest.raises(ValidationError, match="goodput needs at least one bound"):
        Goals(objectives=(objective,))
