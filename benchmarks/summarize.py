"""What it costs to summarise many requests, beside the bare parse of the same file by the same library.

    python benchmarks/summarize.py [--requests 1000000] [--times 10] [--libraries] [--folder /tmp]

Writes a file of requests as ours are (some 400 bytes each), and reads it so many times over, as if it were one, in a
process of its own for each row. Prints a Markdown table: CPU seconds, microseconds a line, and the most resident memory
of that process. "Bare" reads line by line and parses each into Python's own values, as a script would, and does nothing
with them. With `--libraries` the same of other parsers, of which orjson must be installed to be in the table.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import pydantic_core

from optuna_tuner.request_log import RequestLine
from optuna_tuner.results.bundle.lines import Reader
from optuna_tuner.results.bundle.summing import summary_of

SUMMARY = "optuna-tuner summarize"


def written(file: Path, requests: int) -> None:
    """A file of so many requests, ten million of which are not alike."""
    chance, encode = random.Random(1), msgspec.json.Encoder().encode  # noqa: S311  no secret
    with file.open("wb") as stream:
        for number in range(requests):
            start, first, tokens = 1.8e9 + number * 0.01, chance.lognormvariate(-2, 0.5), chance.randint(8, 256)
            latency = first + tokens * chance.uniform(0.01, 0.02)
            line = {
                "request_id": f"1a2b3c4d-1-{number}",
                "measurement": "1",
                "level": "D(128,128) concurrency=32",
                "scenario": "D(128,128)",
                "service_type": "vllm",
                "timestamp_start": start,
                "timestamp_end": start + latency,
                "send_delay_s": chance.random() / 1000,
                "latency_s": latency,
                "success": True,
                "http_status": 200,
                "ttft_s": first,
                "tpot_s": (latency - first) / (tokens - 1),
                "input_tokens": 131,
                "output_tokens": tokens,
            }
            if number == 0:
                RequestLine.model_validate(line)
            stream.write(encode(line) + b"\n")


class Again:
    """A file that is read so many times over."""

    def __init__(self, file: Path, times: int) -> None:
        self._file, self._left, self._stream = file, times, io.BytesIO()

    def read(self, size: int) -> bytes:
        """As a file does."""
        while not (data := self._stream.read(size)) and self._left:
            self._left -= 1
            self._stream = self._file.open("rb")  # type: ignore[assignment]
        return data


def summary(file: Path, times: int) -> None:
    """What is measured."""
    summary_of(Reader(cast("BinaryIO", Again(file, times)), str(file)))


def bare(parse: Callable[[bytes], object]) -> Callable[[Path, int], None]:
    """Parse each line, and forget it."""

    def run(file: Path, times: int) -> None:
        for _ in range(times):
            with file.open("rb") as stream:
                for line in stream:
                    parse(line)

    return run


def rows(*, libraries: bool) -> Iterator[tuple[str, Callable[[Path, int], None]]]:
    """Each row's name and work."""
    yield SUMMARY, summary
    yield "msgspec, bare", bare(msgspec.json.Decoder().decode)
    if libraries:
        if importlib.util.find_spec("orjson"):
            yield "orjson, bare", bare(importlib.import_module("orjson").loads)
        yield "pydantic_core, bare", bare(pydantic_core.from_json)
        yield "json, bare", bare(json.loads)


def measured(name: str, file: Path, times: int) -> tuple[float, float]:
    """CPU seconds and MiB of one row, in a process of its own."""
    argv = [sys.executable, __file__, "--row", name, "--file", str(file), "--times", str(times)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return float(said[0]), float(said[1])


def one_row(name: str, file: Path, times: int) -> None:
    """What the child does."""
    work, before = dict(rows(libraries=True))[name], time.process_time()
    work(file, times)
    print(time.process_time() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Write, read, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--libraries", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        one_row(asked.row, asked.file, asked.times)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        file, lines = Path(folder) / "requests.jsonl", asked.requests * asked.times
        written(file, asked.requests)
        print(f"{lines:,} requests, {asked.times * file.stat().st_size / 1e9:.2f} GB\n")
        print("| | CPU s | µs a line | most memory, MiB |\n| --- | --- | --- | --- |", flush=True)
        for name, _ in rows(libraries=asked.libraries):
            cpu_s, mib = measured(name, file, asked.times)
            print(f"| {name} | {cpu_s:.1f} | {1e6 * cpu_s / lines:.2f} | {mib:.0f} |", flush=True)


if __name__ == "__main__":
    main()
