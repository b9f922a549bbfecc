"""The real genai-bench against a server that misbehaves: each of its known faults, met on the road."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer

import psutil
import pytest

from optuna_tuner.benchmarks import prompts
from optuna_tuner.benchmarks.genai_bench import GenaiBench
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError, StoppedError
from optuna_tuner.other_programs import GENAI_BENCH
from optuna_tuner.testing import word_tokenizer
from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.values import Endpoint, Load, Measurement, Model, RequestSlo, Slot

pytestmark = [
    pytest.mark.genai_bench,
    pytest.mark.timeout(300),
    pytest.mark.skipif(GENAI_BENCH.executable().find(None) is None, reason=str(GENAI_BENCH.executable().missing(None))),
]
LONG_S = 120.0
Run = Callable[..., list[Measurement]]


def _benchmark(concurrency: tuple[int, ...] = (2,), requests: int = 8) -> GenaiBench:
    return GenaiBench(
        GenaiBenchOptions(scenario=("D(16,8)",), concurrency=concurrency, requests=requests, max_time_s=30)
    )


@pytest.fixture
def target(tmp_path: Path) -> Target:
    tokenizer = word_tokenizer.write(tmp_path / "tokenizer", prompts.WORDS)
    return Target(
        endpoint=Endpoint(url="http://127.0.0.1:9", model=MODEL),
        model=Model(name=MODEL, path=str(tokenizer), tokenizer=str(tokenizer)),
        folder=tmp_path / "trial",
        seed=1,
        slo=RequestSlo(ttft_ms=10_000),
        success_rate=0.99,
        slot=Slot(name="slot", host="here"),
    )


@pytest.fixture
def run(target: Target) -> Iterator[Run]:
    """Runs it against a fake server with the given arguments; afterwards nothing of it is left."""

    def measure(*server: str, path: str = "", within_s: float = LONG_S) -> list[Measurement]:
        with fake_server("--ttft-ms", "50", *server) as endpoint:
            here = replace(target, endpoint=Endpoint(url=endpoint.url + path, model=MODEL))
            return list(_benchmark().run(here, Deadline.after(within_s)))

    others = set(psutil.Process().children(recursive=True))
    yield measure
    assert set(psutil.Process().children(recursive=True)) <= others


def test_every_level_comes_as_soon_as_it_is_done_from_one_process(target: Target) -> None:
    with fake_server("--ttft-ms", "50") as endpoint:
        here = replace(target, endpoint=endpoint)
        measurements = _benchmark(concurrency=(1, 2)).run(here, Deadline.after(LONG_S))
        first = next(measurements)
        clients = {child.pid for child in psutil.Process().children(recursive=True)}
        second = next(measurements)
        assert {child.pid for child in psutil.Process().children(recursive=True)} <= clients
        measurements.close()  # type: ignore[attr-defined]
    assert [first.load.value, second.load.value] == [1, 2]
    assert first.metrics["goodput_share"] == 1.0


def test_its_plots_are_not_waited_for(target: Target, run: Run) -> None:
    (measurement,) = run()
    folder = (target.folder / measurement.report).parent
    assert list(folder.glob("*.xlsx")) == []


def test_a_base_url_with_v1_is_understood(run: Run) -> None:
    assert run(path="/v1")[0].metrics["error_rate"] == 0


def test_exit_code_0_with_half_the_requests_failed_is_degraded(run: Run) -> None:
    with pytest.raises(DegradedError, match="requests completed"):
        run("--misbehave", "http_500=0.5")


def test_connections_cut_in_mid_stream_are_degraded(run: Run) -> None:
    with pytest.raises(DegradedError, match="connection cut"):
        run("--misbehave", "cut=0.5")


def test_a_wrong_model_is_not_the_configurations_fault(run: Run) -> None:
    with pytest.raises(BenchmarkError, match="HTTP 404"):
        run("--misbehave", "wrong_model")


def test_a_server_that_dies_under_load_is_an_error(run: Run) -> None:
    with pytest.raises(DegradedError, match="onnection"):
        run("--misbehave", "exit_after=4")


def test_a_server_without_usage_is_counted_with_the_tokenizer(run: Run) -> None:
    (measurement,) = run("--misbehave", "no_usage")
    metrics = measurement.metrics
    tokens = metrics["output_throughput_tok_s"] * metrics["duration_s"] / metrics["completed_requests"]
    assert tokens == pytest.approx(8, abs=8)  # words it does not know count as unknown tokens
    assert tokens > 0


@pytest.mark.parametrize("kind", ["hang", "zero_tokens", "html"])
def test_a_hang_that_leaves_only_metadata_is_the_servers_fault_when_the_server_is_at_fault(run: Run, kind: str) -> None:
    with pytest.raises(DegradedError):
        run("--misbehave", kind, within_s=8.0)


def test_a_client_that_is_killed_is_the_machines_fault(target: Target) -> None:
    def kill_the_client() -> None:
        for child in psutil.Process().children(recursive=True):
            if any("experiment-base-dir" in word for word in child.cmdline()) and "client_guard" not in str(
                child.cmdline()
            ):
                child.kill()

    with fake_server("--ttft-ms", "2000") as endpoint:
        Timer(4.0, kill_the_client).start()
        with pytest.raises(BenchmarkError, match="ended with code 137 and no report"):
            list(_benchmark(requests=100).run(replace(target, endpoint=endpoint), Deadline.after(LONG_S)))


def test_a_tokenizer_from_the_hub_that_is_not_here_is_a_clear_error(target: Target) -> None:
    with fake_server() as endpoint:
        model = Model(name=MODEL, path="x", tokenizer="nobody/no-such-tokenizer")
        here = replace(target, endpoint=endpoint, model=model)
        with pytest.raises(BenchmarkError, match="nobody/no-such-tokenizer"):
            list(_benchmark().run(here, Deadline.after(LONG_S)))


def test_throughput_of_a_short_run_is_what_the_server_did(run: Run) -> None:
    """One request takes 50 + 7 x 20 ms: two users get 2 x 8 / 0.19 s = 84 tokens a second, less of a slow client."""
    (measurement,) = run("--itl-ms", "20")
    assert 0.4 * 84 <= measurement.metrics["output_throughput_tok_s"] <= 85


def test_the_stop_flag_ends_a_level_within_five_seconds(target: Target) -> None:
    stopped = Event()
    with fake_server("--misbehave", "hang") as endpoint:
        Timer(3.0, stopped.set).start()
        began = time.monotonic()
        with pytest.raises(StoppedError):
            list(_benchmark().run(replace(target, endpoint=endpoint), Deadline.after(LONG_S, stopped)))
        assert time.monotonic() - began < 3.0 + 5.0


def test_a_search_looks_with_the_built_in_client_and_reports_by_genai_bench(target: Target) -> None:
    search = {"search": "max", "low": 1, "high": 4}
    options = {"scenario": "D(16,8)", "concurrency": search, "requests": 8, "max_time_s": 30}
    benchmark = GenaiBench(GenaiBenchOptions.model_validate(options))
    load = Load(value=2, scenario="D(16,8)")
    with fake_server("--ttft-ms", "50") as endpoint:
        here = replace(target, endpoint=Endpoint(url=endpoint.url, model=MODEL))
        (probe,) = benchmark.probe(here, [load], Deadline.after(LONG_S))
        report = benchmark.report(here, load, Deadline.after(LONG_S))
    assert report is not None
    assert (probe.probe, report.probe) == (True, False)
    assert (probe.load, report.load) == (load, load)
    assert "itl_ms.p50" in probe.metrics
    assert "itl_ms.p50" not in report.metrics
    assert report.metrics["completed_requests"] >= 8
