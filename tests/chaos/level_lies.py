"""Ways in which the report of a client that measures one level a process can lie.

A `Book` knows where the figures of its client stand, and makes the client's own sums fit, as a careful liar would.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any, ClassVar

Report = dict[str, Any]  # the client's own, whatever is in it
Place = tuple[Any, Any]  # a dict and a key of it, or a list and an index: where one figure stands
Lie = Callable[[Report, Random], object]  # what is dumped as JSON instead of the report; bytes as they are


class Book(ABC):
    """One client's reports."""

    twice: ClassVar[str]  # a key that the score stands on

    @abstractmethod
    def figures(self, report: Report) -> Sequence[Place]:
        """Every figure that the score, or the report's plausibility, stands on."""

    @abstractmethod
    def only(self, report: Report, places: Sequence[int]) -> Report:
        """The same with these requests."""

    @abstractmethod
    def failed(self, report: Report, places: Sequence[int]) -> Report:
        """The same with these requests failed."""

    @abstractmethod
    def timed(self, report: Report, change: Callable[[float, float], tuple[float, float]]) -> Report:
        """The same with other seconds to the first token and to the end in each request."""

    @abstractmethod
    def counted(self, report: Report, tokens: int) -> Report:
        """The same with so many output tokens in each request."""

    @abstractmethod
    def elsewhere(self, report: Report) -> Report:
        """A report of another load."""

    @abstractmethod
    def kept(self, report: Report) -> Report:
        """The report with sums that are those of its requests."""

    @abstractmethod
    def count(self, report: Report) -> int:
        """Of its requests."""

    def lies(self) -> Mapping[str, Lie]:
        """By name."""
        return {
            "all failed": lambda report, _: self.kept(self.failed(report, range(self.count(report)))),
            "half failed": lambda report, _: self.kept(self.failed(report, range(0, self.count(report), 2))),
            "failed ones left out": lambda report, random: self.only(
                report, sorted(random.sample(range(self.count(report)), self.count(report) - 1))
            ),
            "not a number": self._one(math.nan),
            "infinite": self._one(math.inf),
            "minus infinite": self._one(-math.inf),
            "negative": self._one(-1),
            "huge": self._one(1e308),
            "four hundred digits": self._one(10**400),
            "a text": self._one("12.5"),
            "a boolean": self._one(True),  # noqa: FBT003  a value, no switch
            "null": self._one(None),
            "a list": self._one([1.0]),
            "a figure is missing": self._without,
            "a figure comes twice": self._twice,
            "cut off": lambda report, random: (text := json.dumps(report).encode())[
                : random.randrange(1, len(text) - 1)
            ],
            "empty": lambda _report, _: b"",
            "no JSON": lambda _report, random: random.randbytes(200),
            "no object": lambda report, _: [report],
            "five thousand digits": lambda report, _: (
                json.dumps(report).replace(f'"{self.twice}": ', f'"{self.twice}": {"9" * 5000}', 1).encode()
            ),
            "nested without end": lambda _report, _: b'{"benchmarks": ' + b"[" * 100_000,
            "one figure is another": self._another,
            "no tokens": lambda report, _: self.kept(self.counted(report, 0)),
            "more tokens than asked for": lambda report, _: self.kept(self.counted(report, 40)),
            "no time": lambda report, _: self.kept(self.timed(report, lambda *_: (0.0, 0.0))),
            "first token after the end": lambda report, _: self.kept(self.timed(report, lambda _, end: (2 * end, end))),
            "longer than the level": lambda report, _: self.kept(
                self.timed(report, lambda first, end: (first, end + 60))
            ),
            "fewer requests than asked for": lambda report, random: self.kept(
                self.only(report, range(random.randint(1, 5)))
            ),
            "no request": lambda report, _: self.only(report, ()),
            "every request twice": lambda report, _: self.kept(self.only(report, [*range(self.count(report))] * 2)),
            "another load": lambda report, _: self.elsewhere(report),
        }

    def lied(self, way: str, report: Report, random: Random) -> bytes:
        """The report's bytes in one way of lying; honest ones for a way that is none of these."""
        found = self.lies()
        said = found[way](deepcopy(report), random) if way in found else report
        return said if isinstance(said, bytes) else json.dumps(said).encode()

    def _one(self, value: object) -> Lie:
        def lie(report: Report, random: Random) -> Report:
            holder, key = random.choice(self.figures(report))
            holder[key] = value
            return report

        return lie

    def _another(self, report: Report, random: Random) -> Report:
        holder, key = random.choice(self.figures(report))
        true = holder[key]
        holder[key] += 1 if isinstance(true, int) else true * random.choice([-0.5, -0.01, 0.01, 0.5, 10.0])
        return report

    def _without(self, report: Report, random: Random) -> Report:
        holder, key = random.choice(self.figures(report))
        del holder[key]
        return report

    def _twice(self, report: Report, random: Random) -> bytes:
        name = f'"{self.twice}": '
        return json.dumps(report).replace(name, f"{name}{random.randint(1, 9)}, {name}", 1).encode()


