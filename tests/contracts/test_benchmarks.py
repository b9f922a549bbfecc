"""Every built-in benchmark keeps the promises that are asked of a stranger's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

import pytest

from optuna_tuner.benchmarks import prompts
from optuna_tuner.benchmarks.genai_bench import GenaiBench
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.benchmarks.guidellm import Guidellm, GuidellmOptions
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.benchmarks.script import Script, ScriptOptions
from optuna_tuner.benchmarks.vllm_bench import VllmBench, VllmBenchOptions
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.other_programs import GENAI_BENCH, GUIDELLM, VLLM, Executable
from optuna_tuner.testing import word_tokenizer
from optuna_tuner.testing.benchmark_cases import BenchmarkCases

ASK = """
import json, statistics, sys, time, urllib.request
url, model, seed = sys.argv[1:]
times, failed = [], 0
for number in range(12):
    body = {"model": model, "prompt": f"{seed} {number}", "max_tokens": 1}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode())
    began = time.perf_counter()
    try:
        urllib.request.urlopen(request).read()
        times.append(1000 * (time.perf_counter() - began))
    except urllib.error.HTTPError:
        failed += 1
print("a line for people")
print(json.dumps({"ttft_ms.p50": statistics.median(times), "error_rate": failed / 12}))
"""


class TestHttp(BenchmarkCases):
    def benchmark(self) -> Benchmark:
        return Http(HttpOptions(scenario=("D(32,8)",), concurrency=(2,), requests=12))


class TestHttpOpenLoop(BenchmarkCases):
    def benchmark(self) -> Benchmark:
        return Http(HttpOptions(scenario=("D(32,8)",), request_rate=(10.0,), requests=12))


class TestScript(BenchmarkCases):
    own_process: ClassVar[bool] = False

    def benchmark(self) -> Benchmark:
        command = (sys.executable, "-c", ASK, "{url}", "{model}", "{seed}")
        return Script(ScriptOptions(command=command, metrics=("ttft_ms.p50", "error_rate")))


def _demand(program: Executable) -> None:
    if missing := program.missing(None):
        pytest.skip(f"{missing}, or name it by {program.variable}")


@pytest.mark.genai_bench
@pytest.mark.timeout(300)
class TestGenaiBench(BenchmarkCases):
    patience_s: ClassVar[float] = 120.0

    @pytest.fixture(autouse=True)
    def _installed(self, target: Target) -> None:
        _demand(GENAI_BENCH.executable())
        assert target.model.tokenizer

    def benchmark(self) -> Benchmark:
        return GenaiBench(GenaiBenchOptions(scenario=("D(32,8)",), concurrency=(2,), requests=12, max_time_s=60))

    def tokenizer(self, folder: Path) -> Path:
        return word_tokenizer.write(folder, prompts.WORDS)


@pytest.mark.load_clients
@pytest.mark.timeout(900)
class TestGuidellm(BenchmarkCases):
    patience_s: ClassVar[float] = 400.0

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        _demand(GUIDELLM.executable())

    def benchmark(self) -> Benchmark:
        return Guidellm(GuidellmOptions(scenario=("D(32,8)",), concurrency=(2,), requests=12))

    def tokenizer(self, folder: Path) -> Path:
        return word_tokenizer.write(folder, prompts.WORDS)


@pytest.mark.load_clients
@pytest.mark.timeout(900)
class TestVllmBench(BenchmarkCases):
    patience_s: ClassVar[float] = 400.0

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        _demand(VLLM)

    def benchmark(self) -> Benchmark:
        return VllmBench(VllmBenchOptions(scenario=("D(32,8)",), concurrency=(2,), requests=12))

    def tokenizer(self, folder: Path) -> Path:
        return word_tokenizer.write(folder, prompts.WORDS)
