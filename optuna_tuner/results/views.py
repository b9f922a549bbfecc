"""A study as people read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from optuna_tuner.errors import NotFoundError
from optuna_tuner.results.best import Best, Comparison, baseline_of, best_of, compare
from optuna_tuner.results.machine_drift import machine_drift
from optuna_tuner.results.simplified import simplified_text
from optuna_tuner.results.trials import NO_CHOICES, TrialState, TrialView, trial_view, trial_views
from optuna_tuner.search.confirmation import Confirmation
from optuna_tuner.search.confirming import again_of, confirmation_of, next_run, simplification_of, unthought
from optuna_tuner.search.extra_runs import extra_runs, runs_left
from optuna_tuner.search.gain import Decision
from optuna_tuner.search.gating import Gated, gated
from optuna_tuner.search.rerunning import Rerunning, rerun_result
from optuna_tuner.search.simplifying import Simplification
from optuna_tuner.spec.recheck import Older
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    Choice,
    Desired,
    StudyRecord,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.values import Cause

__all__ = ["Counts", "StudyState", "StudyView", "TrialState", "TrialView", "study_view", "trial_view", "trial_views"]

ACTIVE = (TrialState.QUEUED, TrialState.RUNNING)


class StudyState(StrEnum):
    """How a study stands, in one word."""

    WAITING = "waiting"  # wanted, but no worker is there
    RUNNING = "running"
    PAUSING = "pausing"  # no more trials are started; some still run
    PAUSED = "paused"
    STOPPING = "stopping"  # running trials may end
    STOPPED = "stopped"
    CANCELLING = "cancelling"  # running trials are being ended
    CANCELLED = "cancelled"
    DONE = "done"  # the budget is spent


AT_REST = (StudyState.DONE, StudyState.STOPPED, StudyState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many trials ended how. `feasible` is a part of `complete`.

    What was `repeated` is counted there alone; so are the runs that measured something `again`, when they have ended.
    """

    complete: int
    feasible: int
    pruned: int
    failed: int
    repeated: int
    again: int
    running: int
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """One study with its trials, its best, its baseline and the gain between them. Durations in seconds."""

    id: str
    spec: StudySpec
    desired: Desired
    state: StudyState
    ended_because: str | None  # why this program stopped it; None when a user did, or nobody
    budget: int
    spent: int  # trials of the budget that ended
    counts: Counts
    causes: Mapping[Cause, int]  # most frequent first
    trials: tuple[TrialView, ...]
    best: Best
    baseline: TrialView | None
    comparison: Comparison
    confirmation: Confirmation | None  # what winner and default gave back to back; None: nothing was measured again
    simplification: Simplification | None  # with fewer flags than the winner; the simplest that holds is the best trial
    gated: Gated | None  # whether an older study's winner has held; None: this is no gate
    rerunning: Rerunning | None  # whether an older trial gives the same again; None: this is no rerun
    machine_drift: str  # how the default changed meanwhile, in words; empty where it was measured once
    workers: int
    created: datetime
    elapsed_s: float
    eta_s: float | None

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @property
    def older(self) -> Older | None:
        """What it measures again; None for a study that searches."""
        return self.spec.gate or self.spec.rerun

    @property
    def kind(self) -> str:
        """What it is: `search`, `benchmark`, `gate` or `rerun`."""
        if self.older:
            return "gate" if self.spec.gate else "rerun"
        return "benchmark" if self.spec.is_benchmark else "search"

    @property
    def is_unconfirmed(self) -> bool:
        """Whether there is a gain at rest that no pair of winner and default has confirmed."""
        pairs = self.confirmation.pairs if self.confirmation else ()
        gains = self.best.trial is not None and self.best.trial.kind is not AttemptKind.BASELINE
        return gains and bool(self.comparison.gains) and not pairs and self.state in AT_REST

    @property
    def has_won(self) -> bool:
        """Whether a confirmed gain in the first objective holds."""
        return self.confirmation is not None and self.confirmation.decisions[0] is Decision.WIN

    def trial(self, number: int) -> TrialView:
        """One trial. Raises NotFoundError."""
        found = next((trial for trial in self.trials if trial.number == number), None)
        if found is None:
            raise NotFoundError(f'study "{self.name}" has no trial {number}; it has {len(self.trials)} trials')
        return found

    def advice(self, cause: Cause) -> str:
        """What to conclude from the trials of one cause; for the last one that tells it exactly, that too."""
        exact = [trial for trial in self.trials if trial.cause is cause and trial.advice != cause.advice]
        return f"{cause.advice} In {exact[-1].name}: {exact[-1].advice}" if exact else cause.advice