class VllmBook(Book):
    """Of `vllm bench serve`: a list for each figure."""

    twice = "duration"
    lists = ("input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times", "errors")
    each = ("input_lens", "output_lens", "ttfts", "latencies", "start_times")
    sums = (
        *("duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "output_throughput"),
        *("mean_ttft_ms", "mean_itl_ms", "mean_e2el_ms"),
    )

    def figures(self, report: Report) -> Sequence[Place]:
        lists: list[Place] = [(report[name], place) for name in self.each for place in range(self.count(report))]
        gaps: list[Place] = [(gaps, place) for gaps in report["itls"] for place in range(len(gaps))]
        return [*((report, name) for name in self.sums), *lists, *gaps]

    def only(self, report: Report, places: Sequence[int]) -> Report:
        return {**report, **{name: [report[name][place] for place in places] for name in self.lists}}

    def failed(self, report: Report, places: Sequence[int]) -> Report:
        for place in places:
            report["errors"][place] = "Internal Server Error"
            report["output_lens"][place], report["ttfts"][place], report["latencies"][place] = 0, 0.0, 0.0
            report["itls"][place] = []
        return report

    def timed(self, report: Report, change: Callable[[float, float], tuple[float, float]]) -> Report:
        pairs = [change(*pair) for pair in zip(report["ttfts"], report["latencies"], strict=True)]
        return {**report, "ttfts": [first for first, _ in pairs], "latencies": [end for _, end in pairs]}

    def counted(self, report: Report, tokens: int) -> Report:
        return {**report, "output_lens": [tokens for _ in report["output_lens"]]}

    def elsewhere(self, report: Report) -> Report:
        return {**report, "max_concurrency": 7}

    def count(self, report: Report) -> int:
        return len(report["errors"])

    def kept(self, report: Report) -> Report:
        done = [place for place, error in enumerate(report["errors"]) if not error]
        gaps = [gap for place in done for gap in report["itls"][place]]

        def mean(values: Sequence[float]) -> float:
            return 1000 * math.fsum(values) / len(values) if values else 0.0

        return report | {
            "completed": len(done),
            "failed": self.count(report) - len(done),
            "total_input_tokens": sum(report["input_lens"][place] for place in done),
            "total_output_tokens": sum(report["output_lens"]),
            "output_throughput": sum(report["output_lens"]) / report["duration"],
            "mean_ttft_ms": mean([report["ttfts"][place] for place in done]),
            "mean_e2el_ms": mean([report["latencies"][place] for place in done]),
            "mean_itl_ms": mean(gaps),
        }


class GuidellmBook(Book):
    """Of guidellm: a record for each request."""

    twice = "request_latency"
    times = ("request_start", "first_token_iteration", "request_end")
    each = ("request_latency", "time_to_first_token_ms", "prompt_tokens", "output_tokens")
    sums = ("request_latency", "time_to_first_token_ms", "prompt_token_count", "output_token_count")

    def figures(self, report: Report) -> Sequence[Place]:
        done, metrics = self._done(report), report["benchmarks"][0]["metrics"]
        return [
            *((one["info"]["timings"], name) for one in done for name in self.times),
            *((one, name) for one in done for name in self.each),
            *((metrics[name]["successful"], sum_) for name in self.sums for sum_ in ("count", "mean", "min", "max")),
            *((metrics["request_totals"], name) for name in ("successful", "errored")),
        ]

    def only(self, report: Report, places: Sequence[int]) -> Report:
        done = self._done(report)
        report["benchmarks"][0]["requests"]["successful"] = [deepcopy(done[place]) for place in places]
        return report

    def failed(self, report: Report, places: Sequence[int]) -> Report:
        requests, done = report["benchmarks"][0]["requests"], self._done(report)
        for place in places:
            done[place]["info"] |= {"status": "errored", "error": "Server error '500 Internal Server Error'"}
        requests["errored"] = [done[place] for place in places]
        requests["successful"] = [one for place, one in enumerate(done) if place not in places]
        return report

    def timed(self, report: Report, change: Callable[[float, float], tuple[float, float]]) -> Report:
        for one in self._done(report):
            times = one["info"]["timings"]
            start = times["request_start"]
            first, end = change(times["first_token_iteration"] - start, times["request_end"] - start)
            times["first_token_iteration"], times["request_end"] = start + first, start + end
            one["request_latency"] = times["request_end"] - start
            one["time_to_first_token_ms"] = 1000 * (times["first_token_iteration"] - start)
        return report

    def counted(self, report: Report, tokens: int) -> Report:
        for one in self._done(report):
            one["output_tokens"] = tokens
        return report

    def elsewhere(self, report: Report) -> Report:
        report["benchmarks"][0]["config"]["strategy"]["streams"] = 7
        return report

    def count(self, report: Report) -> int:
        return len(self._done(report))

    def kept(self, report: Report) -> Report:
        metrics, requests = report["benchmarks"][0]["metrics"], report["benchmarks"][0]["requests"]
        metrics["request_totals"] |= {name: len(requests[name]) for name in ("successful", "errored")}
        for name, key in zip(self.sums, self.each, strict=True):
            values = [one[key] for one in requests["successful"]] or [0.0]
            spread = {"mean": math.fsum(values) / len(values), "min": min(values), "max": max(values)}
            metrics[name]["successful"] |= {"count": len(requests["successful"]), **spread}
        return report

    @staticmethod
    def _done(report: Report) -> list[Report]:
        found: list[Report] = report["benchmarks"][0]["requests"]["successful"]
        return found
