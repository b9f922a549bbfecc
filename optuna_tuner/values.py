"""Frozen values that travel between the rooms of the house."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Scalar = bool | int | float | str
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Blame(StrEnum):
    """Whose fault a failure is: it decides what Optuna is told."""

    CONFIGURATION = "configuration"  # PRUNED with a violated constraint; the sampler learns
    MACHINE = "machine"  # FAIL; the same parameters are tried again
    NOBODY = "nobody"  # somebody asked for the end; the parameters go back to the queue


class Cause(StrEnum):
    """Why a trial did not give a feasible score. `blame` and `advice` say what to conclude."""

    OUT_OF_MEMORY_POOL = "out_of_memory_pool"
    OUT_OF_MEMORY_HEADROOM = "out_of_memory_headroom"
    OUT_OF_MEMORY_RUNTIME = "out_of_memory_runtime"
    BAD_FLAG = "bad_flag"
    BAD_COMBINATION = "bad_combination"
    CRASHED = "crashed"
    NOT_READY = "not_ready"
    DEGRADED = "degraded"
    SLO = "slo"
    QUALITY = "quality"
    REJECTED = "rejected"
    PRUNED = "pruned"
    DEVICE_BUSY = "device_busy"
    PORT_IN_USE = "port_in_use"
    NODE_LOST = "node_lost"
    WORKER_LOST = "worker_lost"
    DEPLOYER_FAILED = "deployer_failed"
    BENCHMARK_FAILED = "benchmark_failed"
    MACHINE = "machine"
    REPEATED = "repeated"
    STOPPED = "stopped"
    CANCELLED = "cancelled"

    @property
    def blame(self) -> Blame:
        """Whose fault it is."""
        return _MEANING[self][0]

    @property
    def advice(self) -> str:
        """What the user should conclude, in one sentence."""
        return _MEANING[self][1]


_MEANING: Mapping[Cause, tuple[Blame, str]] = {
    Cause.OUT_OF_MEMORY_POOL: (
        Blame.CONFIGURATION,
        "Weights or KV cache do not fit: give the server a larger memory fraction, more GPUs, or a shorter context.",
    ),
    Cause.OUT_OF_MEMORY_HEADROOM: (
        Blame.CONFIGURATION,
        "Nothing is left for graphs or activations: use a smaller memory fraction, smaller batches or smaller graphs.",
    ),
    Cause.OUT_OF_MEMORY_RUNTIME: (
        Blame.CONFIGURATION,
        "Memory ran out under load: the flags start but are not safe in production.",
    ),
    Cause.BAD_FLAG: (Blame.CONFIGURATION, "The engine does not know a flag or a value: check the engine's version."),
    Cause.BAD_COMBINATION: (Blame.CONFIGURATION, "The engine refuses these flags together: add a rule to the study."),
    Cause.CRASHED: (Blame.CONFIGURATION, "The server ended by itself: its log is kept with the trial."),
    Cause.NOT_READY: (Blame.CONFIGURATION, "The server did not answer in time: raise limits.startup_s if it compiles."),
    Cause.DEGRADED: (Blame.CONFIGURATION, "Too many requests failed under this load."),
    Cause.SLO: (Blame.CONFIGURATION, "It ran, but broke a constraint of the goals at every load level."),
    Cause.QUALITY: (
        Blame.CONFIGURATION,
        "Its answers drift too far from the default's: keep these flags as they are, or allow more drift in `quality`.",
    ),
    Cause.REJECTED: (Blame.CONFIGURATION, "A rule knew it to be wrong; nothing was launched."),
    Cause.PRUNED: (Blame.CONFIGURATION, "The pruner gave it up: it was behind the trials before it."),
    Cause.DEVICE_BUSY: (Blame.MACHINE, "Another process holds the device's memory: free it."),
    Cause.PORT_IN_USE: (Blame.MACHINE, "Another process took the port; another port is tried."),
    Cause.NODE_LOST: (Blame.MACHINE, "The node or job is gone."),
    Cause.WORKER_LOST: (Blame.MACHINE, "The worker died in mid-trial; another one takes the parameters up."),
    Cause.DEPLOYER_FAILED: (Blame.MACHINE, "The server could not be started at all: see the reason."),
    Cause.BENCHMARK_FAILED: (Blame.MACHINE, "The load client failed, or its report cannot be believed."),
    Cause.MACHINE: (Blame.MACHINE, "The machine failed, not the configuration."),
    Cause.REPEATED: (Blame.NOBODY, "Another worker measures the same server at this moment: nothing was launched."),
    Cause.STOPPED: (Blame.NOBODY, "Interrupted; the parameters wait in the queue."),
    Cause.CANCELLED: (Blame.NOBODY, "Cancelled by a user."),
}


class Status(StrEnum):
    """What a deployer knows about something that it started."""

    QUEUED = "queued"  # it waits for a machine, for `limits.queue_s` at most; its start-up has not begun
    STARTING = "starting"  # wait on, until the deadline
    RUNNING = "running"  # the process lives; it may not answer yet
    EXITED = "exited"  # it ended by itself: ask the engine what its log means
    LOST = "lost"  # the node or job is gone: not the configuration's fault


class Phase(StrEnum):
    """Where an attempt is. Their durations are kept with each trial."""

    QUEUE = "queue"
    START_UP = "start_up"
    WARM_UP = "warm_up"
    QUALITY = "quality"
    BENCHMARK = "benchmark"
    TEARDOWN = "teardown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a failure means: the cause, the line that shows it, and what to do where the line tells it exactly."""

    cause: Cause
    evidence: str
    exact_advice: str = ""  # "": the cause's own says it all


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model to serve: what clients call it, where its files are, where its tokenizer is.

    `facts` are what rules between flags may ask of it (`model_heads`), as far as its config.json could be read here.
    """

    name: str
    path: str
    tokenizer: str
    facts: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """One configuration: flags by canonical name (underscores, no dashes) and environment variables."""

    flags: Mapping[str, Scalar] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Equal for equal configurations, whatever the order."""
        return json.dumps([dict(self.flags), dict(self.env)], sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What one worker owns on one host: GPUs by UUID, or CPU cores where there are none."""

    name: str
    host: str
    gpus: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    elsewhere: bool = False  # its servers run on other machines; its GPUs only count what each of them is given

    @property
    def devices(self) -> tuple[str, ...]:
        """What it owns, one name each; the same name everywhere on its host."""
        own = () if self.elsewhere else self.gpus
        return (*(f"gpu-{gpu}" for gpu in own), *(f"core-{core}" for core in self.cores))


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything needed to start one server, and nothing about where.

    The deployer puts the address that it chose in the place of the arguments `{host}` and `{port}`.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)  # variable -> name of the variable that holds it here
    gpus: int = 0
    image: str | None = None
    model: Model
    ready_path: str = "/health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a deployer will send, complete and printable."""

    deployer: str
    name: str
    body: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """The name of something that runs; any process can load it from JSON and stop it."""

    deployer: str
    name: str
    ref: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a deployer saw when it looked. `exit_code` only where the system tells one."""

    status: Status
    exit_code: int | None = None
    detail: str = ""
    diagnosis: Diagnosis | None = None  # where it knows itself why the server ended; goes before the log


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that can be asked: base URL, the model's name in requests, and the variable that holds its key."""

    url: str
    model: str
    key_variable: str = ""


class LoadKind(StrEnum):
    """How a load client decides when to send the next request."""

    CONCURRENCY = "concurrency"  # closed loop: so many requests in flight at any time
    REQUEST_RATE = "request_rate"  # open loop: so many requests a second arrive, Poisson
    CONSTANT_RATE = "constant_rate"  # open loop: so many requests a second arrive, evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One load level: requests in flight, or requests a second."""

    kind: LoadKind = LoadKind.CONCURRENCY
    value: float
    scenario: str = ""

    def __str__(self) -> str:
        return f"{self.scenario} {self.kind.value}={self.value:g}".lstrip()


Metrics = Mapping[str, float]  # names carry unit and statistic; optuna_tuner.metrics holds the vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One load level's numbers. `report` is the raw report's path inside the trial's folder."""

    load: Load
    metrics: Metrics
    report: str = ""
    probe: bool = False  # it only looked for a load: the trial's figures are another client's
    seen: Metrics = field(default_factory=dict)  # of server, GPUs and client meanwhile; optuna_tuner.metrics.SEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSlo:
    """Bounds that one request must keep to count as good, in milliseconds; None is no bound."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said to one prompt. Tokens and their log-probabilities (in nats) only where it gives them."""

    text: str
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The baseline's answers, prompt by prompt: what all other answers of a study are held against."""

    prompts: tuple[str, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far a server's answers are from the reference's. The baseline's own: from those that it gives once more."""

    by_prompt: tuple[float, ...]  # share of each answer that agrees, 0 to 1
    logprob_drift: float | None  # nats a token; None where one side gives no log-probabilities, or nothing agrees

    @property
    def agreement(self) -> float:
        """The mean over the prompts, 0 to 1."""
        return sum(self.by_prompt) / len(self.by_prompt)

    @property
    def metrics(self) -> Metrics:
        """By the names of the vocabulary."""
        known = {} if self.logprob_drift is None else {"quality_logprob_drift": self.logprob_drift}
        return {"quality_agreement": self.agreement, **known}
