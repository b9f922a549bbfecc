"""Load clients side by side: do they agree with each other, and with a server whose times are known.

    python benchmarks/clients.py --genai-bench PATH --guidellm PATH --vllm PATH

Prints two Markdown tables: every shared metric of the built-in client, genai-bench, guidellm and `vllm bench serve`
against one deterministic fake server; and the built-in client's own error and CPU at 1, 100 and 1,000 streams.
Exit code 3 when a metric differs by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from optuna_tuner.benchmarks import prompts, scenarios
from optuna_tuner.benchmarks.genai_bench import GenaiBench
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Target
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
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "NO_PROXY": "*", "VLLM_NO_USAGE_STATS": "1"}
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

    def call(self, *argv: str) -> None:
        """Run another tool to its end; its output goes to a file."""
        with (self.folder / "output.txt").open("wb") as output:
            env = {**os.environ, **OFFLINE, "VLLM_CACHE_ROOT": str(self.folder)}
            subprocess.run(argv, check=True, env=env, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT)


def http(bench: Bench, _program: str) -> Metrics:
    """The built-in client."""
    return bench.ours(Http(HttpOptions(scenario=(SCENARIO,), concurrency=(USERS,), requests=REQUESTS)))


def genai_bench(bench: Bench, program: str) -> Metrics:
    """genai-bench through our adapter."""
    options = GenaiBenchOptions(scenario=(SCENARIO,), concurrency=(USERS,), requests=REQUESTS, executable=program)
    return bench.ours(GenaiBench(options))


def guidellm(bench: Bench, program: str) -> Metrics:
    """Run guidellm 0.8; its inter-token latency is what the others call time per output token.

    Its own synthetic text is Latin, which a tokenizer of everyday words cannot count: it gets the prompts of ours.
    """
    texts = prompts.prompts(scenarios.parse(SCENARIO), prompts.Scale(), str(time.time_ns()))
    rows = ({"prompt": prompt.text, "output_tokens_count": TOKENS} for prompt in islice(texts, 2 * REQUESTS))
    (bench.folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bench.call(
        *(program, "run", "--backend", f"kind=openai_http,target={bench.endpoint.url},model={MODEL}"),
        *("--profile", f"kind=concurrent,streams={USERS}", "--constraint", f"kind=max_requests,count={REQUESTS}"),
        *("--tokenizer", f"kind=hf_auto,model={bench.tokenizer}", "--disable-console-interactive"),
        *("--data", f"kind=json_file,path={bench.folder / 'prompts.jsonl'}"),
        *("--output", "kind=json,path=out.json"),
    )
    said = json.loads((bench.folder / "out.json").read_text())["benchmarks"][0]["metrics"]

    def mean(name: str) -> float:
        return float(said[name]["successful"]["mean"])

    times = {"ttft_ms": ("time_to_first_token_ms", 1), "tpot_ms": ("inter_token_latency_ms", 1)}
    times["e2e_latency_ms"] = ("request_latency", 1000)
    found = dict(_spread({name: (said[key]["successful"], unit) for name, (key, unit) in times.items()}))
    return found | {
        "input_throughput_tok_s": mean("prompt_tokens_per_second"),
        "output_throughput_tok_s": mean("output_tokens_per_second"),
        "total_throughput_tok_s": mean("tokens_per_second"),
        "request_rate_req_s": mean("requests_per_second"),
    }


def _spread(times: Mapping[str, tuple[Mapping[str, object], float]]) -> Iterator[tuple[str, float]]:
    for name, (said, unit) in times.items():
        percentiles = said["percentiles"]
        assert isinstance(percentiles, dict)  # noqa: S101  another tool's report, read in the open
        yield f"{name}.mean", float(str(said["mean"])) * unit
        yield f"{name}.p50", float(percentiles["p50"]) * unit
        yield f"{name}.p99", float(percentiles["p99"]) * unit


def vllm(bench: Bench, program: str) -> Metrics:
    """`vllm bench serve`."""
    bench.call(
        *(program, "bench", "serve", "--backend", "openai-chat", "--base-url", bench.endpoint.url),
        *("--endpoint", "/v1/chat/completions", "--model", MODEL, "--tokenizer", str(bench.tokenizer)),
        *("--dataset-name", "random", "--random-input-len", str(TOKENS), "--random-output-len", str(TOKENS)),
        *("--num-prompts", str(REQUESTS), "--max-concurrency", str(USERS), "--ignore-eos", "--save-result"),
        *("--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,99"),
        *("--result-dir", str(bench.folder), "--result-filename", "out.json"),
    )
    said = json.loads((bench.folder / "out.json").read_text())
    names = {"ttft_ms": "ttft_ms", "tpot_ms": "tpot_ms", "e2e_latency_ms": "e2el_ms"}
    found = {
        f"{ours}.{s}": float(said[f"{s}_{theirs}"]) for ours, theirs in names.items() for s in ("mean", "p50", "p99")
    }
    seconds = float(said["duration"])
    return found | {
        "input_throughput_tok_s": said["total_input_tokens"] / seconds,
        "output_throughput_tok_s": float(said["output_throughput"]),
        "total_throughput_tok_s": float(said["total_token_throughput"]),
        "request_rate_req_s": float(said["request_throughput"]),
    }


TOOLS: Mapping[str, Callable[[Bench, str], Metrics]] = {
    "http": http,
    "genai-bench": genai_bench,
    "guidellm": guidellm,
    "vllm bench": vllm,
}


def agreement(programs: Mapping[str, str], folder: Path) -> bool:
    """Measure with each tool, print the table, and say whether all are within the tolerance of ours."""
    tokenizer = word_tokenizer.write(folder / "tokenizer", prompts.WORDS)
    found: dict[str, Metrics] = {}
    for name, program in programs.items():
        (folder / name).mkdir()
        with fake_server("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS)) as endpoint:
            bench = Bench(endpoint=endpoint, tokenizer=tokenizer, folder=folder / name)
            found[name] = TOOLS[name](bench, program)
    print(f"| metric | known | {' | '.join(found)} | widest |\n|---|{'---|' * (len(found) + 2)}")
    agreed = True
    for metric in SHARED:
        values = [metrics[metric] for metrics in found.values()]
        widest = max(values) / min(values) - 1
        agreed &= widest <= TOLERANCE
        cells = " | ".join(f"{value:.2f}" for value in values)
        print(f"| `{metric}` | {KNOWN.get(metric, '')} | {cells} | {widest:.1%} |")
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
    parser.add_argument("--genai-bench", help="path of genai-bench 0.0.5")
    parser.add_argument("--guidellm", help="path of guidellm 0.8")
    parser.add_argument("--vllm", help="path of vllm")
    args = parser.parse_args()
    named = {"http": "-", "genai-bench": args.genai_bench, "guidellm": args.guidellm, "vllm bench": args.vllm}
    with tempfile.TemporaryDirectory() as folder:
        agreed = agreement({name: program for name, program in named.items() if program}, Path(folder))
    head = ("streams", "TTFT error ms, mean / p99", "ITL error ms, mean / p99", "TPOT error ms")
    own = ("fake's own lateness ms, mean / max / share over 1 ms", "client's CPU")
    print(f"\n| {' | '.join(head + own)} |\n|{'---|' * len(head + own)}")
    for streams in (1, 100, 1000):
        errors(streams)
    return 0 if agreed else 3


if __name__ == "__main__":
    sys.exit(main())
