"""A study as a tracker shows it: a run of its own, and one for each trial that has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.files import folder_files
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import ACTIVE, AT_REST, StudyView
from optuna_tuner.values import Scalar

ID, STUDY_ID = "optuna_tuner.id", "optuna_tuner.study"  # tags by which a run is found again


class Ending(Enum):
    """How a run ended, in a tracker's sense: a configuration that was refused is a result."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    RUNNING = "RUNNING"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One run. `at_loads` has the metrics of each load level, with its concurrency or request rate."""

    id: str
    name: str
    config: Mapping[str, Scalar]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    ending: Ending
    started: datetime | None
    ended: datetime | None
    at_loads: Sequence[tuple[float, Mapping[str, float]]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Logbook:
    """The study's own entry, those of its trials, and its report as files."""

    study: Entry
    trials: Sequence[Entry]
    files: Mapping[str, bytes]


def logbook(study: StudyView, report: Report) -> Logbook:
    """All that a tracker is told. Trials that wait or run, and those that repeat another, are not among it."""
    ended = [trial for trial in study.trials if trial.state not in {*ACTIVE, TrialState.REPEATED}]
    files, _ = folder_files(report, plots=False)
    return Logbook(study=_of_study(study), trials=[_of_trial(study, trial) for trial in ended], files=files)


def _of_study(study: StudyView) -> Entry:
    spec, best = study.spec, study.best.trial
    gains = {
        f"gain.{gain.metric}.{name}": value
        for gain in study.comparison.gains
        for name in ("share", "low", "high")
        if (value := getattr(gain, name)) is not None
    }
    tags = {
        "state": study.state.value,
        "verdict": study.comparison.text or study.best.text,
        "best_trial": "" if best is None else str(best.number),
        "notice": spec.notice,
    }
    kinds = {name: getattr(spec, name).kind for name in ("engine", "deployer", "benchmark")}
    return Entry(
        id=study.id,
        name=study.name,
        config={"model": spec.model.name, **kinds, "budget.trials": study.budget, **spec.fixed_flags},
        metrics={**({} if best is None else best.metrics), **gains},
        tags=_said({**tags, STUDY_ID: study.id, ID: study.id}),
        ending=Ending.FINISHED if study.state in AT_REST else Ending.RUNNING,
        started=study.created,
        ended=max((trial.ended for trial in study.trials if trial.ended), default=None),
    )


def _of_trial(study: StudyView, trial: TrialView) -> Entry:
    tags = {
        "state": trial.state.value,
        "kind": trial.role or "search",
        "cause": trial.cause.value if trial.cause else "",
        "reason": trial.reason,
        "level": trial.level,
        "host": trial.host,
        "slot": trial.slot,
        "notice": study.spec.notice,
    }
    took = {} if trial.duration_s is None else {"duration_s": trial.duration_s}
    return Entry(
        id=trial.attempt_id,
        name=f"{study.name}: {trial.name}",
        config={**study.spec.fixed_flags, **trial.params},
        metrics={**trial.metrics, **took},
        tags=_said({**tags, STUDY_ID: study.id, ID: trial.attempt_id}),
        ending=_ending(trial.state),
        started=trial.started,
        ended=trial.ended,
        at_loads=[(level.load.value, level.metrics) for level in trial.measurements],
    )


def _ending(state: TrialState) -> Ending:
    return {TrialState.FAILED: Ending.FAILED, TrialState.STOPPED: Ending.KILLED}.get(state, Ending.FINISHED)


def _said(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in tags.items() if text}
