"""The load client of the chaos campaign:  python -I -S chaos_client.py --url URL --seed N

It warms the server up, sends a few requests, and prints its report: a score that follows from the server's parameters
and the seed alone. What it is about to print it first appends to the event file, so that anybody can tell later whether
a result was lost or changed.

Told to by a control file `lie.SERVER` (or `lie`), which is taken once and names the kind of lie, it reports what no
server can have done; that is noted as "lied", and must never become a score.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence

# python -I does not look beside the program
sys.path.append(os.path.dirname(__file__))  # noqa: PTH120  pathlib doubles the start-up

from chaos_events import note, take

PATIENCE_S = 4.0  # a server that is stopped answers no more
REQUESTS = 4
WARM_UP_S, MEASURE_S = "0.2", "0.8"
Report = dict[str, object]


def truth(x: int, y: float, seed: int) -> float:
    """What a server with these parameters scores in the run with this seed."""
    return zlib.crc32(f"{x} {y!r} {seed}".encode()) / 1000


def _with(**changes: object) -> Callable[[Report], str]:
    return lambda report: json.dumps({**report, **changes})


LIES: Mapping[str, Callable[[Report], str]] = {
    "not-a-number": _with(score=float("nan")),
    "infinite": _with(score=float("inf")),
    "minus-infinite": _with(score=float("-inf")),
    "negative": _with(score=-1.0),
    "huge": _with(score=1e308),
    "text": _with(score="12.5"),
    "boolean": _with(score=True),
    "nothing": _with(score=None),
    "missing": lambda report: json.dumps({name: value for name, value in report.items() if name != "score"}),
    "cut": lambda report: json.dumps(report)[:-4],
    "silent": lambda _: "",
    "a-list": lambda report: json.dumps([report]),
    "exit-code": json.dumps,
    "all-failed": _with(error_rate=1.0),
    "half-failed": _with(error_rate=0.5),
    "share-above-one": _with(goodput_share=1.5),
    "percentiles-fall": _with(**{"ttft_ms.p50": 90.0, "ttft_ms.p99": 10.0}),
    "sums": _with(input_throughput_tok_s=10.0, output_throughput_tok_s=10.0, total_throughput_tok_s=50.0),
}


def main(arguments: Sequence[str]) -> int:
    """Warm up, measure, report."""
    flags = {name.lstrip("-"): value for name, value in zip(arguments[::2], arguments[1::2], strict=True)}
    address = flags["url"].removeprefix("http://")
    seed = int(flags["seed"])
    note("client-start", seed=seed, url=flags["url"])
    try:
        props = json.loads(request(address, "GET /props"))
        server = str(props["server"])
        note("warm-up", seed=seed, server=server)
        load(address, 1, float(flags.get("warm-up-s", WARM_UP_S)))
        note("measure", seed=seed, server=server)
        load(address, REQUESTS, float(take("slow", server) or flags.get("measure-s", MEASURE_S)))
    except (OSError, ValueError) as error:
        note("client-failed", seed=seed, error=str(error))
        sys.stderr.write(f"chaos client: {error}\n")
        return 1
    score = truth(int(props["x"]), float(props["y"]), seed)
    return report({"score": score, "error_rate": 0.0}, seed, server)


def load(address: str, requests: int, seconds: float) -> None:
    """So many requests in so much time; the rest of it is slept away."""
    for _ in range(requests):
        end = time.monotonic() + seconds / requests
        if b"[DONE]" not in request(address, "POST /v1/completions"):
            raise ValueError("the stream was cut off")
        select.select([], [], [], max(0.0, end - time.monotonic()))  # time.sleep breaks under libfaketime


def request(address: str, what: str) -> bytes:
    """The body of the answer. Raises OSError, or ValueError when the status is not 200."""
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
        connection.sendall(f"{what} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n".encode())
        data = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise ValueError(f"answer to {what}: {head[:80]!r}")
    return body


def report(true: Report, seed: int, server: str) -> int:
    """Say what was measured, or a lie where one is ordered; returns the exit code."""
    kind = take("lie", server)
    if kind is None:
        note("report", seed=seed, server=server, **true)
        sys.stdout.write(json.dumps(true) + "\n")
        return 0
    note("lied", seed=seed, server=server, kind=kind)
    sys.stdout.write(LIES[kind](true) + "\n")
    return 1 if kind == "exit-code" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
