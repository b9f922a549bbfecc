"""From single requests to metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from optuna_tuner.benchmarks.statistics import DELIVERED, RequestRecord, percentile, summarise
from optuna_tuner.metrics import METRICS
from optuna_tuner.values import RequestSlo

ONE = RequestRecord(ttft_s=0.1, e2e_s=0.5, input_tokens=10, output_tokens=5, gaps_s=(0.1, 0.1, 0.1, 0.1))
TWO = RequestRecord(ttft_s=0.3, e2e_s=1.1, input_tokens=30, output_tokens=5, gaps_s=(0.2, 0.2, 0.2, 0.2))
FAILED = RequestRecord(error="HTTP 500")


@given(some.lists(some.floats(0, 1e6), min_size=1, max_size=200), some.sampled_from([50, 90, 95, 99]))
def test_percentiles_are_those_of_numpy(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    assert math.isclose(
        percentile(ordered, percent), float(np.percentile(ordered, percent)), rel_tol=1e-9, abs_tol=1e-9
    )


def test_every_metric_of_the_vocabulary_is_delivered() -> None:
    assert summarise([ONE, TWO], 2.0, RequestSlo()).keys() == DELIVERED == METRICS.keys()


def test_times_are_in_milliseconds_and_rates_per_second() -> None:
    metrics = summarise([ONE, TWO, FAILED, FAILED], 2.0, RequestSlo())
    expected = {
        "ttft_ms.mean": 200.0,
        "ttft_ms.p50": 200.0,
        "tpot_ms.mean": 150.0,
        "itl_ms.p99": 200.0,
        "e2e_latency_ms.mean": 800.0,
        "input_throughput_tok_s": 20.0,
        "output_throughput_tok_s": 5.0,
        "total_throughput_tok_s": 25.0,
        "request_rate_req_s": 1.0,
        "error_rate": 0.5,
        "completed_requests": 2.0,
        "failed_requests": 2.0,
        "duration_s": 2.0,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        (RequestSlo(), 2),
        (RequestSlo(ttft_ms=100), 1),
        (RequestSlo(ttft_ms=99), 0),
        (RequestSlo(tpot_ms=150), 1),
        (RequestSlo(e2e_latency_ms=1100), 2),
        (RequestSlo(ttft_ms=1000, tpot_ms=150), 1),
    ],
)
def test_goodput_counts_requests_that_keep_every_bound(slo: RequestSlo, good: int) -> None:
    metrics = summarise([ONE, TWO, FAILED], 4.0, slo)
    assert metrics["goodput_req_s"] == pytest.approx(good / 4)
    assert metrics["goodput_share"] == pytest.approx(good / 3)


def test_a_reply_of_one_token_has_no_time_per_output_token() -> None:
    one_token = RequestRecord(ttft_s=0.1, e2e_s=0.1, input_tokens=1, output_tokens=1)
    assert one_token.tpot_s is None
    assert one_token.keeps(RequestSlo(tpot_ms=1))
    assert "tpot_ms.mean" not in summarise([one_token], 1.0, RequestSlo())
