"""What comes out of the database: frozen records, never rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from optuna_tuner.values import Cause, Drift, Handle, Json, Measurement, Params, Phase, Reference, Request, Scalar, Slot


class Desired(StrEnum):
    """What the user wants of a study."""

    RUN = "run"
    PAUSE = "pause"  # start no more trials
    STOP = "stop"  # let running trials end, then the workers end
    CANCEL = "cancel"  # end running trials now


class AttemptKind(StrEnum):
    """Why an attempt exists."""

    BASELINE = "baseline"  # the engine's own default
    FIRST = "first"  # one that the study file names
    SEARCH = "search"  # the sampler's choice
    CONTROL = "control"  # the engine's own default again, between trials
    RERUN = "rerun"  # one of the best again, before the winner is chosen
    CONFIRM = "confirm"  # a half of a pair of winner and default

    @property
    def again(self) -> bool:
        """Whether it measures again what the search has measured: it takes no trial of the budget."""
        return self in {AttemptKind.CONTROL, AttemptKind.RERUN, AttemptKind.CONFIRM}


class AttemptState(StrEnum):
    """Where an attempt is in its life; it only moves down this list."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Verdict(StrEnum):
    """What Optuna is told."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended: all that Optuna, the reports and the user get to know."""

    verdict: Verdict
    values: tuple[float, ...] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)  # every constraint of the study, <= 0 is feasible
    cause: Cause | None = None  # None: it ran and is feasible
    reason: str = ""
    exact_advice: str = ""  # what to do, more exactly than the cause's own advice; "": there is none
    level: str = ""  # the load level whose metrics were scored, as str(Load); "" for a mean
    load_search: str = ""  # how the search for the most load ended, for people; "" where the levels were given
    metrics: Mapping[str, float] = field(default_factory=dict)  # the metrics that were scored
    measurements: tuple[Measurement, ...] = ()
    phases_s: Mapping[Phase, float] = field(default_factory=dict)
    effective_config: Mapping[str, Scalar] = field(default_factory=dict)
    intermediate: Mapping[int, float] = field(default_factory=dict)  # what the pruner was told, by step
    drift: Drift | None = None  # how far its answers are from the reference's; None: it was not asked
    reference: Reference | None = None  # the baseline's answers
    identity: Mapping[str, Scalar] = field(default_factory=dict)  # what the engine made of the flags, where it is known
    remarks: tuple[str, ...] = ()  # what the engine was known to rewrite or to warn of, for people
    same_as: int | None = None  # the trial that this one repeats: it was not measured, and takes no trial of the budget
    kv_cache_retractions: int | None = None  # requests that lost their place in it; None: none were told

    @property
    def feasible(self) -> bool:
        """Whether it ran to its end and keeps every constraint."""
        ran = self.verdict is Verdict.COMPLETE and self.cause is None
        sound = bool(self.values) and all(math.isfinite(value) for value in self.values)
        return ran and sound and all(excess <= 0 for excess in self.constraints.values())

    @property
    def advice(self) -> str:
        """What the user should conclude; empty when nothing went wrong."""
        return self.exact_advice or (self.cause.advice if self.cause else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What happened before a trial got its parameters.

    Attributes:
        passed_over: how many configurations were drawn and left, since it is known that they cannot run.
        objections: why, the first ones, each once.
        repaired: the parameter that was moved to make a configuration possible: from which value, to which.

    """

    passed_over: int = 0
    objections: tuple[str, ...] = ()
    repaired: Mapping[str, tuple[Scalar, Scalar]] = field(default_factory=dict)

    @property
    def parts(self) -> Mapping[str, Json]:
        """What there is to tell, by name, as JSON has it; empty where nothing happened."""
        moves: dict[str, Json] = {name: list(move) for name, move in self.repaired.items()}
        told: dict[str, Json] = {
            "passed_over": self.passed_over,
            "objections": list(self.objections),
            "repaired": moves,
        }
        return {name: part for name, part in told.items() if part}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """Which flags of a winner may be left out, as was predicted: what is measured for it follows from that.

    Attributes:
        winner: the configuration that they are flags of.
        groups: flags to leave out together, one group after another; no group: there is nothing to try.
        default: what the engine has where a flag is left to it, as far as that is known.

    """

    winner: Params
    groups: tuple[tuple[str, ...], ...]
    default: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """One study: what was asked for, and what is wanted now."""

    id: str
    name: str
    spec_json: str
    space_hash: str
    budget: int  # trials
    reserved: int  # trials that were claimed, retries left out; never above the budget
    desired: Desired
    created_at: datetime
    ended_because: str | None = None  # why this program stopped it; None when a user did, or nobody
    drops: Drops | None = None  # None: nobody has thought of them yet


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """One worker process. (host, boot_id, pid, pid_start) names it among all processes that ever were."""

    id: str
    study_id: str
    host: str
    boot_id: str
    pid: int
    pid_start: float
    beat: int
    slot: Slot
    retired: bool
    machine: str = ""  # tells two machines with equal host names apart; "" for a worker of an older version

    @property
    def place(self) -> tuple[str, str, str]:
        """Equal for workers that had the same slot of the same machine."""
        return self.host, self.machine, self.slot.name


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One run of one configuration; it corresponds to exactly one Optuna trial once it was asked for."""

    id: str
    study_id: str
    kind: AttemptKind
    state: AttemptState
    tries: int  # 1 for the first run of these parameters
    retry_of: str | None
    params: Params | None  # None until the sampler was asked
    number: int | None  # Optuna's trial number; None until asked
    worker_id: str | None
    phase: Phase
    cancel: bool
    outcome: Outcome | None
    told: bool
    created_at: datetime
    claimed_at: datetime | None
    ended_at: datetime | None
    pair: int | None = None  # of a confirming run: its pair, from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What is to be measured again."""

    kind: AttemptKind
    params: Params
    pair: int | None = None


class ResourceState(StrEnum):
    """What the ledger knows of something that we start outside this process."""

    INTENT = "intent"  # about to be started; may or may not exist
    CREATED = "created"  # exists
    GONE = "gone"  # confirmed not to run any more


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRecord:
    """One ledger row, written before the thing is started."""

    id: str
    attempt_id: str
    worker_id: str
    request: Request
    handle: Handle | None
    state: ResourceState


class EventKind(StrEnum):
    """What can happen to an attempt."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    ASKED = "asked"
    PHASE = "phase"
    INTENT = "intent"
    CREATED = "created"
    GONE = "gone"
    CANCEL = "cancel"
    ENDED = "ended"
    TOLD = "told"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One line of an attempt's history; it is written in the transaction that it tells of, and never changed."""

    id: str
    attempt_id: str
    at: datetime
    kind: EventKind
    data: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a beat's reply tells the worker."""

    desired: Desired
    cancel_attempt: bool  # end the running attempt now
    fenced: bool  # the worker was declared dead: its attempt belongs to somebody else
    drain: bool = False  # the tables were upgraded by a newer optuna-tuner: end after this attempt
