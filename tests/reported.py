"""The sample study as it is reported: on two GPUs, with a sweep of loads that bends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from optuna.trial import FrozenTrial
from pydantic import JsonValue
from take_home import MODEL, TWO_GPUS

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.efficiency import Price
from optuna_tuner.results.report.making import Material, report
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.results.why import Why
from optuna_tuner.search.verdict import ended, scored
from optuna_tuner.spec.goals import Constraint
from optuna_tuner.store.attempt_rows import queued
from optuna_tuner.store.records import AttemptKind, AttemptRecord
from optuna_tuner.testing.sample_study import BEGAN, WORKER, attempt, sample_study
from optuna_tuner.tuning.bench import Running, Wanted, of_running
from optuna_tuner.values import Cause, Load, Measurement, Params, Phase

THROUGHPUT = "output_throughput_tok_s"
POWER_W = 1000.0  # of both GPUs
SIZES = ("D(128,64)", "D(512,64)")
# Requests in flight -> output tokens a second, p99 TTFT in ms, mean TPOT in ms: it bends at 8, and breaks 200 ms at 32.
SWEEP: Mapping[int, tuple[float, float, float]] = {
    1: (100, 40, 10),
    2: (200, 42, 10),
    4: (400, 45, 10),
    8: (760, 60, 11),
    16: (800, 180, 20),
    32: (810, 600, 40),
}


def swept(attempt: AttemptRecord, share: float = 1.0) -> AttemptRecord:
    """The attempt with all loads of the sweep, its throughput by so much lower."""
    outcome = attempt.outcome
    assert outcome is not None
    levels = tuple(
        Measurement(
            load=Load(value=load),
            metrics=dict(_metrics(share * throughput, ttft_ms, tpot_ms)),
            seen={"gpu_power_w.mean": POWER_W},
        )
        for load, (throughput, ttft_ms, tpot_ms) in SWEEP.items()
    )
    at = levels[4]
    return replace(
        attempt,
        outcome=replace(
            outcome, measurements=levels, metrics=at.metrics, level=str(at.load), values=(at.metrics[THROUGHPUT],)
        ),
    )


def _metrics(throughput: float, ttft_ms: float, tpot_ms: float) -> Mapping[str, float]:
    return {THROUGHPUT: throughput, "ttft_ms.p99": ttft_ms, "tpot_ms.mean": tpot_ms, "e2e_latency_ms.p99": ttft_ms * 10}


def sweep_study() -> StudyView:
    """The sample study, whose default and best were measured at six loads, on a slot with two GPUs."""
    sample = sample_study()
    attempts = [
        swept(each, {0: 0.5, 8: 1.0}[each.number or 0]) if each.number in {0, 8} else each for each in sample.attempts
    ]
    worker = replace(WORKER, slot=TWO_GPUS)
    return study_view(sample.record, sample.spec, attempts, (worker,), BEGAN + timedelta(hours=1))


def bench_study(measured: int | None = None) -> StudyView:
    """A benchmark of a running server: two prompt sizes, six loads, two rounds. Or stopped after so many levels."""
    load: Mapping[str, JsonValue] = {"scenario": list(SIZES), "concurrency": list(SWEEP), "repeat": 2}
    slo = Constraint(metric="ttft_ms.p99", at_most=200)
    spec = of_running(Running(url="http://127.0.0.1:8000", model="tiny"), Wanted(load=load, slo=(slo,)))
    levels = [
        Measurement(load=Load(value=load, scenario=size), metrics=dict(_metrics(share * tok_s, ttft_ms, tpot_ms)))
        for share in (0.98, 1.02)
        for size in SIZES
        for load, (tok_s, ttft_ms, tpot_ms) in SWEEP.items()
    ]
    outcome = scored(spec.goals, levels) if measured is None else ended(Cause.STOPPED, "asked to stop")
    phases_s = {Phase.START_UP: 1.0, Phase.BENCHMARK: 59.0}
    first = attempt(0, replace(outcome, measurements=tuple(levels[:measured]), phases_s=phases_s), Params())
    again = queued("attempt-1", "study-1", AttemptKind.BASELINE, Params(), retry_of=first.id)
    attempts = [first] if measured is None else [first, again]
    record = replace(sample_study().record, name=spec.name, budget=1, reserved=1)
    return study_view(record, spec, attempts, (WORKER,), BEGAN + timedelta(hours=1))


def report_on(
    study: StudyView, price: Price | None = None, told: Sequence[FrozenTrial] = (), why: Why | None = None
) -> Report:
    """Its report, as if it were written when it began."""
    kinds = InstalledKinds()
    return report(Material(study=study, model=MODEL, kinds=kinds, written=BEGAN, price=price, told=told, why=why))
