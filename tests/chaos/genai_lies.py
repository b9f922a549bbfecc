"""Ways in which a report of genai-bench can lie. `books` makes its own sums fit, as a careful liar would."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from random import Random
from typing import Any

Report = dict[str, Any]  # genai-bench's own, whatever is in it
Lie = Callable[[Report, Random], object]  # what is dumped as JSON instead of the report; bytes as they are

FIGURES = ("ttft", "e2e_latency", "num_input_tokens", "num_output_tokens")
SUMMED = ("num_requests", "num_completed_requests", "mean_output_throughput_tokens_per_s", "run_duration")


def books(report: Report) -> Report:
    """The report with sums that are those of its requests."""
    sums, requests = report["aggregated_metrics"], report["individual_request_metrics"]
    done = [each for each in requests if each["error_code"] is None]
    sums |= {"num_requests": len(requests), "num_completed_requests": len(done)}
    tokens = sum(each["num_output_tokens"] for each in done)
    sums["mean_output_throughput_tokens_per_s"] = tokens / sums["run_duration"]
    for name in FIGURES if done else ():
        values = [each[name] for each in done]
        sums["stats"][name] |= {"min": min(values), "max": max(values), "mean": math.fsum(values) / len(values)}
    return report


def _requests(change: Callable[[Report, Random], Report], *, kept: bool = True) -> Lie:
    """Each request is changed, and the books are kept, or not."""

    def lie(report: Report, random: Random) -> Report:
        report["individual_request_metrics"] = [change(each, random) for each in report["individual_request_metrics"]]
        return books(report) if kept else report

    return lie


def _failed(request: Report) -> Report:
    return {**request, **dict.fromkeys(FIGURES), "error_code": 500, "error_message": "boom"}


def _half_failed(report: Report, _: Random) -> Report:
    requests = report["individual_request_metrics"]
    report["individual_request_metrics"] = [_failed(each) if place % 2 else each for place, each in enumerate(requests)]
    return books(report)


def _one(value: object) -> Lie:
    """One figure that the score stands on is something that no figure is."""

    def lie(report: Report, random: Random) -> Report:
        place = random.choice([*report["individual_request_metrics"], report["aggregated_metrics"]])
        names = FIGURES if "ttft" in place else ("run_duration", "num_requests", "num_completed_requests")
        place[random.choice(names)] = value
        return report

    return lie


def _another(report: Report, random: Random) -> Report:
    """One figure, of a request or of the sums, is another than was measured."""
    place = random.choice([*report["individual_request_metrics"], report["aggregated_metrics"]])
    name = random.choice(FIGURES if "ttft" in place else SUMMED)
    place[name] += 1 if isinstance(place[name], int) else place[name] * random.choice([-0.5, -0.01, 0.01, 0.5, 10.0])
    return report


def _without(report: Report, random: Random) -> Report:
    sums, one = report["aggregated_metrics"], random.choice(report["individual_request_metrics"])
    place, names = random.choice(
        [
            (report, ("aggregated_metrics", "individual_request_metrics")),
            (sums, ("scenario", "num_concurrency", *SUMMED, "stats")),
            (one, FIGURES),
        ]
    )
    del place[random.choice(names)]
    return report


def _cut(report: Report, random: Random) -> bytes:
    text = json.dumps(report)
    return text[: random.randrange(1, len(text) - 1)].encode()


def _twice(report: Report, random: Random) -> bytes:
    name = random.choice(FIGURES)
    return json.dumps(report).replace(f'"{name}": ', f'"{name}": {random.randint(1, 9)}, "{name}": ', 1).encode()


def _duration(factor: float) -> Lie:
    def lie(report: Report, _: Random) -> Report:
        report["aggregated_metrics"]["run_duration"] *= factor
        return books(report)

    return lie


def _sums(**changes: object) -> Lie:
    def lie(report: Report, _: Random) -> Report:
        report["aggregated_metrics"] |= changes
        return report

    return lie


def _listed(change: Callable[[list[Report], Random], list[Report]], *, kept: bool) -> Lie:
    """The list of requests is another."""

    def lie(report: Report, random: Random) -> Report:
        report["individual_request_metrics"] = change(report["individual_request_metrics"], random)
        return books(report) if kept else report

    return lie


def _seconds_for_milliseconds(report: Report, _: Random) -> Report:
    return {**report, "_time_unit": "ms"}


def _fewer(requests: list[Report], random: Random) -> list[Report]:
    return requests[: random.randint(1, 3)]


LIES: Mapping[str, Lie] = {
    "all failed": _requests(lambda each, _: _failed(each)),
    "half failed": _half_failed,
    "failed ones left out": _listed(lambda requests, random: random.sample(requests, len(requests) - 1), kept=False),
    "not a number": _one(float("nan")),
    "infinite": _one(float("inf")),
    "minus infinite": _one(float("-inf")),
    "negative": _one(-1),
    "huge": _one(1e308),
    "four hundred digits": _one(10**400),
    "a text": _one("12.5"),
    "a boolean": _one(True),  # noqa: FBT003  a value, no switch
    "null": _one(None),
    "a list": _one([1.0]),
    "a figure is missing": _without,
    "a figure comes twice": _twice,
    "cut off": _cut,
    "empty": lambda _report, _: b"",
    "no JSON": lambda _report, random: random.randbytes(200),
    "no object": lambda report, _: [report],
    "five thousand digits": lambda report, _: json.dumps(report).replace(": 4,", f": {'9' * 5000},", 1).encode(),
    "nested without end": lambda _report, _: b'{"aggregated_metrics": ' + b"[" * 100_000,
    "one figure is another": _another,
    "no tokens": _requests(lambda each, _: {**each, "num_output_tokens": 0}),
    "no time": _requests(lambda each, _: {**each, "ttft": 0.0, "e2e_latency": 0.0}),
    "fewer requests than asked for": _listed(_fewer, kept=True),
    "no request": _listed(lambda _requests, _: [], kept=False),
    "every request twice": _listed(lambda requests, _: requests * 2, kept=True),
    "first token after the end": _requests(lambda each, _: {**each, "ttft": each["e2e_latency"] * 2}),
    "longer than the level": _requests(lambda each, _: {**each, "e2e_latency": each["e2e_latency"] + 60}),
    "quicker than in the log": _requests(
        lambda each, _: {**each, "ttft": each["ttft"] / 2, "e2e_latency": each["e2e_latency"] / 2}
    ),
    "more tokens than asked for": _requests(lambda each, _: {**each, "num_output_tokens": 40}),
    "too short": _duration(0.1),
    "too long": _duration(1000.0),
    "throughput at odds with its tokens": _sums(mean_output_throughput_tokens_per_s=1e4),
    "another concurrency": _sums(num_concurrency=7),
    "another scenario": _sums(scenario="D(1,400)"),
    "seconds that are milliseconds": _seconds_for_milliseconds,
}


def lied(way: str, report: Report, random: Random) -> bytes:
    """The report's bytes in one way of lying; honest ones for a way that is none of these."""
    said = LIES[way](deepcopy(report), random) if way in LIES else report
    return said if isinstance(said, bytes) else json.dumps(said).encode()
