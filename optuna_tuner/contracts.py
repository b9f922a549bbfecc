"""What an engine, a deployer and a benchmark promise. Interfaces only."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel

from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.client_site import ClientSite, Program, Vantage
from optuna_tuner.clock import Deadline
from optuna_tuner.load_range import LoadRange
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.values import (
    Diagnosis,
    Endpoint,
    Handle,
    Json,
    Launch,
    Load,
    Measurement,
    Metrics,
    Model,
    Params,
    Request,
    RequestSlo,
    Scalar,
    Slot,
    State,
)


class Plugin(ABC):
    """What all three have: a kind, typed options from the study file, and one line that says what it is."""

    kind: ClassVar[str]
    summary: ClassVar[str]
    Options: ClassVar[type[BaseModel]]  # frozen, extra="forbid"; fields described, for `schema` and `plugins`

    @abstractmethod
    def __init__(self, options: BaseModel) -> None:
        """Keep the options. Constructing a plugin does nothing else: no file, network or process."""


class Engine(Plugin):
    """One inference server program. All methods that are not given an endpoint are pure."""

    runs_already: ClassVar[bool] = False  # True: it is not started; for deployers of which the same is true

    @abstractmethod
    def canonical(self, flag: str) -> str:
        """The one name of a flag: underscores, aliases resolved (`-tp`, `tp-size` -> `tensor_parallel_size`)."""

    def catalogue(self) -> Catalogue | None:
        """The flags of exactly the version that the study names; None where it names none, or that is not known."""
        return None

    @abstractmethod
    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """The launch that serves `model` with the study's fixed flags overridden by `params`."""

    @abstractmethod
    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:
        """Why these parameters cannot work on this slot, as far as it is known without launching; else None."""

    @abstractmethod
    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """What a server's log means after it ended or failed. Never raises; unknown is `Cause.CRASHED`."""

    def retractions(self, endpoint: Endpoint, log: str) -> int | None:
        """How many requests lost their place in the KV cache since the start; None where the server does not tell."""
        del endpoint, log
        return None

    def told(self, page: str) -> Metrics:
        """What a page of the server's `/metrics` says, by names of `optuna_tuner.metrics.SEEN` without a statistic.

        Pure; never raises. Counts are since the server's start. Nothing by default.
        """
        del page
        return {}

    @abstractmethod
    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:
        """What the running server resolved, by canonical flag name; empty where it does not tell."""

    def identity(self, model: Model, params: Params, slot: Slot) -> Mapping[str, Scalar]:
        """What the server will effectively run with, as far as that is certain: equal ones are one server.

        Flags by canonical name, fixed ones too, and variables of the environment, each after a `$`. What cannot change
        the server, as a flag with its default, is left out; what may is not. By default the launch as it stands.
        """
        launch = self.render(model, params, slot)
        return {"argv": json.dumps(launch.argv), **{f"${name}": value for name, value in launch.env.items()}}

    def settled(self, resolved: Mapping[str, Scalar]) -> frozenset[str]:
        """The flags of `identity` that a read-back settles: what was asked of them matters no more once it is known.

        `resolved` is what `effective_config` gave. Two servers with equal read-backs whose identities differ in these
        flags alone are one server; so all that follows from such a flag must be told as well. None by default.
        """
        del resolved
        return frozenset()

    def remarks(self, model: Model, params: Params, slot: Slot) -> tuple[str, ...]:
        """What the engine is known to rewrite or to warn of in this configuration, a line each, for people."""
        del model, params, slot
        return ()

    def memory(self, params: Params) -> tuple[Layout, Settings] | None:
        """What the flags say of memory, the study's fixed ones among them; None where that is not certain.

        It may be refused for that: nothing else in a launch may shrink weights, move them off the GPU, or load others.
        """
        del params
        return None

    def expects(self, flag: str, value: Scalar) -> float:
        """The logarithm of the factor by which servers are faster with it, as its guide has it; 0 by default. Pure."""
        del flag, value
        return 0.0

    @abstractmethod
    def identify(self, endpoint: Endpoint) -> str | None:
        """The model name that the server at the endpoint says it serves; None while it does not answer."""


