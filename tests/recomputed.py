"""The figures of a report once more, from the lines of `requests.jsonl` alone: plain Python and numpy, nothing of ours.

What is shown is compared digit by digit. Rates may differ by the last bits of a timestamp, which is coarser than the
client's own clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np
import pytest

Line = Mapping[str, float]
Figures = Mapping[str, float]
TIMES = {"ttft_ms": "ttft_s", "tpot_ms": "tpot_s", "e2e_latency_ms": "latency_s"}
SHOWN = ("output_throughput_tok_s", "request_rate_req_s", "ttft_ms.p99", "tpot_ms.p99", "e2e_latency_ms.p99")
UNITS = ("tok/s", "req/s", "ms", "ms", "ms")
CLOCK = 1e-5  # relative; a timestamp is good to 0.24 µs
PERCENTS = (50, 90, 95, 99)


def figures_of(lines: Sequence[Line]) -> Figures:
    """Of one measurement of one load."""
    done = [line for line in lines if line["success"]]
    took = max(line["timestamp_end"] for line in lines) - min(line["timestamp_start"] for line in lines)
    found = {
        "output_throughput_tok_s": sum(line["output_tokens"] for line in done) / took,
        "request_rate_req_s": len(done) / took,
    }
    for name, field in TIMES.items():
        values = [1000 * line[field] for line in done]
        found[f"{name}.mean"] = fmean(values)
        found |= {f"{name}.p{each}": float(np.percentile(values, each)) for each in PERCENTS}
    return found


def by_load(lines: Sequence[Line]) -> Mapping[str, Sequence[Figures]]:
    """Of each load that had a request that completed, one measurement after the other."""
    apart: dict[tuple[object, object], list[Line]] = {}
    for line in lines:
        apart.setdefault((line["level"], line["measurement"]), []).append(line)
    found: dict[str, list[Figures]] = {}
    for (level, _), own in apart.items():
        found.setdefault(str(level), []).append(figures_of(own))
    return found


def mean(measurements: Sequence[Figures]) -> Figures:
    """Of each figure."""
    return {name: fmean(each[name] for each in measurements) for name in measurements[0]}


def demand_same(reported: Figures, mine: Figures) -> None:
    """Raise AssertionError where a figure that is in both is another."""
    for name in reported.keys() & mine.keys():
        tolerance = CLOCK if name.endswith("_s") else 1e-12
        assert reported[name] == pytest.approx(mine[name], rel=tolerance), name


def demand_found_again(report: Mapping[str, object], page: str, lines: Sequence[Line]) -> None:
    """Raise AssertionError unless curves, peaks, first page and printed digits follow from the lines."""
    loads, summary = by_load(lines), report["summary"]
    for curve in report["curves"]:  # type: ignore[attr-defined]  # JSON
        for row in curve["rows"]:
            own = loads[f"{curve['scenario']} concurrency={row['load']:g}"]
            assert row["times"] == len(own)
            assert row["metrics"].keys() >= set(SHOWN)
            demand_same(row["metrics"], mean(own))
            assert any(text in page for text in _cells(row["load"], mean(own))), _cells(row["load"], mean(own))
        of_curve = [mean(own) for level, own in loads.items() if level.startswith(f"{curve['scenario']} ")]
        peak = max(each["output_throughput_tok_s"] for each in of_curve)
        assert curve["peak"]["value"] == pytest.approx(peak, rel=CLOCK)
    scored = mean(loads[summary["level"]])  # type: ignore[index]  # JSON
    told = {each["name"]: each["value"] for each in summary["at_level"]}  # type: ignore[index]  # JSON
    demand_same(told, scored)
    assert told.keys() >= {"output_throughput_tok_s", "ttft_ms.p99"}
    speeds = [each["value"] for each in summary["efficiency"] if each["unit"] == "tok/s/user"]  # type: ignore[index]  # JSON
    assert speeds == pytest.approx([1000 / scored["tpot_ms.mean"]], rel=1e-12)


def _cells(load: float, mine: Figures) -> Sequence[str]:
    """A row of the table as it may be printed: four digits, whichever way the clock's last bits fall."""
    return [" | ".join([f"| {load:g}", *_digits(mine, 1 + shift)]) for shift in (0.0, CLOCK / 10, -CLOCK / 10)]


def _digits(mine: Figures, factor: float) -> Iterator[str]:
    for name, unit in zip(SHOWN, UNITS, strict=True):
        value = mine[name] * (factor if name.endswith("_s") else 1)
        yield f"{value:,.0f} {unit}" if abs(value) >= 1000 else f"{value:.4g} {unit}"
