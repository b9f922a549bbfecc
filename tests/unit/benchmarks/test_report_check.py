"""The report check: what cannot be true is refused, and the fault is put where it belongs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from optuna_tuner.benchmarks import report_check
from optuna_tuner.benchmarks.statistics import DELIVERED, RequestRecord, summarise
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.values import RequestSlo

GOOD = RequestRecord(ttft_s=0.1, e2e_s=0.4, input_tokens=64, output_tokens=4, gaps_s=(0.1, 0.1, 0.1))
BAD = RequestRecord(error="HTTP 500: boom")
METRICS = summarise([GOOD] * 20, 2.0, RequestSlo())


def test_good_metrics_pass() -> None:
    report_check.check_metrics(METRICS, DELIVERED)


def test_good_requests_pass() -> None:
    report_check.check_requests([GOOD] * 99 + [BAD], 100, 0.99)


def test_missing_requests_are_the_clients_fault() -> None:
    with pytest.raises(BenchmarkError, match="holds 9 requests; 10 were asked for"):
        report_check.check_requests([GOOD] * 9, 10, 0.99)


def test_failed_requests_above_the_limit_are_the_servers_fault() -> None:
    with pytest.raises(DegradedError, match=r"98 of 100 requests completed \(98.0%; .* 2 x HTTP 500: boom"):
        report_check.check_requests([GOOD] * 98 + [BAD] * 2, 100, 0.99)


def test_no_completed_request_is_the_servers_fault_even_when_none_was_recorded() -> None:
    with pytest.raises(DegradedError, match="no request at all"):
        report_check.check_requests([], 10, 0.99)


@pytest.mark.parametrize("code", [401, 403, 404, 405])
def test_asking_for_what_is_not_there_is_not_the_configurations_fault(code: int) -> None:
    with pytest.raises(BenchmarkError):
        report_check.check_requests([RequestRecord(error=f"HTTP {code}: no such model")] * 10, 10, 0.99)


@pytest.mark.parametrize("code", [400, 422, 429, 500, 503])
def test_a_request_that_the_configuration_cannot_serve_is_its_fault(code: int) -> None:
    with pytest.raises(DegradedError):
        report_check.check_requests([RequestRecord(error=f"HTTP {code}: too long")] * 10, 10, 0.99)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(GOOD, output_tokens=0),
        replace(GOOD, input_tokens=0),
        replace(GOOD, ttft_s=0.5),
        replace(GOOD, ttft_s=-0.1),
        replace(GOOD, e2e_s=float("nan")),
        replace(GOOD, e2e_s=float("inf")),
        replace(GOOD, ttft_s=0.0, e2e_s=0.0),
        replace(GOOD, gaps_s=(-0.1,)),
    ],
)
def test_an_impossible_request_is_refused(wrong: RequestRecord) -> None:
    with pytest.raises(BenchmarkError, match="cannot be true"):
        report_check.check_requests([GOOD] * 99 + [wrong], 100, 0.99)


def test_a_missing_metric_is_named() -> None:
    metrics = {name: value for name, value in METRICS.items() if name != "ttft_ms.p99"}
    with pytest.raises(BenchmarkError, match=r"lacks ttft_ms\.p99"):
        report_check.check_metrics(metrics, DELIVERED)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1.0, 1e308, True, "12"])
@pytest.mark.parametrize("name", ["ttft_ms.p99", "output_throughput_tok_s", "error_rate"])
def test_a_value_that_cannot_be_is_refused(name: str, value: float) -> None:
    if name == "error_rate" and value is True:
        value = 1.5
    with pytest.raises(BenchmarkError, match=name):
        report_check.check_metrics({**METRICS, name: value}, DELIVERED)


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="error_rate is a share"):
        report_check.check_metrics({**METRICS, "error_rate": 1.01}, DELIVERED)


def test_percentiles_that_fall_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="percentiles of ttft_ms fall"):
        report_check.check_metrics({**METRICS, "ttft_ms.p95": 5000.0}, DELIVERED)


def test_throughput_at_odds_with_its_parts_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="do not add up"):
        report_check.check_metrics({**METRICS, "total_throughput_tok_s": 1.0}, DELIVERED)


def test_a_rate_at_odds_with_the_duration_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="20 requests in 1 s are not 10 a second"):
        report_check.check_metrics({**METRICS, "duration_s": 1.0}, DELIVERED)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"ttft_ms.mean": 10.0}, "too low for its p50"),
        ({"ttft_ms.mean": 500.0}, "and the whole request's 400"),
        ({"itl_ms.p99": 3000.0}, "longer than the level's 2 s"),
        ({"error_rate": 0.5}, "with 0 of 20 requests failed"),
        ({"completed_requests": 20.5}, "completed_requests is 20.5"),
        ({"goodput_req_s": 11.0}, "11 good requests a second of 10 in all"),
        ({"ttft_ms.p50": 0.0}, "is zero"),
    ],
)
def test_figures_that_contradict_each_other_are_refused(changes: dict[str, float], fault: str) -> None:
    with pytest.raises(BenchmarkError, match=fault):
        report_check.check_metrics({**METRICS, **changes}, DELIVERED)


def test_more_requests_in_flight_than_users_are_refused() -> None:
    report_check.check_metrics(METRICS, DELIVERED, users=4)  # 10 a second of 400 ms each
    with pytest.raises(BenchmarkError, match=r"are 4\.0 in flight; 3 were allowed"):
        report_check.check_metrics(METRICS, DELIVERED, users=3)


def test_more_output_tokens_than_asked_for_are_refused() -> None:
    report_check.check_requests([GOOD] * 20, 20, 0.99, most_tokens=4)
    with pytest.raises(BenchmarkError, match="more output tokens than the 3 that were asked for"):
        report_check.check_requests([GOOD] * 20, 20, 0.99, most_tokens=3)


@pytest.mark.parametrize(
    "make",
    [lambda path: path.symlink_to(path.with_name("other.json")), os.mkfifo, Path.mkdir],
    ids=["link", "pipe", "dir"],
)
def test_what_is_no_plain_file_is_no_report(tmp_path: Path, make: Callable[[Path], None]) -> None:
    report, other = tmp_path / "report.json", tmp_path / "other.json"
    other.write_text("{}")
    make(report)
    with pytest.raises(BenchmarkError, match=r"it is a link|no plain file|cannot be read"):
        report_check.read_report(report, started_at=0.0)


@pytest.mark.parametrize("text", ['{"score": 1, "score": 2}', '{"score": ' + "9" * 5000 + "}"])
def test_a_name_that_comes_twice_and_a_number_without_end_are_refused(text: str) -> None:
    with pytest.raises(BenchmarkError, match="cut off or no JSON"):
        report_check.parse_report(text.encode(), "it")


@given(
    name=some.sampled_from(sorted(METRICS)), value=some.one_of(some.floats(), some.text(), some.none(), some.booleans())
)
def test_whatever_passes_the_check_is_a_finite_number_of_a_sane_size(name: str, value: float) -> None:
    try:
        report_check.check_metrics({**METRICS, name: value}, DELIVERED)
    except BenchmarkError:
        return
    assert isinstance(value, float)
    assert 0 <= value <= report_check.LARGEST_VALUE


def test_a_report_of_another_run_is_refused(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("{}")
    os.utime(report, (1000, 1000))
    with pytest.raises(BenchmarkError, match="older than this run"):
        report_check.read_report(report, started_at=2000.0)


@pytest.mark.parametrize("cut", [0, 1, 10, 30])
def test_a_truncated_report_is_refused(tmp_path: Path, cut: int) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"aggregated_metrics": {"num_requests": 12}})[:cut])
    with pytest.raises(BenchmarkError, match="cut off or no JSON"):
        report_check.read_report(report, started_at=0.0)


@pytest.mark.parametrize("text", ["[]", "12", '"text"', "null"])
def test_a_report_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(BenchmarkError, match="no JSON object"):
        report_check.parse_report(text.encode(), "it")


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="cannot be read"):
        report_check.read_report(tmp_path / "none.json", started_at=0.0)


def test_a_report_of_giant_size_is_not_even_read(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with report.open("wb") as file:
        file.truncate(report_check.LARGEST_REPORT_BYTES + 1)
    with pytest.raises(BenchmarkError, match="are the limit"):
        report_check.read_report(report, started_at=0.0)


def test_bytes_that_are_no_utf_8_are_no_report() -> None:
    with pytest.raises(BenchmarkError, match=r"the report is cut off or no JSON .*utf-8"):
        report_check.parse_report(b"\x00\xff garbage {", "the report")
