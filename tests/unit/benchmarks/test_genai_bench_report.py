"""genai-bench's reports, from real runs: its known faults, each with a test that names it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from optuna_tuner.benchmarks import report_check
from optuna_tuner.benchmarks.client_requests import keep
from optuna_tuner.benchmarks.genai_bench_report import LevelReport, duration_s, moments, spans
from optuna_tuner.benchmarks.statistics import DELIVERED, ITL, RequestRecord, summarise
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.values import Endpoint, Json, Load, Model, RequestSlo, Slot

ROOT = Path(__file__).parents[3]
OWN = ROOT / "tests" / "material" / "genai_bench"
SAMPLES = ROOT.parent / "shared" / "data" / "genai-bench-samples"
shared = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared samples are not on this machine")


def _read(path: Path) -> LevelReport:
    return LevelReport.read(report_check.read_report(path, started_at=0.0))


def _report(one: dict[str, Json], unit: str = "s") -> LevelReport:
    counts: dict[str, Json] = {"num_requests": 1, "num_completed_requests": 1}
    sums: Json = {"scenario": "D(8,4)", "num_concurrency": 1, "run_duration": 4.0, **counts}
    return LevelReport.read({"aggregated_metrics": sums, "individual_request_metrics": [one], "_time_unit": unit})


ONE: dict[str, Json] = {"ttft": 200.0, "e2e_latency": 500.0, "num_input_tokens": 8, "num_output_tokens": 4}


def _level(folder: Path, concurrency: int) -> LevelReport:
    (path,) = folder.glob(f"*_num_concurrency_{concurrency}_time_*s.json")
    return _read(path)


def _log(case: str) -> str:
    return (OWN / case / "genai_bench.log").read_text()


@pytest.mark.parametrize(("concurrency", "number"), [(1, 0), (2, 1)])
def test_a_real_report_gives_every_declared_metric(concurrency: int, number: int) -> None:
    report = _level(OWN / "ok", concurrency)
    records = report.records()
    span_s = duration_s(spans(_log("ok"))[number], records)
    assert report.level == ("D(8,4)", concurrency)
    assert span_s is not None
    metrics = summarise(records, span_s, RequestSlo(ttft_ms=1000))
    report_check.check_requests(records, 4, 0.99, most_tokens=4)
    report.check_sums()
    report_check.check_metrics(metrics, DELIVERED - ITL, users=concurrency)
    assert 200 <= metrics["ttft_ms.p50"] <= 240
    assert 35 <= metrics["tpot_ms.p50"] <= 42
    assert metrics["goodput_share"] == 1.0


def test_throughput_that_genai_bench_says_too_low_on_short_runs_is_computed_from_request_times() -> None:
    report = _level(OWN / "ok", 2)
    records = report.records()
    span_s = duration_s(spans(_log("ok"))[1], records)
    assert span_s is not None
    longest = max(record.e2e_s for record in records)
    assert longest < span_s < report.run_duration_s  # its run_duration holds polling and stopping
    in_flight = sum(record.e2e_s for record in records) / span_s
    assert in_flight == pytest.approx(2, rel=0.05)  # two users, always busy: the duration is sound


@pytest.mark.parametrize("case", ["ok", "cut", "half_fail"])
def test_its_own_sums_are_those_of_its_requests_also_when_some_failed(case: str) -> None:
    for path in (OWN / case).glob("*_time_*s.json"):
        _read(path).check_sums()


def test_other_times_in_the_log_than_in_the_report_are_refused() -> None:
    records = _level(OWN / "ok", 2).records()
    quicker = [replace(record, e2e_s=record.e2e_s / 2) for record in records]
    with pytest.raises(BenchmarkError, match="tells other times"):
        duration_s(spans(_log("ok"))[1], quicker)


def test_times_that_are_not_this_reports_are_not_believed() -> None:
    first, second = spans(_log("ok"))
    records = _level(OWN / "ok", 2).records()
    assert duration_s(first, records) is None
    assert duration_s(second[1:], records) is None
    assert duration_s([], records) is None


def test_an_error_rate_that_is_always_0_is_counted_anew() -> None:
    """Exit code 0, error_rate 0, and half of the requests failed."""
    (path,) = (OWN / "half_fail").glob("*_time_*s.json")
    sums = report_check.read_report(path, 0.0)["aggregated_metrics"]
    assert isinstance(sums, dict)
    assert sums["error_rate"] == 0
    records = _read(path).records()
    assert 0.3 < summarise(records, 1.0, RequestSlo())["error_rate"] < 0.7
    with pytest.raises(DegradedError, match="HTTP 500"):
        report_check.check_requests(records, 4, 0.99)


def test_a_cut_connection_counted_as_500_is_called_a_cut_connection() -> None:
    errors = {record.error for record in _level(OWN / "cut", 2).records() if record.error}
    assert errors == {"connection cut: Response ended prematurely"}


def test_milliseconds_are_read_as_milliseconds_but_run_duration_stays_in_seconds() -> None:
    report = _report(ONE, "ms")
    expected = RequestRecord(ttft_s=0.2, e2e_s=0.5, input_tokens=8, output_tokens=4)
    assert report.records() == [expected]
    assert report.run_duration_s == 4.0


@pytest.mark.parametrize("wrong", ["0.2", None, True, [0.2]])
def test_a_figure_of_a_wrong_type_is_refused(wrong: Json) -> None:
    with pytest.raises(BenchmarkError, match=r"cannot be read|without figures"):
        _report({**ONE, "ttft": wrong}).records()


def test_a_report_of_another_shape_is_refused_by_name() -> None:
    with pytest.raises(BenchmarkError, match=r"aggregated_metrics: Field required"):
        LevelReport.read({})


def _kept(tmp_path: Path, case: str, concurrency: int, times: list[tuple[float, float]]) -> list[dict[str, Json]]:
    """The lines that are made of a real report."""
    target = Target(
        endpoint=Endpoint(url="http://127.0.0.1:9", model="tiny"),
        model=Model(name="tiny", path="", tokenizer=""),
        folder=tmp_path,
        seed=1,
        slo=RequestSlo(),
        success_rate=0.5,
        slot=Slot(name="slot", host="here"),
        service_type="vllm",
    )
    load = Load(value=concurrency, scenario="D(8,4)")
    keep(target, load, _level(OWN / case, concurrency).told(times, epoch_s=0), tmp_path / "genai-bench-1", 1)
    file = tmp_path / "genai-bench-1" / f"requests-1-concurrency-{concurrency}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_each_of_its_requests_becomes_a_line_with_the_times_of_its_log(tmp_path: Path) -> None:
    times = spans(_log("ok"))[1]
    lines = _kept(tmp_path, "ok", 2, times)
    records = _level(OWN / "ok", 2).records()
    assert [(line["latency_s"], line["ttft_s"], line["output_tokens"]) for line in lines] == [
        (record.e2e_s, record.ttft_s, record.output_tokens) for record in records
    ]
    starts, ends = ([line[name] for line in lines] for name in ("timestamp_start", "timestamp_end"))
    assert [float(str(end)) - float(str(ends[0])) for end in ends] == pytest.approx(
        [end - times[0][1] for _, end in times], abs=1e-5
    )
    assert [float(str(start)) - float(str(starts[0])) for start in starts] == pytest.approx(
        [start - times[0][0] for start, _ in times], abs=1e-5
    )


def test_what_it_does_not_tell_of_a_request_is_left_out_of_its_line(tmp_path: Path) -> None:
    """No status of what completed, no times of what failed; of a lost connection its 500 is no status."""
    good, failed = (
        [line for line in _kept(tmp_path, "half_fail", 2, spans(_log("half_fail"))[0]) if line["success"] is kind]
        for kind in (True, False)
    )
    assert all("http_status" not in line and "error" not in line for line in good)
    assert {line["http_status"] for line in failed} == {500}
    assert all(line.keys().isdisjoint({"timestamp_start", "latency_s", "ttft_s", "output_tokens"}) for line in failed)
    cut = [line for line in _kept(tmp_path, "cut", 2, []) if not line["success"]]
    assert all("http_status" not in line and str(line["error"]).startswith("connection cut") for line in cut)


def test_a_log_that_does_not_show_every_request_gives_no_times(tmp_path: Path) -> None:
    times, records = spans(_log("ok"))[1], _level(OWN / "ok", 2).records()
    assert None not in moments(times, records)
    for others in ([], times[1:], [*times, times[0]], times[::-1]):
        assert moments(others, records) == [None] * len(records)
    assert all("timestamp_start" not in line for line in _kept(tmp_path, "ok", 2, times[1:]))


@shared
@pytest.mark.parametrize(
    ("case", "level", "requests"),
    [("ok1", 1, 12), ("ok1", 4, 12), ("min1", 1, 1), ("work2", 4, 24), ("nousage2", 4, 12)],
)
def test_a_sound_sample_passes_the_check_with_more_requests_than_asked(case: str, level: int, requests: int) -> None:
    """The limit of requests is looked at once a second: 12 gave 16, 1 gave 16."""
    report = _level(SAMPLES / case, level)
    report_check.check_requests(report.records(), requests, 0.99, most_tokens=32)
    report.check_sums()
    metrics = summarise(report.records(), report.run_duration_s, RequestSlo())
    report_check.check_metrics(metrics, DELIVERED - ITL, users=level)


@shared
@pytest.mark.parametrize("case", ["half2", "drop2"])
def test_a_sample_with_half_the_requests_failed_is_degraded(case: str) -> None:
    with pytest.raises(DegradedError, match="9 of 17 requests completed"):
        report_check.check_requests(_level(SAMPLES / case, 4).records(), 12, 0.99)


@shared
@pytest.mark.parametrize(
    ("case", "error"), [("down", DegradedError), ("http500", DegradedError), ("wrongmodel", BenchmarkError)]
)
def test_a_debug_file_of_total_failure_says_whose_fault_it_is(case: str, error: type[Exception]) -> None:
    (path,) = (SAMPLES / case).glob("debug_for_run_*.json")
    with pytest.raises(error, match="0 of "):
        report_check.check_requests(_read(path).records(), 1, 0.99)


@shared
def test_our_figures_are_genai_benchs_own_where_those_are_sound() -> None:
    for path in (*SAMPLES.glob("ok1/*_time_*s.json"), *SAMPLES.glob("work2/*_time_*s.json")):
        report = _read(path)
        ours = summarise(report.records(), report.run_duration_s, RequestSlo())
        theirs = report_check.read_report(path, 0.0)["aggregated_metrics"]
        assert isinstance(theirs, dict)
        stats = theirs["stats"]
        assert isinstance(stats, dict)
        for name, their_name in (("ttft_ms", "ttft"), ("tpot_ms", "tpot"), ("e2e_latency_ms", "e2e_latency")):
            their = stats[their_name]
            assert isinstance(their, dict)
            for statistic in ("mean", "p50", "p90", "p95", "p99"):
                value = their[statistic]
                assert isinstance(value, float)
                assert ours[f"{name}.{statistic}"] == pytest.approx(1000 * value)
        assert ours["output_throughput_tok_s"] == pytest.approx(theirs["mean_output_throughput_tokens_per_s"])
