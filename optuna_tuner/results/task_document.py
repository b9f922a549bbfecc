"""The result document of the older task format.

Latencies there are in seconds, experiment ids start at 1, an experiment is one configuration (not one try), each
figure is the plain mean over the load levels, and a score is better when it is lower: throughput is negated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import ACTIVE, StudyView
from optuna_tuner.spec.goals import Objective
from optuna_tuner.store.records import Verdict
from optuna_tuner.values import Json, LoadKind, Measurement, Metrics

MS_PER_S = 1000.0
LATENCIES = {
    "mean_e2e_latency": "e2e_latency_ms.mean",
    "p50_e2e_latency": "e2e_latency_ms.p50",
    "p90_e2e_latency": "e2e_latency_ms.p90",
    "p99_e2e_latency": "e2e_latency_ms.p99",
    "mean_ttft": "ttft_ms.mean",
    "mean_tpot": "tpot_ms.mean",
}
THROUGHPUT = "total_throughput_tok_s"


def task_document(study: StudyView, task_name: str | None = None) -> dict[str, Json]:
    """The study's results as the older format writes them. `best_result` is None when nothing is feasible."""
    results = {
        trial.attempt_id: _result(trial, number, study.spec.goals.objectives)
        for number, trial in enumerate(_configurations(study.trials), start=1)
    }
    best = study.best.trial
    return {
        "task_name": task_name or study.name,
        "total_experiments": len(results),
        "successful_experiments": sum(result["status"] == "success" for result in results.values()),
        "elapsed_time": round(study.elapsed_s, 3),
        "best_result": results[best.attempt_id] if best else None,
        "all_results": list(results.values()),
    }


def _configurations(trials: Sequence[TrialView]) -> list[TrialView]:
    """The last try of each configuration that ended by itself; without what was measured again."""
    tried_again = {trial.retry_of for trial in trials}
    none = (*ACTIVE, TrialState.STOPPED, TrialState.REPEATED)
    searched = [trial for trial in trials if not trial.kind.again]
    return [trial for trial in searched if trial.attempt_id not in tried_again and trial.state not in none]


def _result(trial: TrialView, experiment_id: int, objectives: Sequence[Objective]) -> dict[str, Json]:
    ran = trial.verdict is Verdict.COMPLETE
    return {
        "experiment_id": experiment_id,
        "parameters": dict(trial.params),
        "status": "success" if ran else "failed",
        "metrics": _metrics(trial.measurements) if trial.measurements else None,
        "objective_score": _score(trial.values[0], objectives[0]) if ran else None,
        "error_message": None if ran else trial.reason,
        **({"quality": dict(trial.drift.metrics)} if trial.drift else {}),
    }


def _score(value: float, objective: Objective) -> float:
    in_unit = value / MS_PER_S if _is_ms(objective.metric) else value
    return -in_unit if objective.direction == "maximize" else in_unit


def _is_ms(metric: str) -> bool:
    return metric.partition(".")[0].endswith("_ms")


def _metrics(levels: Sequence[Measurement]) -> dict[str, Json]:
    throughputs = _known(levels, THROUGHPUT)
    done, failed = (sum(_known(levels, name)) for name in ("completed_requests", "failed_requests"))
    return {
        "num_result_files": len(levels),
        "concurrency_levels": [_concurrency(level) for level in levels],
        **{name: _mean(_known(levels, metric), MS_PER_S) for name, metric in LATENCIES.items()},
        "mean_total_throughput": _mean(throughputs),
        "max_total_throughput": max(throughputs, default=None),
        "total_requests": int(done + failed),
        "total_completed_requests": int(done),
        "total_error_requests": int(failed),
        "success_rate": done / (done + failed) if done + failed else None,
        "raw_results": [_raw(level) for level in levels],
    }


def _known(levels: Sequence[Measurement], metric: str) -> list[float]:
    return [level.metrics[metric] for level in levels if metric in level.metrics]


def _mean(values: Sequence[float], divisor: float = 1.0) -> float | None:
    return sum(values) / len(values) / divisor if values else None


def _concurrency(level: Measurement) -> float | int | None:
    return int(level.load.value) if level.load.kind is LoadKind.CONCURRENCY else None


def _raw(level: Measurement) -> dict[str, Json]:
    """One level's numbers in this package's own names and units, and where its raw report lies."""
    metrics: Metrics = level.metrics
    numbers: Mapping[str, Json] = dict(metrics)
    return {"load": str(level.load), "num_concurrency": _concurrency(level), "report": level.report, **numbers}
