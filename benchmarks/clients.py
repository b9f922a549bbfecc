"""Load clients side by side: do they agree with each other, and with a server whose times are known.

    python benchmarks/clients.py --vllm PATH

Prints two Markdown tables: every shared metric of the built-in client, genai-bench, guidellm and `vllm bench serve`,
each as a study runs it, against one deterministic fake server, and the CPU time of the client and this process; and the
built-in client's own error and CPU at 1, 100 and 1,000 streams.
Exit code 3 when a metric differs by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from optuna_tuner.benchmarks import prompts
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Target
from optuna_tuner.other_programs import GENAI_BENCH, GUIDELLM, VLLM
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.spec.study import Part
from optuna_tuner.testing import word_tokenizer
from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.values import Endpoint, Metrics, Model, RequestSlo, Slot

TTFT_MS, ITL_MS, TOKENS, USERS, REQUESTS = 200, 10, 64, 4, 128
SCENARIO = f"D({TOKENS},{TOKENS})"
KNOWN = {"ttft_ms.mean": TTFT_MS, "tpot_ms.mean": ITL_MS, "e2e_latency_ms.mean": TTFT_MS + (TOKENS - 1) * ITL_MS}
SHARED = (
    *(
        f"{name}.{statistic}"
        for name in ("ttft_ms", "tpot_ms", "e2e_latency_ms")
        for statistic in ("mean", "p50", "p99")
    ),
    "input_throughput_tok_s",
    "output_throughput_tok_s",
    "total_throughput_tok_s",
    "request_rate_req_s",
)
TOLERANCE = 0.05
PROGRAMS = {"genai-bench": GENAI_BENCH.executable(), "guidellm": GUIDELLM.executable(), "vllm": VLLM}
STREAMS_TTFT_MS, STREAMS_ITL_MS, STREAMS_TOKENS = 500, 50, 64


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One server, one folder."""

    endpoint: Endpoint
    tokenizer: Path
    folder: Path

    def target(self) -> Target:
        """As the package's own benchmarks want it."""
        return Target(
            endpoint=self.endpoint,
            model=Model(name=MODEL, path=str(self.tokenizer), tokenizer=str(self.tokenizer)),
            folder=self.folder,
            seed=time.time_ns(),
            slo=RequestSlo(),
            success_rate=1.0,
            slot=Slot(name="slot", host="here"),
        )

    def ours(self, benchmark: Benchmark) -> Metrics:
        """One level by one of our benchmarks."""
        (measurement,) = benchmark.run(self.target(), Deadline.after(600))
        return measurement.metrics


def benchmark(kind: str, program: str, requests: int) -> Benchmark:
    """The load client of this kind, as a study would have it; `http` has no program."""
    options = {"scenario": SCENARIO, "concurrency": USERS, "requests": requests}
    named = {"executable": program} if program else {}
    part = Part.model_validate({"kind": kind, **options, **named})
    return cast("Benchmark", make(InstalledKinds(), "benchmarks", part))


def agreement(programs: Mapping[str, str], requests: int, folder: Path) -> bool:
    """Measure with each client, print the table, and say whether all are within the tolerance of each other."""
    tokenizer = word_tokenizer.write(folder / "tokenizer", prompts.WORDS)
    found: dict[str, Metrics] = {}
    cost: dict[str, float] = {}
    for kind, program in programs.items():
        (folder / kind).mkdir()
        with fake_server("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS)) as endpoint:
            bench = Bench(endpoint=endpoint, tokenizer=tokenizer, folder=folder / kind)
            began = os.times()
            found[kind] = bench.ours(benchmark(kind, program, requests))
            ended = os.times()
        cost[kind] = sum(ended[:4]) - sum(began[:4])
    print(f"| metric | known | {' | '.join(found)} | widest |\n|---|{'---|' * (len(found) + 2)}")
    agreed = True
    for metric in SHARED:
        values = [metrics[metric] for metrics in found.values()]
        widest = max(values) / min(values) - 1
        agreed &= widest <= TOLERANCE
        cells = " | ".join(f"{value:.2f}" for value in values)
        print(f"| `{metric}` | {KNOWN.get(metric, '')} | {cells} | {widest:.1%} |")
    print(f"| CPU seconds |  | {' | '.join(f'{cost[kind]:.0f}' for kind in found)} |  |")
    print(f"\n{requests} requests, {datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f}", flush=True)
    return agreed


def errors(streams: int) -> None:
    """One row: the built-in client's error against the server's known times, and what it costs."""
    arguments = ("--ttft-ms", str(STREAMS_TTFT_MS), "--itl-ms", str(STREAMS_ITL_MS))
    options = HttpOptions(scenario=(f"D(16,{STREAMS_TOKENS})",), concurrency=(streams,), requests=max(4, 2 * streams))
    with fake_server(*arguments) as endpoint, tempfile.TemporaryDirectory() as folder:
        bench = Bench(endpoint=endpoint, tokenizer=Path(folder), folder=Path(folder))
        cpu = time.process_time()
        metrics = bench.ours(Http(options))
        cpu = time.process_time() - cpu
        with urllib.request.urlopen(f"{endpoint.url}/stats") as reply:  # noqa: S310  the fake on loopback
            late = json.load(reply)
    tokens = metrics["output_throughput_tok_s"] * metrics["duration_s"]
    cells = (
        f"{metrics['ttft_ms.mean'] - STREAMS_TTFT_MS:+.2f} / {metrics['ttft_ms.p99'] - STREAMS_TTFT_MS:+.2f}",
        f"{metrics['itl_ms.mean'] - STREAMS_ITL_MS:+.3f} / {metrics['itl_ms.p99'] - STREAMS_ITL_MS:+.2f}",
        f"{metrics['tpot_ms.mean'] - STREAMS_ITL_MS:+.3f}",
        f"{late['late_ms_mean']:.2f} / {late['late_ms_max']:.1f} / {late['late_over_1_ms'] / late['tokens']:.2%}",
        f"{cpu / metrics['duration_s']:.0%}, {1e6 * cpu / tokens:.0f} µs a token",
    )
    print(f"| {streams} | {' | '.join(cells)} |")


def main() -> int:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, program in PROGRAMS.items():
        found = program.find(None)
        parser.add_argument(
            f"--{name}", default=found, help=f"path of {program.called}; default: {found or 'left out'}"
        )
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each client")
    parser.add_argument("--only-agreement", action="store_true", help="leave the built-in client's own errors out")
    args = parser.parse_args()
    named = {"genai_bench": args.genai_bench, "guidellm": args.guidellm, "vllm_bench": args.vllm}
    programs = {"http": "", **{kind: str(program) for kind, program in named.items() if program}}
    with tempfile.TemporaryDirectory() as folder:
        agreed = agreement(programs, args.requests, Path(folder))
    if not args.only_agreement:
        own_errors()
    return 0 if agreed else 3


def own_errors() -> None:
    """The second table."""
    head = ("streams", "TTFT error ms, mean / p99", "ITL error ms, mean / p99", "TPOT error ms")
    own = ("fake's own lateness ms, mean / max / share over 1 ms", "client's CPU")
    print(f"\n| {' | '.join(head + own)} |\n|{'---|' * len(head + own)}")
    for streams in (1, 100, 1000):
        errors(streams)


if __name__ == "__main__":
    sys.exit(main())
