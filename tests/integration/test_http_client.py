"""The built-in load client against a server whose times are known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import psutil
import pytest

from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.request_log import PATTERN
from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.values import Endpoint, Measurement, Model, RequestSlo, Slot


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(
        endpoint=Endpoint(url="http://127.0.0.1:9", model=MODEL),
        model=Model(name=MODEL, path="", tokenizer=""),
        folder=tmp_path,
        seed=1,
        slo=RequestSlo(ttft_ms=10_000),
        success_rate=0.99,
        slot=Slot(name="slot", host="here"),
    )


def _run(target: Target, server: tuple[str, ...], within_s: float = 60, **options: object) -> list[Measurement]:
    benchmark = Http(HttpOptions.model_validate({"scenario": "D(24,8)", "requests": 20, **options}))
    with fake_server(*server) as endpoint:
        return list(benchmark.run(replace(target, endpoint=endpoint), Deadline.after(within_s)))


def test_each_time_is_near_the_servers_own(target: Target) -> None:
    (measurement,) = _run(target, ("--ttft-ms", "100", "--itl-ms", "20"), concurrency=4)
    metrics = measurement.metrics
    assert 100 <= metrics["ttft_ms.p50"] <= 130
    assert metrics["itl_ms.p50"] == pytest.approx(20, rel=0.1)
    assert metrics["tpot_ms.p50"] == pytest.approx(20, rel=0.1)
    assert 240 <= metrics["e2e_latency_ms.p50"] <= 280


def test_the_servers_tokens_are_counted_not_ours(target: Target) -> None:
    (measurement,) = _run(target, (), concurrency=4)
    metrics = measurement.metrics
    assert metrics["input_throughput_tok_s"] == pytest.approx(3 * metrics["output_throughput_tok_s"])
    assert metrics["completed_requests"] == 20


def _lines(target: Target, measurement: Measurement) -> list[dict[str, float]]:
    return [json.loads(line) for line in (target.folder / measurement.report).read_text().splitlines()]


def test_every_request_is_a_line_of_the_raw_report(target: Target) -> None:
    (measurement,) = _run(replace(target, service_type="fake"), (), concurrency=4)
    lines = _lines(target, measurement)
    assert len({line["request_id"] for line in lines}) == 20
    assert all(0 <= line["send_delay_s"] < line["ttft_s"] < line["latency_s"] for line in lines)
    same = {"level": "D(24,8) concurrency=4", "scenario": "D(24,8)", "service_type": "fake", "measurement": "1"}
    assert all(
        line.items() >= {**same, "success": True, "http_status": 200, "output_tokens": 8}.items() for line in lines
    )
    assert all("error" not in line for line in lines)


def test_the_metrics_are_those_of_the_lines(target: Target) -> None:
    tolerant = replace(target, success_rate=0.5)
    (measurement,) = _run(tolerant, ("--misbehave", "http_500=0.2"), concurrency=4)
    lines, metrics = _lines(target, measurement), measurement.metrics
    done = [line for line in lines if line["success"]]
    for name, field in (("ttft_ms", "ttft_s"), ("tpot_ms", "tpot_s"), ("e2e_latency_ms", "latency_s")):
        times = [1000 * line[field] for line in done]
        assert metrics[f"{name}.mean"] == pytest.approx(fmean(times), rel=1e-12)
        assert metrics[f"{name}.p99"] == pytest.approx(np.percentile(times, 99), rel=1e-12)
    span_s = max(line["timestamp_end"] for line in lines) - min(line["timestamp_start"] for line in lines)
    assert metrics["duration_s"] == pytest.approx(span_s, abs=1e-5)
    assert metrics["failed_requests"] == len(lines) - len(done) > 0
    assert {line["http_status"] for line in lines if not line["success"]} == {500}


def test_a_level_that_is_cut_short_leaves_whole_lines_of_what_had_ended(target: Target) -> None:
    with pytest.raises(DegradedError, match="out of time"):
        _run(target, ("--ttft-ms", "100"), within_s=2, concurrency=1, requests=100)
    (file,) = (target.folder / "benchmark").glob(PATTERN)
    text = file.read_text()
    assert text.endswith("}\n")
    assert all(json.loads(line)["success"] for line in text.splitlines())


def test_an_open_loop_counts_from_the_scheduled_arrival_so_that_a_queue_cannot_hide(target: Target) -> None:
    """One slot of 135 ms a request and 20 arrivals a second: the twentieth waits for nineteen others."""
    (measurement,) = _run(
        target, ("--ttft-ms", "100", "--itl-ms", "5", "--slots", "1"), request_rate=20, arrival="constant"
    )
    assert measurement.metrics["ttft_ms.p99"] > 100 + 0.8 * 19 * (135 - 50)
    assert measurement.metrics["ttft_ms.p50"] > 500


def test_constant_arrivals_are_even_and_poisson_arrivals_are_not(target: Target) -> None:
    def gaps(arrival: str) -> list[float]:
        here = replace(target, folder=target.folder / arrival)
        (measurement,) = _run(here, (), request_rate=50, arrival=arrival)
        due = sorted(line["timestamp_start"] for line in _lines(here, measurement))
        return [b - a for a, b in pairwise(due)]

    assert max(gaps("constant")) - min(gaps("constant")) < 2e-6  # a moment since 1970 is good to 0.24 us
    poisson = gaps("poisson")
    assert max(poisson) > 2 * min(poisson)


def test_a_request_above_its_time_limit_has_failed(target: Target) -> None:
    with pytest.raises(DegradedError, match="time limit"):
        _run(target, ("--misbehave", "hang"), concurrency=2, request_timeout_s=0.3)


def test_no_request_starts_after_the_level_s_time_limit_and_those_under_way_end(target: Target) -> None:
    (measurement,) = _run(target, ("--ttft-ms", "200"), concurrency=1, requests=1000, max_time_s=1.0)
    assert 3 <= measurement.metrics["completed_requests"] <= 6
    assert measurement.metrics["error_rate"] == 0


def test_a_server_too_slow_for_the_deadline_is_degraded(target: Target) -> None:
    with pytest.raises(DegradedError, match="out of time"):
        _run(target, ("--ttft-ms", "500"), within_s=3, concurrency=1, requests=100)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("http_500", "HTTP 500"),
        ("cut", "connection cut in mid-stream"),
        ("html", "no event stream"),
        ("empty_stream", r"without \[DONE\]"),
        ("truncated_sse", r"without \[DONE\]"),
        ("zero_tokens", "no token"),
        ("exit_after=3", "onnect"),
    ],
)
def test_each_way_to_answer_wrongly_is_a_failed_request(target: Target, kind: str, message: str) -> None:
    with pytest.raises(DegradedError, match=message):
        _run(target, ("--misbehave", kind), concurrency=2)


def test_a_wrong_model_is_our_fault_not_the_configurations(target: Target) -> None:
    with pytest.raises(BenchmarkError, match="HTTP 404"):
        _run(target, ("--misbehave", "wrong_model"), concurrency=2)


def test_a_server_without_usage_is_counted_by_its_chunks(target: Target) -> None:
    (measurement,) = _run(target, ("--misbehave", "no_usage"), concurrency=2)
    metrics = measurement.metrics
    assert metrics["output_throughput_tok_s"] * metrics["duration_s"] == pytest.approx(20 * 8)


def test_a_few_failures_within_the_success_rate_are_counted_not_fatal(target: Target) -> None:
    tolerant = replace(target, success_rate=0.5)
    (measurement,) = _run(tolerant, ("--misbehave", "http_500=0.25"), concurrency=2)
    assert measurement.metrics["error_rate"] == pytest.approx(0.25, abs=0.06)
    assert measurement.metrics["goodput_share"] == pytest.approx(0.75, abs=0.06)


def test_a_load_client_dies_with_its_worker(tmp_path: Path) -> None:
    """kill -9 of the worker: the client, and a child of the client, are gone at once."""
    marker = tmp_path / "pid"
    client = f"sleep 300 & echo $! > {marker}; wait"
    worker = (
        "import sys, pathlib, time\n"
        "from optuna_tuner.benchmarks.client_process import Client\n"
        f"client = Client(['/bin/sh', '-c', {client!r}], {{}}, pathlib.Path({str(tmp_path)!r}))\n"
        "print('started', flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", worker], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        text = poll(lambda: marker.read_text().strip() if marker.exists() else None or None, Deadline.after(10))
        sleeper = psutil.Process(int(text or ""))
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs([sleeper], timeout=10)
    assert not sleeper.is_running()