def study_view(
    record: StudyRecord,
    spec: StudySpec,
    attempts: Sequence[AttemptRecord],
    workers: Sequence[WorkerRecord],
    now: datetime,
    choices: Mapping[str, Choice] = NO_CHOICES,
) -> StudyView:
    """Everything that is known of a study at `now`. `workers` are all that it ever had; the retired ones have ended.

    `choices` tells of attempts how they got their parameters, where there is something to tell.
    """
    trials = trial_views(attempts, {worker.id: worker for worker in workers}, choices)
    alive = sum(not worker.retired for worker in workers)
    spent = _spent(record, trials)
    state = _state(record, trials, alive, is_over=not _is_due(record, spec, attempts, workers))
    simplification = simplification_of(spec, attempts, workers, record.drops)
    confirmation = _recommended(simplification) or confirmation_of(spec, attempts, workers)
    best, baseline = best_of(trials, spec.goals.objectives, confirmation), baseline_of(trials)
    again = simplification.runs_left if simplification else runs_left(spec, record.budget, attempts)
    return StudyView(
        id=record.id,
        spec=spec,
        desired=record.desired,
        state=state,
        ended_because=record.ended_because,
        budget=record.budget,
        spent=spent,
        counts=_counts(trials),
        causes=dict(Counter(trial.cause for trial in trials if trial.cause and trial.same_as is None).most_common()),
        trials=trials,
        best=best,
        baseline=baseline,
        comparison=compare(best, baseline, spec.goals.objectives, confirmation, simplified_text(simplification)),
        confirmation=confirmation,
        simplification=simplification,
        gated=gated(spec, attempts, workers),
        rerunning=rerun_result(spec, attempts),
        machine_drift=machine_drift(trials, spec.goals.objectives),
        workers=alive,
        created=record.created_at,
        elapsed_s=_elapsed_s(record.created_at, trials, now, running=state is StudyState.RUNNING),
        eta_s=_eta_s(trials, record.budget - spent + again, alive) if state is StudyState.RUNNING else None,
    )


def _recommended(found: Simplification | None) -> Confirmation | None:
    """The verdict of the simplest configuration that keeps the gain."""
    return found.best.gain if found and found.best else None


def _spent(record: StudyRecord, trials: Sequence[TrialView]) -> int:
    """Trials of the budget that ended."""
    return max(0, record.reserved - sum(trial.state in ACTIVE and not trial.kind.again for trial in trials))


def left_s(study: StudyView, spec: StudySpec) -> float | None:
    """Seconds that a worker will need for what is left if the study goes on by this file; None before a trial ended."""
    left = spec.budget.trials - study.spent + extra_runs(spec, spec.budget.trials).least - study.counts.again
    return _eta_s(study.trials, left, 1)


def _is_due(
    record: StudyRecord, spec: StudySpec, attempts: Sequence[AttemptRecord], workers: Sequence[WorkerRecord]
) -> bool:
    """Whether there is budget left, or anything is to be measured again beside it, or to be found out for that."""
    if record.reserved < record.budget or again_of(spec) is None:
        return record.reserved < record.budget
    known = spec, attempts, workers, record.drops
    return bool(next_run(*known) or unthought(*known))


def _state(record: StudyRecord, trials: Sequence[TrialView], alive: int, *, is_over: bool) -> StudyState:
    running = any(trial.state is TrialState.RUNNING for trial in trials)
    active = any(trial.state in ACTIVE for trial in trials)
    if is_over and not active:
        return StudyState.DONE
    match record.desired:
        case Desired.PAUSE:
            return StudyState.PAUSING if running else StudyState.PAUSED
        case Desired.STOP:
            return StudyState.STOPPING if running else StudyState.STOPPED
        case Desired.CANCEL:
            return StudyState.CANCELLING if running else StudyState.CANCELLED
        case Desired.RUN:
            return StudyState.RUNNING if running or alive else StudyState.WAITING


def _counts(trials: Sequence[TrialView]) -> Counts:
    searched = [trial for trial in trials if not trial.kind.again]
    states = Counter(trial.state for trial in searched)
    verdicts = Counter(trial.verdict for trial in searched if trial.same_as is None)
    return Counts(
        complete=verdicts[Verdict.COMPLETE],
        feasible=states[TrialState.FEASIBLE],
        pruned=verdicts[Verdict.PRUNED],
        failed=verdicts[Verdict.FAIL],
        repeated=states[TrialState.REPEATED],
        again=sum(trial.kind.again and trial.state not in ACTIVE for trial in trials),
        running=sum(trial.state is TrialState.RUNNING for trial in trials),
        queued=sum(trial.state is TrialState.QUEUED for trial in trials),
    )


def _elapsed_s(created: datetime, trials: Sequence[TrialView], now: datetime, *, running: bool) -> float:
    ended = [trial.ended for trial in trials if trial.ended]
    last = now if running or not ended else max(ended)
    return max(0.0, (last - created).total_seconds())


def _eta_s(trials: Sequence[TrialView], left: int, alive: int) -> float | None:
    durations = [trial.duration_s for trial in trials if trial.duration_s is not None and trial.same_as is None]
    if not durations:
        return None
    return sum(durations) / len(durations) * max(0, left) / max(1, alive)
