"""The sample study as it is reported: on two GPUs, with a sweep of loads that bends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from optuna.trial import FrozenTrial
from take_home import MODEL, TWO_GPUS

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.efficiency import Price
from optuna_tuner.results.report.making import Material, report
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.results.why import Why
from optuna_tuner.store.records import AttemptRecord
from optuna_tuner.testing.sample_study import BEGAN, WORKER, sample_study
from optuna_tuner.values import Load, Measurement

THROUGHPUT = "output_throughput_tok_s"
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
        Measurement(load=Load(value=load), metrics=dict(_metrics(share * throughput, ttft_ms, tpot_ms)))
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


def report_on(
    study: StudyView, price: Price | None = None, told: Sequence[FrozenTrial] = (), why: Why | None = None
) -> Report:
    """Its report, as if it were written when it began."""
    kinds = InstalledKinds()
    return report(Material(study=study, model=MODEL, kinds=kinds, written=BEGAN, price=price, told=told, why=why))
