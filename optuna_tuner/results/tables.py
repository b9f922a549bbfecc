"""Plain rows and documents for tables, CSV, JSON and YAML. Column names are stable; drawing is the caller's."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from optuna_tuner.metrics import QUALITY
from optuna_tuner.results.best import value_of
from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.bottleneck import Bottleneck
from optuna_tuner.results.diff import flag_changes
from optuna_tuner.results.rechecked import recheck_document
from optuna_tuner.results.simplified import simplification_document
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.values import Drift, Json, Measurement, Scalar

# What of a load level is shown to people, beside what the goals speak of.
LEVEL_METRICS = ("output_throughput_tok_s", "request_rate_req_s", "ttft_ms.p99", "tpot_ms.p99", "e2e_latency_ms.p99")
TRIAL_COLUMNS = ("number", "kind", "state", "cause", "level", "duration_s", "tries", "worker", "same_as")
STUDY_COLUMNS = (
    "name",
    "state",
    "engine",
    "model",
    "trials",
    "budget",
    "feasible",
    "failed",
    "best",
    "gain",
    "created",
    "ended_because",
    "kind",
)

Cell = Scalar | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns and rows of plain values; None is "not known"."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def documents(self) -> list[dict[str, Cell]]:
        """One mapping a row, ready for JSON and YAML."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def csv(self) -> str:
        """The table as RFC 4180 CSV with a header. Cells that a spreadsheet would run as a formula are quoted by '."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows([_harmless(cell) for cell in row] for row in self.rows)
        return text.getvalue()


def _harmless(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def trial_table(study: StudyView) -> Table:
    """One row a trial: the fixed columns, one for each objective, those of the answers, then `params.<name>`.

    The parameters are in the space's order; the columns of the answers are there in a study that asks for some.
    """
    objectives, space = study.spec.goals.objectives, tuple(study.spec.space)
    answers = tuple(QUALITY) if study.spec.quality else ()
    rows = []
    for trial in study.trials:
        values = tuple(value_of(trial, place, objective) for place, objective in enumerate(objectives))
        drifts = tuple((trial.drift.metrics if trial.drift else {}).get(name) for name in answers)
        rows.append((*_trial_cells(trial), *values, *drifts, *(trial.params.get(name) for name in space)))
    names = (*(objective.metric for objective in objectives), *answers, *(f"params.{name}" for name in space))
    return Table(columns=(*TRIAL_COLUMNS, *names), rows=tuple(rows))


def whole_trial_table(study: StudyView) -> Table:
    """The trial table, and after it all figures as `metrics.<name>`, whether it is feasible, why, when and where."""
    table = trial_table(study)
    names = tuple(dict.fromkeys(name for trial in study.trials for name in trial.metrics))
    rest = ("feasible", "reason", "started", "ended", "attempt", "host")
    rows = (
        (*row, *map(trial.metrics.get, names), *_rest(trial))
        for row, trial in zip(table.rows, study.trials, strict=True)
    )
    return Table(columns=(*table.columns, *(f"metrics.{name}" for name in names), *rest), rows=tuple(rows))


def _rest(trial: TrialView) -> tuple[Cell, ...]:
    times = _time(trial.started), _time(trial.ended)
    return trial.feasible, trial.reason or None, *times, trial.attempt_id, trial.host or None


def _trial_cells(trial: TrialView) -> tuple[Cell, ...]:
    return (
        trial.number,
        trial.kind.value,
        trial.state.value,
        trial.cause.value if trial.cause else None,
        trial.level or None,
        _rounded(trial.duration_s),
        trial.tries,
        trial.slot or trial.worker or None,
        trial.same_as,
    )


def study_table(studies: Sequence[StudyView]) -> Table:
    """One row a study, in the order given."""
    return Table(columns=STUDY_COLUMNS, rows=tuple(_study_cells(study) for study in studies))


def _study_cells(study: StudyView) -> tuple[Cell, ...]:
    best = study.best.trial
    return (
        study.name,
        study.state.value,
        study.spec.engine.kind,
        study.spec.model.name,
        study.spent,
        study.budget,
        study.counts.feasible,
        study.counts.failed,
        _best_value(study, best) if best else None,
        study.comparison.share,
        study.created.isoformat(timespec="seconds"),
        study.ended_because,
        study.kind,
    )


def _best_value(study: StudyView, best: TrialView) -> float:
    """Of the first objective: as it was confirmed, where it was."""
    return study.comparison.gains[0].best if study.comparison.gains else best.values[0]


def study_document(study: StudyView) -> dict[str, Json]:
    """All that is known of a study, for JSON and YAML. Key names are stable; durations in seconds."""
    counts = study.counts
    return {
        "name": study.name,
        "kind": study.kind,
        "description": study.spec.description,
        "notice": study.spec.notice,
        "engine": study.spec.engine.kind,
        "model": study.spec.model.name,
        "state": study.state.value,
        "desired": study.desired.value,
        "ended_because": study.ended_because,
        "budget": study.budget,
        "spent": study.spent,
        "counts": {name: getattr(counts, name) for name in counts.__slots__},
        "causes": {cause.value: count for cause, count in study.causes.items()},
        "objectives": [objective.model_dump() for objective in study.spec.goals.objectives],
        "constraints": [constraint.name for constraint in study.spec.goals.constraints],
        "best": best_document(study),
        "recheck": recheck_document(study),
        "baseline": trial_document(study.baseline) if study.baseline else None,
        "machine_drift": study.machine_drift,
        "workers": study.workers,
        "created": _time(study.created),
        "elapsed_s": _rounded(study.elapsed_s),
        "eta_s": _rounded(study.eta_s),
        "trials": [trial_document(trial) for trial in study.trials],
    }


def best_document(study: StudyView) -> dict[str, Json]:
    """The best trials, the gain over the baseline, and the flags to take home."""
    best = study.best.trial
    rows = flag_changes(study.spec.fixed_flags, best.params) if best else ()
    return {
        "notice": study.spec.notice,
        "text": study.best.text,
        "trials": [trial_document(trial) for trial in study.best.trials],
        "gain": study.comparison.text,
        "gains": [
            {name: getattr(gain, name) for name in ("metric", "best", "baseline", "share", "low", "high")}
            for gain in study.comparison.gains
        ],
        "confirmation": confirmation_document(study),
        "simplification": simplification_document(study.simplification),
        "flags": [{"flag": row.flag, "default": row.default, "best": row.best} for row in rows],
        "beyond_speed": beyond_speed(study, best) if best else "",
    }


def confirmation_document(study: StudyView) -> dict[str, Json] | None:
    """What winner and default gave back to back; None where nothing was measured again. Verdicts are by objective."""
    found = study.confirmation
    if found is None:
        return None
    metrics = [objective.metric for objective in study.spec.goals.objectives]
    verdicts = zip(metrics, found.decisions, strict=True)
    return {
        "verdicts": {metric: decision.value for metric, decision in verdicts},
        "pairs": len(found.pairs),
        "wanted": found.wanted,
        "confidence": found.confidence,
        "winner_kept": found.kept,
        "default_kept": found.default_kept,
        "trials": [[half.number for half in pair.halves] for pair in found.pairs],
    }


def trial_document(trial: TrialView) -> dict[str, Json]:
    """All that is known of a trial, for JSON and YAML. Key names are stable."""
    return {
        "number": trial.number,
        "kind": trial.kind.value,
        "pair": trial.pair,
        "state": trial.state.value,
        "feasible": trial.feasible,
        "phase": trial.phase.value if trial.phase else None,
        "params": _plain(trial.params),
        "choice": dict(trial.choice.parts),
        "values": list(trial.values),
        "constraints": _plain(trial.constraints),
        "cause": trial.cause.value if trial.cause else None,
        "reason": trial.reason,
        "advice": trial.advice,
        "kv_cache_retractions": trial.kv_cache_retractions,
        "quality": drift_document(trial.drift),
        "level": trial.level,
        "load_search": trial.load_search,
        "metrics": _plain(trial.metrics),
        "levels": [_level(measurement) for measurement in trial.measurements],
        "phases_s": {phase.value: _rounded(seconds) for phase, seconds in trial.phases_s.items()},
        "effective_config": _plain(trial.effective_config),
        "remarks": list(trial.remarks),
        "same_as": trial.same_as,
        "attempt": trial.attempt_id,
        "retry_of": trial.retry_of,
        "tries": trial.tries,
        "worker": trial.worker,
        "host": trial.host,
        "slot": trial.slot,
        "started": _time(trial.started),
        "ended": _time(trial.ended),
        "duration_s": _rounded(trial.duration_s),
    }


def _level(level: Measurement) -> dict[str, Json]:
    return {
        "load": str(level.load),
        "probe": level.probe,
        "metrics": _plain(level.metrics),
        "seen": _plain(level.seen),
        "report": level.report,
    }


def bottleneck_document(found: Bottleneck | None) -> dict[str, Json] | None:
    """What limits a trial's server; None where no load was measured to its end."""
    if found is None:
        return None
    return {
        "limit": found.limit.value,
        "load": found.load,
        "text": found.text,
        "evidence": list(found.evidence),
        "moves": list(found.moves),
        "missing": list(found.missing),
    }


def drift_document(drift: Drift | None) -> dict[str, Json] | None:
    """How far a trial's answers are from the default's; None where it was not asked."""
    return None if drift is None else {**drift.metrics, "by_prompt": list(drift.by_prompt)}


def _plain(values: Mapping[str, Scalar]) -> dict[str, Json]:
    return dict(values)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
