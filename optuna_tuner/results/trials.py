"""One trial as people read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from optuna_tuner.spec.quality import CONSTRAINT
from optuna_tuner.store.records import (
    AttemptKind,
    AttemptRecord,
    AttemptState,
    Choice,
    Outcome,
    Verdict,
    WorkerRecord,
)
from optuna_tuner.values import Blame, Cause, Drift, Measurement, Phase, Scalar, Slot

NOTHING = Outcome(verdict=Verdict.FAIL)
NOTHING_HAPPENED = Choice()
NO_CHOICES: Mapping[str, Choice] = {}


class TrialState(StrEnum):
    """How a trial stands, in one word."""

    QUEUED = "queued"
    RUNNING = "running"
    FEASIBLE = "feasible"  # it ran and keeps every constraint
    INFEASIBLE = "infeasible"  # the configuration's fault: it broke a constraint, crashed or was rejected
    PRUNED = "pruned"  # given up: it was behind the trials before it
    FAILED = "failed"  # the machine's fault; its parameters are tried again, a bounded number of times
    STOPPED = "stopped"  # somebody asked for its end
    REPEATED = "repeated"  # the same server as an earlier trial: not measured again, and no part of the budget


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialView:
    """One attempt, flat and in words. `params` holds the sampled flags and variables, not the fixed ones."""

    number: int | None
    kind: AttemptKind
    state: TrialState
    verdict: Verdict | None  # what Optuna was or will be told; None before the end
    phase: Phase | None
    params: Mapping[str, Scalar]
    choice: Choice  # how it got them
    values: tuple[float, ...]
    constraints: Mapping[str, float]
    cause: Cause | None
    reason: str
    advice: str  # what to conclude; empty when nothing went wrong
    level: str
    load_search: str  # how the search for the most load ended; empty where the levels were given
    metrics: Mapping[str, float]
    measurements: tuple[Measurement, ...]
    phases_s: Mapping[Phase, float]
    effective_config: Mapping[str, Scalar]
    kv_cache_retractions: int | None  # requests that lost their place in the KV cache; None: none were told
    drift: Drift | None  # how far its answers are from the default's; None: it was not asked
    remarks: tuple[str, ...]  # what the engine was known to rewrite or to warn of
    same_as: int | None  # the trial whose server it would have been
    worker: str
    host: str
    slot: str
    machine: Slot | None  # what its worker owned; None before it has one
    attempt_id: str
    retry_of: str | None
    tries: int
    started: datetime | None
    ended: datetime | None
    pair: int | None = None  # of a confirming run: its pair, from 1

    @property
    def feasible(self) -> bool:
        """Whether it may be shown as a best trial."""
        return self.state is TrialState.FEASIBLE

    @property
    def duration_s(self) -> float | None:
        """Seconds from the claim to the end; None before the end."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None

    @property
    def excess(self) -> float:
        """Sum of the relative violations of its constraints, dimensionless; zero is feasible."""
        return sum(max(0.0, value) for value in self.constraints.values())

    def has_measured(self, constraint: str) -> bool:
        """Whether a constraint's violation is a figure; else it was made up, so that the sampler learns."""
        return bool(self.metrics) or (self.cause is Cause.QUALITY and constraint == CONSTRAINT)

    @property
    def repeats(self) -> str:
        """Which trial it repeats, in words; empty where it was measured itself, or is to be."""
        return "" if self.same_as is None else f"same server as trial {self.same_as}, not measured again"

    @property
    def rewritten(self) -> Mapping[str, tuple[Scalar, Scalar]]:
        """Sampled parameters that the server says it made another value of: what was asked, and what it became."""
        told = {name: value for name, value in self.effective_config.items() if name in self.params}
        return {name: (self.params[name], value) for name, value in told.items() if self.params[name] != value}

    @property
    def role(self) -> str:
        """What it is for, where that is not the search: `baseline`, `confirm, pair 2`."""
        if self.kind is AttemptKind.SEARCH:
            return ""
        return self.kind.value if self.pair is None else f"{self.kind.value}, pair {self.pair}"

    @property
    def name(self) -> str:
        """How it is called in a sentence."""
        return f"trial {self.number}" if self.number is not None else "a trial without a number"


def trial_views(
    attempts: Sequence[AttemptRecord],
    workers: Mapping[str, WorkerRecord] | None = None,
    choices: Mapping[str, Choice] = NO_CHOICES,
) -> tuple[TrialView, ...]:
    """All attempts, by Optuna's number; those that wait for a number come last, the oldest first."""
    order = sorted(attempts, key=lambda attempt: math.inf if attempt.number is None else attempt.number)
    return tuple(
        trial_view(attempt, (workers or {}).get(attempt.worker_id or ""), choices.get(attempt.id, NOTHING_HAPPENED))
        for attempt in order
    )


def trial_view(
    attempt: AttemptRecord, worker: WorkerRecord | None = None, choice: Choice = NOTHING_HAPPENED
) -> TrialView:
    """One attempt; the worker's record adds its host and slot, and the choice how it got its parameters."""
    outcome = attempt.outcome or NOTHING
    params: dict[str, Scalar] = {**attempt.params.flags, **attempt.params.env} if attempt.params else {}
    return TrialView(
        number=attempt.number,
        kind=attempt.kind,
        state=_state(attempt),
        verdict=attempt.outcome.verdict if attempt.outcome else None,
        phase=attempt.phase if attempt.state is AttemptState.RUNNING else None,
        params=params,
        choice=choice,
        values=outcome.values,
        constraints=outcome.constraints,
        cause=outcome.cause,
        reason=outcome.reason,
        advice=outcome.advice,
        level=outcome.level,
        load_search=outcome.load_search,
        metrics=outcome.metrics,
        measurements=outcome.measurements,
        phases_s=outcome.phases_s,
        effective_config=outcome.effective_config,
        kv_cache_retractions=outcome.kv_cache_retractions,
        drift=outcome.drift,
        remarks=outcome.remarks,
        same_as=outcome.same_as,
        worker=attempt.worker_id or "",
        host=worker.host if worker else "",
        slot=worker.slot.name if worker else "",
        machine=worker.slot if worker else None,
        attempt_id=attempt.id,
        retry_of=attempt.retry_of,
        tries=attempt.tries,
        started=attempt.claimed_at,
        ended=attempt.ended_at,
        pair=attempt.pair,
    )


def _state(attempt: AttemptRecord) -> TrialState:
    if attempt.state is AttemptState.QUEUED:
        return TrialState.QUEUED
    if attempt.state is AttemptState.RUNNING:
        return TrialState.RUNNING
    return _ended(attempt.outcome or NOTHING)


def _ended(outcome: Outcome) -> TrialState:
    if outcome.same_as is not None:
        return TrialState.REPEATED
    if outcome.verdict is Verdict.FAIL:
        asked_for = outcome.cause is not None and outcome.cause.blame is Blame.NOBODY
        return TrialState.STOPPED if asked_for else TrialState.FAILED
    if outcome.verdict is Verdict.PRUNED:
        return TrialState.PRUNED if outcome.cause is Cause.PRUNED else TrialState.INFEASIBLE
    return TrialState.FEASIBLE if outcome.feasible else TrialState.INFEASIBLE
