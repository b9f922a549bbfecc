"""`optuna-tuner bundle` and `summarize`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from fake_tuner import FakeTuner

Invoke = Callable[..., Result]
LINE = {"success": True, "latency_s": 1.5, "ttft_s": 0.5, "timestamp_start": 10.0, "timestamp_end": 12.0}


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    file = tmp_path / "requests.jsonl"
    lines = [{**LINE, "level": level} for level in ("D(1,2) concurrency=1", "D(1,2) concurrency=2") for _ in range(2)]
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"success": False, "error": "HTTP 500"}]))
    return file


def test_a_bundle_is_written_and_what_it_lacks_is_told(invoke: Invoke, tuner: FakeTuner, tmp_path: Path) -> None:
    done = invoke("bundle", "sample", "--trial", "8", "-o", str(tmp_path / "out"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert ("bundle", "sample", tmp_path / "out", 8) in tuner.asked
    assert "trial 8: missing: requests: the load client kept none, or they lie on another machine" in done.stderr
    assert "optuna-tuner summarize checks" in done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["trial"]["number"] == 8
    again = invoke("bundle", "sample", "--trial", "8", "-o", str(tmp_path / "out"))
    assert again.exit_code == 2
    assert "a bundle overwrites nothing" in again.stderr


def test_a_summary_for_people_has_a_part_for_each_level(invoke: Invoke, requests: Path) -> None:
    done = invoke("summarize", str(requests))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "D(1,2) concurrency=1",
        "2 requests, 0 failed in 2.0 s: 1 req/s",
        "           count  avg  min  max  p50  p90  p95  p99",
        "latency_s      2  1.5  1.5  1.5  1.5  1.5  1.5  1.5",
        "ttft_s         2  0.5  0.5  0.5  0.5  0.5  0.5  0.5",
        "D(1,2) concurrency=2",
        "2 requests, 0 failed in 2.0 s: 1 req/s",
        "           count  avg  min  max  p50  p90  p95  p99",
        "latency_s      2  1.5  1.5  1.5  1.5  1.5  1.5  1.5",
        "ttft_s         2  0.5  0.5  0.5  0.5  0.5  0.5  0.5",
        "all requests",
        "1 requests, 1 failed",
        "1 x HTTP 500",
    ]
    assert "missing: 4 of 4 completed requests tell no input_tokens" in done.stderr


def test_a_summary_as_json_is_complete_and_alone_on_stdout(invoke: Invoke, requests: Path) -> None:
    found = json.loads(invoke("summarize", str(requests), "-o", "json").stdout)
    assert (found["total_requests"], found["latency_s"]["p99"], found["requests_per_second"]) == (5, 1.5, 2.0)
    assert len(found["levels"]) == 3


def test_a_wrong_line_ends_it_with_file_and_line(invoke: Invoke, requests: Path) -> None:
    with requests.open("a") as file:
        file.write('{"success": true, "latency_s": "fast"}\n')
    done = invoke("summarize", str(requests))
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"Error: {requests}:6: latency_s: Expected `float | null`, got `str`\n"


def test_what_is_no_bundle_or_not_there_is_told(invoke: Invoke, tmp_path: Path) -> None:
    assert "this folder is no bundle of a trial" in invoke("summarize", str(tmp_path)).stderr
    missing = invoke("summarize", str(tmp_path / "nowhere"))
    assert missing.exit_code == 2
    assert "does not exist" in missing.stderr
