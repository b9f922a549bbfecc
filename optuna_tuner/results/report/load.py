"""How one server took the load: what it sustains within the SLO, where it bends, and its peak."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optuna_tuner.metrics import unit
from optuna_tuner.results.report.document import Curve, Figure, LoadRow
from optuna_tuner.results.report.knee import Shape, knee
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.wording import measured, number
from optuna_tuner.search.attained import probes_of, reported, slo_of
from optuna_tuner.search.load import Step, steps_of
from optuna_tuner.spec.goals import Goals
from optuna_tuner.values import LoadKind, Measurement

THROUGHPUTS = ("output_throughput_tok_s", "total_throughput_tok_s", "request_rate_req_s")
TAILS = ("ttft_ms.p99", "tpot_ms.p99", "e2e_latency_ms.p99")


def curve_of(trial: TrialView, goals: Goals, *, is_best: bool) -> Curve | None:
    """What one trial gave against the load, in the scenario in which it was scored; None where it was not measured."""
    return _curve(trial, _one_scenario(trial), goals, is_best=is_best)


def curves_of(trial: TrialView, goals: Goals, *, is_best: bool) -> tuple[Curve, ...]:
    """The same for each scenario, in the order in which they were measured."""
    levels = reported(trial.measurements)
    axes = dict.fromkeys((each.load.kind, each.load.scenario) for each in levels)
    apart = ([each for each in levels if (each.load.kind, each.load.scenario) == axis] for axis in axes)
    made = (_curve(trial, each, goals, is_best=is_best) for each in apart)
    return tuple(curve for curve in made if curve)


def _curve(trial: TrialView, levels: Sequence[Measurement], goals: Goals, *, is_best: bool) -> Curve | None:
    if trial.number is None or not levels:
        return None
    steps = steps_of(probes_of(goals, levels)) if slo_of(goals) else ()
    rows = _rows(levels, {step.load: step.excess <= 0 for step in steps})
    kept, broken = _bounds(steps)
    peak = max(
        (
            (row.metrics[name], name, row.load)
            for name in throughput_of(rows)[:1]
            for row in rows
            if name in row.metrics
        ),
        default=None,
    )
    found = Curve(
        trial=trial.number,
        role="best" if is_best else "default",
        scenario=levels[0].load.scenario,
        unit="requests in flight" if levels[0].load.kind is LoadKind.CONCURRENCY else "requests a second",
        rows=rows,
        sustained=kept,
        broken_at=broken,
        knee=_bend(rows, throughput_of(rows), Shape.FLATTENS),
        latency_knee=_bend(rows, tail_of(rows, goals), Shape.STEEPENS),
        peak=None if peak is None else Figure(name=peak[1], value=peak[0], unit=unit(peak[1])),
        peak_load=None if peak is None else peak[2],
        text="",
    )
    return found.model_copy(update={"text": " ".join((sustained_text(found, goals), *doubts(found), knee_text(found)))})


def _one_scenario(trial: TrialView) -> Sequence[Measurement]:
    """The levels that belong on one axis with the one that was scored."""
    levels = reported(trial.measurements)
    scored = next((each for each in levels if str(each.load) == trial.level), levels[0] if levels else None)
    return [
        each
        for each in levels
        if scored and (each.load.kind, each.load.scenario) == (scored.load.kind, scored.load.scenario)
    ]


def _rows(levels: Sequence[Measurement], kept: dict[float, bool]) -> tuple[LoadRow, ...]:
    rows = []
    for load in sorted({each.load.value for each in levels}):
        metrics = [each.metrics for each in levels if each.load.value == load]
        shared = [name for name in metrics[0] if all(name in each for each in metrics)]
        means = {name: sum(each[name] for each in metrics) / len(metrics) for name in shared}
        rows.append(LoadRow(load=load, times=len(metrics), keeps_slo=kept.get(load), metrics=means))
    return tuple(rows)


def _bounds(steps: Sequence[Step]) -> tuple[float | None, float | None]:
    """The highest load that is kept, and the next one, which is not."""
    kept = max((step.load for step in steps if step.kept), default=None)
    missed = (step.load for step in steps if not step.kept and (kept is None or step.load > kept))
    return kept, min(missed, default=None)


def throughput_of(rows: Sequence[LoadRow]) -> Sequence[str]:
    """The throughputs that were measured, what counts most first."""
    return [name for name in THROUGHPUTS if any(name in row.metrics for row in rows)]


def tail_of(rows: Sequence[LoadRow], goals: Goals) -> Sequence[str]:
    """The tail latencies that were measured: first those that the SLO bounds."""
    bounded = [each.metric for each in goals.constraints if each.at_most is not None and unit(each.metric) == "ms"]
    return [name for name in dict.fromkeys([*bounded, *TAILS]) if any(name in row.metrics for row in rows)]


def _bend(rows: Sequence[LoadRow], names: Sequence[str], shape: Shape) -> float | None:
    points = [(row.load, row.metrics[name]) for name in names[:1] for row in rows if name in row.metrics]
    return knee([load for load, _ in points], [value for _, value in points], shape)


def sustained_text(curve: Curve, goals: Goals) -> str:
    """The most load within the SLO, in words."""
    if not slo_of(goals):
        return "The goals have no SLO, so no load is too much."
    promise = " and ".join(each.name for each in slo_of(goals))
    if curve.sustained is None:
        return f"No load that was measured keeps {promise}."
    if curve.broken_at is None:
        return (
            f"At least {said(curve.sustained, curve)} keep {promise}: the highest load that was measured, "
            "so the limit may lie above it."
        )
    return f"{said(curve.sustained, curve)} keep {promise}; {number(curve.broken_at)} did not."


def doubts(curve: Curve) -> Iterator[str]:
    """Loads below the limit that broke the SLO though a higher one kept it."""
    lower = [row.load for row in curve.rows if row.keeps_slo is False and row.load < (curve.sustained or 0)]
    if lower:
        yield (
            f"But {' and '.join(map(number, lower))} broke it, though more load did not: "
            "that is taken for noise, and is worth another run."
        )


def knee_text(curve: Curve) -> str:
    """Where to operate, in words."""
    if len(curve.rows) < 3:  # noqa: PLR2004  the fewest points that can bend
        loads = "One load was" if len(curve.rows) == 1 else "Two loads were"
        return f"{loads} measured: too few to see a knee."
    if curve.knee is None:
        return "No knee seen: throughput does not bend within the loads that were measured."
    beyond = "" if curve.sustained is None or curve.knee <= curve.sustained else ", which is beyond the SLO"
    return f"Knee at {said(curve.knee, curve)}{beyond}: above it more load gives little more throughput."


def range_text(curve: Curve) -> str:
    """The loads at which to operate; empty where none is known."""
    kept = [row.load for row in curve.rows if curve.sustained is not None and row.load <= curve.sustained]
    if not kept:
        return ""
    return f"{number(kept[0])} to {said(kept[-1], curve)}" if len(kept) > 1 else said(kept[0], curve)


def said(load: float, curve: Curve) -> str:
    """A load with its unit."""
    return f"{number(load)} {curve.unit}"


def peak_text(curve: Curve) -> str:
    """The peak with its load; empty where no throughput was measured."""
    if curve.peak is None or curve.peak_load is None:
        return ""
    return f"{measured(curve.peak.name, curve.peak.value)} at {said(curve.peak_load, curve)}"
