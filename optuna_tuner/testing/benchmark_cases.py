# ruff: noqa: S101, PLR2004  these are pytest cases: an assertion is the check, its number the promise
"""What every benchmark must keep, as tests: subclass it in your own test suite.

    class TestMyBenchmark(BenchmarkCases):
        def benchmark(self) -> Benchmark:
            return MyBenchmark(MyBenchmark.Options(...))   # one level, concurrency 2, 12 requests or more

The cases run it against the fake server, whose times are known.
"""

from __future__ import annotations

import json
import socket
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import ClassVar

import psutil
import pytest

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.errors import StoppedError, TrialError
from optuna_tuner.metrics import METRICS
from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.values import Cause, Endpoint, Measurement, Model, RequestSlo, Slot

TTFT_MS = 80.0
ITL_MS = 5.0


class BenchmarkCases(ABC):
    """Promises of a benchmark. Times are seconds."""

    patience_s: ClassVar[float] = 60.0  # one measurement takes less than this on a busy machine
    own_process: ClassVar[bool] = True  # it reports what goes over the wire; False for one that asks a script
    late_share: ClassVar[float] = 0.5  # how much longer than the server's own times its figures may be

    @abstractmethod
    def benchmark(self) -> Benchmark:
        """A benchmark with one load level of two requests in flight and at least twelve requests."""

    @pytest.fixture
    def target(self, tmp_path: Path) -> Target:
        """The target, without a server yet."""
        return Target(
            endpoint=Endpoint(url="http://127.0.0.1:9", model=MODEL),
            model=Model(name=MODEL, path=str(tmp_path), tokenizer=str(self.tokenizer(tmp_path / "tokenizer"))),
            folder=tmp_path / "trial",
            seed=1,
            slo=RequestSlo(),
            success_rate=0.99,
            slot=Slot(name="slot", host="here"),
        )

    def tokenizer(self, folder: Path) -> Path:
        """A tokenizer for benchmarks that want one; write it into the folder."""
        return folder

    def measure(self, target: Target, *server: str, within_s: float | None = None) -> list[Measurement]:
        """Run it against a fake server with these arguments."""
        with fake_server("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS), *server) as endpoint:
            deadline = Deadline.after(within_s or self.patience_s)
            return list(self.benchmark().run(replace(target, endpoint=endpoint), deadline))

    def test_the_declared_metrics_are_known_or_its_own_and_not_empty(self) -> None:
        """Names are either of the vocabulary, or have no unit that the vocabulary gives another name."""
        names = self.benchmark().metrics()
        assert names
        assert all(name in METRICS or name.replace(".", "_").isidentifier() for name in names)

    def test_it_delivers_exactly_what_it_declares_for_every_level(self, target: Target) -> None:
        """A misspelt goal must fail before the first trial, so the declaration must be true."""
        measurements = self.measure(target)
        benchmark = self.benchmark()
        assert [measurement.load for measurement in measurements] == list(benchmark.loads())
        assert all(benchmark.metrics() <= measurement.metrics.keys() for measurement in measurements)

    def test_its_figures_are_near_the_servers_own_times(self, target: Target) -> None:
        """Never below what the server did, and not far above; after a late first token the rest takes less."""
        (first, *_) = self.measure(target)
        for name, known, least in (("ttft_ms.p50", TTFT_MS, 0.97), ("tpot_ms.p50", ITL_MS, 0.97 - self.late_share)):
            if name in first.metrics:
                assert least * known <= first.metrics[name] <= known * (1 + self.late_share), name

    def test_its_raw_report_is_in_the_trials_folder(self, target: Target) -> None:
        """Where the measurement says."""
        (first, *_) = self.measure(target)
        assert (target.folder / first.report).exists()

    def test_half_the_requests_failing_is_the_servers_fault(self, target: Target) -> None:
        """Whatever the client's exit code."""
        with pytest.raises(TrialError) as caught:
            self.measure(target, "--misbehave", "http_500=0.5")
        assert caught.value.cause is Cause.DEGRADED

    def test_a_dead_server_is_an_error_and_no_hang(self, target: Target) -> None:
        """Nobody listens."""
        deadline = Deadline.after(self.patience_s)
        with pytest.raises(TrialError):
            list(self.benchmark().run(replace(target, endpoint=Endpoint(url=_nowhere(), model=MODEL)), deadline))
        assert not deadline.passed

    def test_a_hanging_server_ends_at_the_deadline(self, target: Target) -> None:
        """Not at a time limit of its own."""
        began = time.monotonic()
        with pytest.raises(TrialError):
            self.measure(target, "--misbehave", "hang", within_s=3.0)
        assert time.monotonic() - began < 3.0 + self.patience_s / 2

    def test_the_stop_flag_ends_it_within_five_seconds_and_leaves_no_process(self, target: Target) -> None:
        """Also in the middle of a level."""
        stopped = Event()
        with fake_server("--misbehave", "hang") as endpoint, ThreadPoolExecutor(1) as pool:
            before = _children()
            deadline = Deadline.after(self.patience_s, stopped)
            running = pool.submit(lambda: list(self.benchmark().run(replace(target, endpoint=endpoint), deadline)))
            poll(lambda: running.done() or None, Deadline.after(1.0))
            asked = time.monotonic()
            stopped.set()
            with pytest.raises(StoppedError):
                running.result(timeout=self.patience_s)
            assert time.monotonic() - asked < 5.0
            assert _children() <= before

    def test_closing_the_iterator_ends_the_client(self, target: Target) -> None:
        """A pruned trial measures no further level."""
        with fake_server() as endpoint:
            before = _children()
            measurements = self.benchmark().run(replace(target, endpoint=endpoint), Deadline.after(self.patience_s))
            next(measurements)
            measurements.close()  # type: ignore[attr-defined]
            assert _children() <= before

    def test_two_trials_never_send_the_same_prompt(self, target: Target) -> None:
        """Else a prefix cache would flatter the second one."""
        if not self.own_process:
            pytest.skip("its prompts are the command's own business")
        first, second = (self._prompts(replace(target, seed=seed, folder=target.folder / str(seed))) for seed in (1, 2))
        assert first
        assert {prompt[:40] for prompt in first}.isdisjoint(prompt[:40] for prompt in second)

    def test_nothing_is_missing_or_it_says_how_to_get_it(self) -> None:
        """In one line."""
        missing = self.benchmark().missing()
        assert missing is None or "\n" not in missing

    def _prompts(self, target: Target) -> list[str]:
        target.folder.mkdir(parents=True)
        record = target.folder / "prompts.jsonl"
        self.measure(target, "--record", str(record))
        return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}


def _nowhere() -> str:
    """An address where nobody listens: the port was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"
