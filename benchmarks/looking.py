"""What one look at a server costs the load client's process.

    python benchmarks/looking.py --looks 100

A page of the size of vLLM's is served by a thread of this process; the CPU time of the looking thread alone is counted,
so that other work on the machine does not change it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from optuna_tuner.engines.server_metrics import read_page
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.tuning.sights import Page, Processes
from optuna_tuner.values import Endpoint

BUSY = Path(__file__).parents[1] / "tests" / "material" / "engines" / "vllm-metrics-busy.txt"
BUCKETS = 560  # lines of histograms on a page of vLLM 0.32.0


def page() -> str:
    """A real page's gauges and counters, and as many lines of histograms as it has."""
    more = (
        f'vllm:e2e_request_latency_seconds_bucket{{engine="0",le="{n}",model_name="tiny"}} {n}.0'
        for n in range(BUCKETS)
    )
    return BUSY.read_text(encoding="utf-8") + "\n".join(more) + "\n"


@contextmanager
def serving(text: bytes) -> Iterator[str]:
    """Answers every question with this."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def cpu_ms(what: str, do: Callable[[], object], times: int) -> None:
    """Print the median and the largest CPU time of so many calls, in milliseconds."""
    do()
    spent = []
    for _ in range(times):
        began = time.thread_time()
        do()
        spent.append(1000 * (time.thread_time() - began))
    print(f"| {what} | {statistics.median(spent):.2f} | {max(spent):.2f} |")


def _rested(processes: Processes) -> object:
    time.sleep(0.06)  # a look that follows at once has nothing to tell
    return processes.look()


def main() -> None:
    """Measure each part of a look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=300)
    times, text = parser.parse_args().looks, page()
    with serving(text.encode()) as url:
        setting = SimpleNamespace(parts=SimpleNamespace(engine=Vllm(VllmOptions())))
        server = SimpleNamespace(setting=setting, endpoint=Endpoint(url=url, model="tiny"))
        sight, processes = Page(server), Processes(os.getpid())  # type: ignore[arg-type]
        print("| part of a look | median ms of CPU | max |\n| --- | --- | --- |")
        cpu_ms("the page, asked and read", sight.look, times)
        cpu_ms("of that: the lines that count", lambda: read_page("vllm", text), times)
        cpu_ms(
            "for comparison: the whole page", lambda: list(text_string_to_metric_families(text)), max(1, times // 10)
        )
        cpu_ms("the processes", lambda: _rested(processes), min(times, 50))
        cpu_ms("every five seconds: all processes found anew", lambda: Processes(os.getpid()).look(), min(times, 50))
        sight.close()


if __name__ == "__main__":
    main()
