"""A load client that lies in turn:  python -I -S liar.py --url URL --model NAME --seed N --folder FOLDER --users 2

With `--turns FOLDER` it lies in every second run, in all ways in turn, or in those of `--ways A;B`; without, never.

It sends a few real requests and writes FOLDER/metrics.json. Its score follows from the seed alone. In the folder of
turns it takes the next number: even runs lie, each in its own way, odd runs are honest. What it would have said
honestly it always writes to TURNS/N.json, so that anybody can tell later what the truth was.

Standard library only, and nothing of the product.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from random import Random

REQUESTS, TOKENS = 8, 4
Report = dict[str, object]
Lie = Callable[[Report, Random], object]  # what is dumped as JSON instead of the report; bytes as they are
Place = Callable[[Path, bytes], None]  # puts the report where it is looked for, or does not


def truth(seed: int) -> float:
    """The honest score of the run with this seed."""
    return 1 + zlib.crc32(str(seed).encode()) / 1000


def measure(address: str, model: str, seed: int, users: int) -> Report:
    """So many users send requests one after another; returns the honest report."""
    began = time.monotonic()
    with ThreadPoolExecutor(users) as crowd:
        done = list(crowd.map(lambda number: _ask(address, model, f"{seed} {number}"), range(REQUESTS)))
    duration_s = time.monotonic() - began
    tokens_in, tokens_out = sum(each[2] for each in done), sum(each[3] for each in done)
    return {
        "score": truth(seed),
        **_spread("ttft_ms", [each[0] for each in done]),
        **_spread("e2e_latency_ms", [each[1] for each in done]),
        "input_throughput_tok_s": tokens_in / duration_s,
        "output_throughput_tok_s": tokens_out / duration_s,
        "total_throughput_tok_s": (tokens_in + tokens_out) / duration_s,
        "request_rate_req_s": len(done) / duration_s,
        "error_rate": 0.0,
        "completed_requests": len(done),
        "failed_requests": 0,
        "duration_s": duration_s,
    }


def _ask(address: str, model: str, prompt: str) -> tuple[float, float, int, int]:
    """Milliseconds to the first token and to the end, tokens in and out."""
    body = {"model": model, "prompt": prompt, "max_tokens": TOKENS, "stream": True}
    usage: dict[str, int] = {}
    began, first = time.monotonic(), 0.0
    connection = HTTPConnection(address, timeout=30)
    connection.request("POST", "/v1/completions", json.dumps(body | {"stream_options": {"include_usage": True}}))
    for line in connection.getresponse():
        if line.startswith(b"data: {"):
            first = first or time.monotonic()
            usage = json.loads(line[6:]).get("usage") or usage
    ended = time.monotonic()
    return 1000 * (first - began), 1000 * (ended - began), usage["prompt_tokens"], usage["completion_tokens"]


def _spread(name: str, values: Sequence[float]) -> Report:
    ordered = sorted(values)
    nearest = {f"{name}.p{p}": ordered[round((len(ordered) - 1) * p / 100)] for p in (50, 90, 99)}
    return {f"{name}.mean": sum(ordered) / len(ordered), **nearest}


# Ways to lie


def _number(report: Report, name: str) -> float:
    value = report[name]
    assert isinstance(value, int | float)
    return value


def _any(value: object) -> Lie:
    """Any one metric is something that no metric is."""
    return lambda report, random: {**report, random.choice(sorted(report)): value}


def _scaled(factor: float, *names: str) -> Lie:
    """These metrics, by the beginnings of their names, are so many times the truth."""
    return lambda report, _: {
        name: _number(report, name) * factor if name.startswith(names) else value for name, value in report.items()
    }


def _cut(report: Report, random: Random) -> bytes:
    text = json.dumps(report)
    return text[: random.randrange(1, len(text) - 1)].encode()


def _without(report: Report, random: Random) -> Report:
    gone = random.choice(sorted(report))
    return {name: value for name, value in report.items() if name != gone}


def _twice(report: Report, random: Random) -> bytes:
    name = random.choice(sorted(report))
    return json.dumps(report).replace("{", f'{{"{name}": {random.uniform(1, 2)}, ', 1).encode()


def _falling(report: Report, random: Random) -> Report:
    low, high = f"{(name := random.choice(['ttft_ms', 'e2e_latency_ms']))}.p50", f"{name}.p99"
    return {**report, low: _number(report, high) * 1.5, high: _number(report, low) * random.uniform(0.1, 0.9)}


RATES = ("input_throughput", "output_throughput", "total_throughput", "request_rate")
LIES: Mapping[str, Lie] = {
    "all failed": lambda report, _: {**report, "error_rate": 1.0, "completed_requests": 0, "failed_requests": 8},
    "half failed": lambda report, _: {**report, "error_rate": 0.5, "completed_requests": 4, "failed_requests": 4},
    "failed in silence": lambda report, random: {**report, "failed_requests": random.randint(1, 8)},
    "not a number": _any(float("nan")),
    "infinite": _any(float("inf")),
    "minus infinite": _any(float("-inf")),
    "negative": _any(-1.0),
    "huge": _any(1e308),
    "four hundred digits": _any(10**400),
    "five thousand digits": lambda report, _: json.dumps(report).replace(": ", f": {'9' * 5000}", 1).encode(),
    "a text": _any("12.5"),
    "a boolean": _any(True),  # noqa: FBT003  a value, no switch
    "null": _any(None),
    "a list": _any([1.0]),
    "a metric is missing": _without,
    "a metric comes twice": _twice,
    "cut off": _cut,
    "empty": lambda _report, _: b"",
    "no JSON": lambda _report, random: random.randbytes(200),
    "no object": lambda report, _: [report],
    "nested without end": lambda _report, _: b'{"score": ' + b"[" * 100_000,
    "no tokens": _scaled(0.0, "output_throughput", "total_throughput"),
    "no time": _scaled(0.0, "ttft_ms", "e2e_latency_ms"),
    "percentiles fall": _falling,
    "a mean below its percentiles": lambda report, _: {**report, "ttft_ms.mean": _number(report, "ttft_ms.p50") / 10},
    "first token after the end": _scaled(1000.0, "ttft_ms"),
    "longer than the level": lambda report, random: {
        **report,
        "e2e_latency_ms.p99": _number(report, "duration_s") * random.uniform(2e3, 1e6),
    },
    "too short": _scaled(0.1, "duration_s"),
    "too short, all rates with it": lambda report, random: _scaled(20.0, *RATES)(
        _as_report(_scaled(1 / 20, "duration_s")(report, random)), random
    ),
    "too long, all rates with it": lambda report, random: _scaled(1e-4, *RATES)(
        _as_report(_scaled(1e4, "duration_s")(report, random)), random
    ),
    "throughput at odds with its parts": _scaled(10.0, "output_throughput"),
    "rate at odds with the duration": _scaled(3.0, "request_rate"),
    "fewer tokens than requests": _scaled(0.01, "input_throughput", "output_throughput", "total_throughput"),
    "half a request": lambda report, _: {**report, "completed_requests": 7.5, "failed_requests": 0.5},
    "a share above one": lambda report, random: {**report, "goodput_share": random.uniform(1.01, 100)},
    "more good requests than requests": lambda report, _: {
        **report,
        "goodput_req_s": 2 * _number(report, "request_rate_req_s"),
    },
}


def _as_report(said: object) -> Report:
    assert isinstance(said, dict)
    return said


def _linked(path: Path, data: bytes) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(data)
    path.symlink_to(elsewhere)


def _earlier(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.utime(path, (time.time() - 60, time.time() - 60))


def _gigabytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.truncate(path, 4 * 1024**3)  # a hole: nothing of it is on the disk


PLACES: Mapping[str, Place] = {
    "no file": lambda _path, _: None,
    "a link": _linked,
    "a file of an earlier attempt": _earlier,
    "a file of gigabytes": _gigabytes,
    "a pipe that nobody writes to": lambda path, _: os.mkfifo(path),
    "a folder": lambda path, _: path.mkdir(),
}
EXIT_CODE = "exit code 1"
WAYS = (*LIES, *PLACES, EXIT_CODE)


def place(way: str, report: Report, path: Path, random: Random) -> int:
    """Put the report there, in one way of lying, or honestly where the way is ""; returns the exit code."""
    said = LIES[way](report, random) if way in LIES else report
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    PLACES.get(way, Path.write_bytes)(path, data)
    return int(way == EXIT_CODE)


def take_turn(turns: Path) -> int:
    """The number of this run: whoever makes the file has it."""
    for number in range(100_000):
        try:
            (turns / f"turn-{number}").open("x").close()
        except FileExistsError:
            continue
        return number
    raise RuntimeError("too many turns")


def main(arguments: Sequence[str]) -> int:
    """Measure, then tell the truth or not."""
    flags = {name.lstrip("-"): value for name, value in zip(arguments[::2], arguments[1::2], strict=True)}
    seed, path = int(flags["seed"]), Path(flags["folder"]) / "metrics.json"
    report = measure(flags["url"].removeprefix("http://"), flags["model"], seed, round(float(flags["users"])))
    if "turns" not in flags:
        return place("", report, path, Random(seed))  # noqa: S311  no secret
    number = take_turn(Path(flags["turns"]))
    (Path(flags["turns"]) / f"{number}.json").write_text(json.dumps(report), encoding="utf-8")
    ways = flags["ways"].split(";") if "ways" in flags else WAYS
    way = ways[number // 2 % len(ways)] if number % 2 == 0 else ""
    return place(way, report, path, Random(seed))  # noqa: S311  no secret


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
