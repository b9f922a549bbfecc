"""Plugins that exist only to be named by study files in these tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Benchmark, Deployer, Engine, Plugin, Target
from optuna_tuner.errors import Fault, UnknownPluginError
from optuna_tuner.metrics import METRICS
from optuna_tuner.values import (
    Diagnosis,
    Endpoint,
    Handle,
    Launch,
    Load,
    Measurement,
    Model,
    Params,
    Request,
    Scalar,
    Slot,
    State,
)

ALIASES = {"tp": "tensor_parallel_size", "tp_size": "tensor_parallel_size"}


class SecretSpec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str


class EngineOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str | None = None
    image: str | None = None
    command: tuple[str, ...] | None = None
    flags: Mapping[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    env: Mapping[str, str] = Field(default_factory=dict)
    secrets: Mapping[str, SecretSpec] = Field(default_factory=dict)


class DeployerOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    grace_s: float = Field(default=5, gt=0)


class BenchmarkOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: str | list[str]
    concurrency: tuple[int, ...] = Field(default=(1,), min_length=1)
    requests: int = Field(default=40, ge=1)
    max_time_s: float = Field(default=60, gt=0)
    additional_params: Mapping[str, JsonValue] = Field(default_factory=dict)


class NamedEngine(Engine):
    """An engine that only knows the names of flags."""

    kind = "named"
    summary = "An engine that only knows the names of flags."
    Options = EngineOptions

    def __init__(self, options: BaseModel) -> None:
        self.options = options

    def canonical(self, flag: str) -> str:
        name = flag.lstrip("-").replace("-", "_")
        return ALIASES.get(name, name)

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        raise NotImplementedError

    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:
        raise NotImplementedError

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        raise NotImplementedError

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:
        raise NotImplementedError

    def identify(self, endpoint: Endpoint) -> str | None:
        raise NotImplementedError


class NamedDeployer(Deployer):
    """A deployer that only has options."""

    kind = "local"
    summary = "A deployer that only has options."
    Options = DeployerOptions

    def __init__(self, options: BaseModel) -> None:
        self.options = options

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:
        raise NotImplementedError

    def start(self, request: Request, folder: Path) -> Handle:
        raise NotImplementedError

    def state(self, handle: Handle) -> State:
        raise NotImplementedError

    def endpoint(self, handle: Handle) -> Endpoint | None:
        raise NotImplementedError

    def log(self, handle: Handle) -> str:
        raise NotImplementedError

    def stop(self, handle: Handle, grace_s: float) -> None:
        raise NotImplementedError

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        raise NotImplementedError


class NamedBenchmark(Benchmark):
    """A benchmark that only says what it delivers."""

    kind = "http"
    summary = "A benchmark that only says what it delivers."
    Options = BenchmarkOptions

    def __init__(self, options: BaseModel) -> None:
        self.options = options

    def metrics(self) -> frozenset[str]:
        return frozenset(METRICS) - {"itl_ms.p99"}

    def loads(self) -> tuple[Load, ...]:
        raise NotImplementedError

    def warm_up(self, target: Target, deadline: Deadline) -> None:
        raise NotImplementedError

    def run(self, target: Target, deadline: Deadline) -> Iterator[Measurement]:
        raise NotImplementedError

    def missing(self) -> str | None:
        raise NotImplementedError


class NamedKinds:
    """As many plugins as a study file needs."""

    plugins: ClassVar[Mapping[str, Mapping[str, type[Plugin]]]] = {
        "engines": {"llama_cpp": NamedEngine, "sglang": NamedEngine, "vllm": NamedEngine},
        "deployers": {"docker": NamedDeployer, "local": NamedDeployer},
        "benchmarks": {"genai_bench": NamedBenchmark, "http": NamedBenchmark},
    }

    def names(self, group: str) -> tuple[str, ...]:
        return (*sorted(self.plugins[group]), "unloadable")

    def plugin(self, group: str, kind: str) -> type[Plugin]:
        if kind == "unloadable":
            raise ImportError("no module named 'heavy'")
        if kind not in self.plugins[group]:
            raise UnknownPluginError([Fault("", 0, 0, f"{group[:-1]}.kind", f"unknown kind {kind}")])
        return self.plugins[group][kind]
