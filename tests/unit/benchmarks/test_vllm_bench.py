"""`vllm bench serve`: what it is told, and what is made of its reports, which are real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from optuna_tuner.benchmarks import report_check
from optuna_tuner.benchmarks.level_client import Level
from optuna_tuner.benchmarks.statistics import DELIVERED
from optuna_tuner.benchmarks.vllm_bench import VllmBench, VllmBenchOptions, _environment, _lengths
from optuna_tuner.benchmarks.vllm_bench_report import Report
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.values import Endpoint, Json, Load, LoadKind, Model, RequestSlo, Slot

MATERIAL = Path(__file__).parents[2] / "material" / "vllm_bench"
TWO = Load(value=2, scenario="D(16,8)")
EVENLY = Load(kind=LoadKind.CONSTANT_RATE, value=20, scenario="D(16,8)")


def _target(folder: Path, seed: int = 7) -> Target:
    return Target(
        endpoint=Endpoint(url="http://h:1/v1", model="m"),
        model=Model(name="m", path="p", tokenizer="/tokenizer"),
        folder=folder,
        seed=seed,
        slo=RequestSlo(),
        success_rate=0.99,
        slot=Slot(name="s", host="h"),
    )


def _options(**given: Json) -> VllmBenchOptions:
    return VllmBenchOptions.model_validate({"scenario": "D(16,8)", "concurrency": 2, "requests": 12, **given})


def _level(folder: Path, load: Load, number: int = 1, seed: int = 7, **given: Json) -> Level:
    run = folder / "benchmark" / f"vllm-bench-{number}"
    return VllmBench(_options(**given)).level(_target(folder, seed), load, Path("/venv/vllm"), run)


def _report(case: str) -> dict[str, Json]:
    return dict(report_check.read_report(MATERIAL / f"{case}.json", started_at=0.0))


def _said(level: Level, flag: str) -> str:
    return level.program.argv[level.program.argv.index(flag) + 1]


def test_its_command_line_is_one_of_bench_serve(tmp_path: Path) -> None:
    level = _level(tmp_path, TWO, extra_args="--trust-remote-code", additional_params={"top_k": 1})
    assert level.program.argv[:3] == ("/venv/vllm", "bench", "serve")
    assert level.program.argv[-1] == "--trust-remote-code"
    assert _said(level, "--base-url") == "http://h:1"
    assert _said(level, "--tokenizer") == "/tokenizer"
    assert _said(level, "--num-prompts") == "12"
    assert json.loads(_said(level, "--extra-body")) == {"temperature": 0.0, "top_k": 1}
    assert Path(_said(level, "--result-dir"), _said(level, "--result-filename")) == level.folder / "report.json"


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (TWO, ("--max-concurrency", "2")),
        (EVENLY, ("--request-rate", "20", "--burstiness", "inf")),
        (Load(kind=LoadKind.REQUEST_RATE, value=0.5, scenario="D(16,8)"), ("--request-rate", "0.5")),
    ],
)
def test_a_load_is_said_in_its_words(tmp_path: Path, load: Load, words: tuple[str, ...]) -> None:
    said = _level(tmp_path, load).program.argv
    start = said.index(words[0])
    assert said[start : start + len(words)] == words
    assert ("--burstiness" in said) is ("--burstiness" in words)
    assert ("--max-concurrency" in said) is (load is TWO)


@pytest.mark.parametrize(
    ("scenario", "prefix", "mean_in", "mean_out", "lowest_in", "highest_in"),
    [
        ("D(64,32)", 8, 56, 32, 56, 56),
        ("D(4,8)", 3, 1, 8, 1, 1),
        ("U(20,60)/(4,12)", 8, 32, 8, 12, 52),
        ("U(1,10)/(2,9)", 0, 5, 5, 1, 9),
    ],
)
def test_prompts_of_a_scenario_are_drawn_within_its_ends(
    scenario: str, prefix: int, mean_in: int, mean_out: int, lowest_in: int, highest_in: int
) -> None:
    from math import ceil, floor  # noqa: PLC0415  vLLM's own way from mean and share to the ends

    from optuna_tuner.benchmarks.scenarios import parse  # noqa: PLC0415

    words = dict(zip((said := _lengths(parse(scenario)))[::2], said[1::2], strict=True))
    share = json.loads(words.get("--random-range-ratio", '{"input": 0, "output": 0}'))["input"]
    assert words["--random-prefix-len"] == str(prefix)
    assert (words["--random-input-len"], words["--random-output-len"]) == (str(mean_in), str(mean_out))
    assert (floor(mean_in * (1 - share)), ceil(mean_in * (1 + share))) == (lowest_in, highest_in)


def test_no_two_runs_draw_their_prompts_alike(tmp_path: Path) -> None:
    seeds = {_said(_level(tmp_path, TWO, number, seed), "--seed") for number in (1, 2, 3) for seed in (7, 8, 2**31)}
    assert len(seeds) == 9
    assert all(0 <= int(seed) < 2**32 for seed in seeds)


def test_the_key_of_this_server_and_of_no_other_is_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-somebody-else")
    assert _environment(Endpoint(url="u", model="m", key_variable="MY_KEY"))["OPENAI_API_KEY"] == "sk-mine"
    assert _environment(Endpoint(url="u", model="m"))["OPENAI_API_KEY"] == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scenario": "N(64,8)/(32,4)"}, "draws no normal lengths: use D or U"),
        ({"extra_args": ["--header", "Authorization=Bearer x"]}, "belongs to deployer.api_key"),
        ({"extra_args": "--num_prompts=5"}, "--num-prompts is set by the tuner itself"),
    ],
)
def test_what_would_not_be_what_the_study_says_is_refused(wrong: dict[str, Json], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _options(**wrong)


def test_a_real_report_gives_every_metric_as_vllm_says_it(tmp_path: Path) -> None:
    level, report = _level(tmp_path, TWO), _report("ok")
    metrics = level.metrics(level.read(report, 0.0), _target(tmp_path), elapsed_s=10)
    assert metrics.keys() >= DELIVERED
    for ours, theirs in {
        "ttft_ms": "ttft_ms",
        "tpot_ms": "tpot_ms",
        "itl_ms": "itl_ms",
        "e2e_latency_ms": "e2el_ms",
    }.items():
        assert metrics[f"{ours}.mean"] == pytest.approx(report[f"mean_{theirs}"])
        assert metrics[f"{ours}.p99"] == pytest.approx(report[f"p99_{theirs}"])
    assert metrics["duration_s"] <= float(str(report["duration"]))
    assert metrics["output_throughput_tok_s"] == pytest.approx(report["output_throughput"], rel=0.01)


def test_half_of_the_requests_failed_is_degraded_and_their_reason_phrase_is_a_status(tmp_path: Path) -> None:
    level = _level(tmp_path, EVENLY)
    told = level.read(_report("half_fail"), 0.0)
    assert [each.status for each in told if each.record.error] == [500] * 6
    with pytest.raises(DegradedError, match=r"6 of 12 requests completed .*HTTP 500: Internal Server Error"):
        level.metrics(told, _target(tmp_path), elapsed_s=10)


def test_a_request_that_failed_without_a_reason_has_failed() -> None:
    report = _report("half_fail")
    errors = report["errors"]
    assert isinstance(errors, list)
    told = Report.read({**report, "errors": [""] * len(errors)}).told(EVENLY, 0.0)
    assert sum(each.record.error == "it told no reason" for each in told) == 6


def test_in_an_open_loop_times_count_from_the_arrival() -> None:
    report = _report("half_fail")
    waits = report["queue_times"]
    assert isinstance(waits, list)
    for each, waited in zip(Report.read(report).told(EVENLY, 0.0), waits, strict=True):
        if not each.record.error:
            assert each.send_delay_s == waited
            assert each.record.ttft_s > float(str(waited))


def test_a_report_of_another_load_or_shape_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="another load"):
        Report.read(_report("ok")).told(EVENLY, 0.0)
    with pytest.raises(BenchmarkError, match=r"report cannot be read: max_concurrency: Field required"):
        Report.read({})
    with pytest.raises(BenchmarkError, match="its lists differ in length"):
        Report.read({**_report("ok"), "errors": []})


@pytest.mark.parametrize("start", [0.0, 1e9])
def test_a_request_that_was_sent_at_another_time_than_its_arrival_allows_is_refused(start: float) -> None:
    report = _report("ok")
    starts = report["start_times"]
    assert isinstance(starts, list)
    with pytest.raises(BenchmarkError, match="its times do not fit together"):
        Report.read({**report, "start_times": [*starts[:3], start, *starts[4:]]}).told(TWO, 0.0)