class Deployer(Plugin):
    """Starts a launch somewhere. Every method may raise DeployerError; none waits for readiness."""

    host_bound: bool = False  # True: only the host that started a server can see and stop it
    runs_already: ClassVar[bool] = False  # True: its servers are started and ended by somebody else
    runs_own_programs: ClassVar[bool] = False  # True: servers are programs that are installed on the worker's host

    def misfits(self, study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What a study file says outside of `deployer` that this deployer cannot do: the path of the value, and why.

        Pure. Any piece of `study`, the file as it was read, may be missing or of another type. Nothing by default.
        """
        del study
        yield from ()

    def prepare(self, launch: Launch) -> None:
        """Get ready what every launch of a study needs and what takes its time, such as an image; once, before all.

        Raises EnvironmentFaultError, which says what is missing and how to get it. Nothing by default.
        """
        del launch

    @property
    def gpus(self) -> int:
        """GPUs that each server is given elsewhere; on this host (`host_bound`) the workers' slots tell."""
        return 0

    @property
    def remark(self) -> str:
        """What people must know of figures that are taken through it, in one line; empty for nothing."""
        return ""

    def process(self, handle: Handle) -> int | None:
        """The pid of the server's main process where it runs on this machine and can be seen; None by default."""
        del handle
        return None

    @property
    def lag_s(self) -> float:
        """Seconds for which `state` may still call a server running after its machine has gone."""
        return 0.0

    @property
    def hosts_clients(self) -> bool:
        """Whether load clients run where its servers do, by `client_site`."""
        return False

    def client_site(self, handle: Handle) -> ClientSite | None:
        """Where load clients of this server run; None for the worker's machine."""
        del handle
        return None

    def planned_client(self, server: Request, program: Callable[[Vantage], Program], limit_s: float) -> Request | None:
        """What would be sent for a load client of this server, pure and printable; None where nothing is."""
        del server, program, limit_s
        return None

    @abstractmethod
    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:
        """The complete request, pure and printable. `name` is unique and deterministic; `labels` find it again."""

    @abstractmethod
    def start(self, request: Request, folder: Path) -> Handle:
        """Send the request and return at once with a handle that any process can use. `folder` is the trial's."""

    @abstractmethod
    def state(self, handle: Handle) -> State:
        """What is known now: starting, running, exited or lost."""

    @abstractmethod
    def endpoint(self, handle: Handle) -> Endpoint | None:
        """Where it can be reached from here; None while that is not known."""

    @abstractmethod
    def log(self, handle: Handle) -> str:
        """The server's output so far: all of it, or its first and last part where it is long."""

    @abstractmethod
    def stop(self, handle: Handle, grace_s: float) -> None:
        """Make sure that it no longer runs, gently for `grace_s` seconds. Stopping what is gone is fine.

        Returns only when it is gone; raises DeployerError when that cannot be confirmed.
        """

    @abstractmethod
    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        """Everything of this deployer on this host or cluster that bears these labels, running or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a benchmark shall load, and where its raw reports go."""

    endpoint: Endpoint
    model: Model
    folder: Path
    seed: int  # keeps prompts apart between trials
    slo: RequestSlo
    success_rate: float  # share of requests that must complete, 0 to 1
    slot: Slot
    service_type: str = ""  # the kind of the engine, as the lines of single requests name it
    site: ClientSite | None = None  # its client shall run there; None for this machine


class Benchmark(Plugin):
    """A load client."""

    @abstractmethod
    def metrics(self) -> frozenset[str]:
        """Names of the metrics that each measurement will carry, from `optuna_tuner.metrics` or its own."""

    @abstractmethod
    def loads(self) -> tuple[Load, ...]:
        """The load levels that `run` will measure, in order; none where `searched` has a range."""

    def searched(self) -> LoadRange | None:
        """The range in which each trial looks for the most load, by `probe`; None where it measures `loads`."""
        return None

    def mean_tokens(self) -> tuple[int, int] | None:
        """Input and output tokens of a request, as a mean; None where it is not known before a request is sent."""
        return None

    @abstractmethod
    def warm_up(self, target: Target, deadline: Deadline) -> None:
        """Bring the server to its working temperature; measures nothing."""

    @abstractmethod
    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        """Measure one level after another on the one warm server. Closing the iterator ends the client.

        Raises BenchmarkError when the client failed or its report cannot be true, DegradedError when too many
        requests failed, StoppedError when the deadline's flag is set.
        """

    def probe(self, target: Target, loads: Iterable[Load], deadline: Deadline) -> Iterator[Measurement]:
        """Measure these loads of the range as `run` does, one by one as they come: the next follows from the last.

        A load under which too many requests fail is an answer too, without other figures than their counts.
        """
        raise NotImplementedError(f"{self.kind} searches for no load")

    def report(self, target: Target, load: Load, deadline: Deadline) -> Measurement | None:
        """The figures of the load that was found, where the client of the probes does not report them; else None."""
        del target, load, deadline
        return None

    def bound_here(self) -> str | None:
        """Why its client can run on the worker's machine alone; None where it is a program that runs at a `site`."""
        return f"the benchmark {self.kind} runs beside the worker"

    def program(self, target: Target, vantage: Vantage) -> Program:
        """The program that `run` starts first, pure; of a benchmark that is not `bound_here`."""
        raise NotImplementedError(f"{self.kind} is no program")

    @abstractmethod
    def missing(self) -> str | None:
        """What this benchmark lacks on this machine and how to get it, in one line; None when nothing."""


class Kinds(Protocol):
    """Looks plugins up by kind. `group` is "engines", "deployers" or "benchmarks"."""

    def names(self, group: str) -> tuple[str, ...]:
        """All installed kinds of a group, sorted."""

    def plugin(self, group: str, kind: str) -> type[Plugin]:
        """The class of one kind. Raises UnknownPluginError, which names the known ones."""
