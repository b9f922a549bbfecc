"""A model of vLLM or SGLang in their place: a real HTTP server without a GPU, to rehearse whole studies."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.argv import Spelling
from optuna_tuner.engines.known_values import told_by
from optuna_tuner.engines.options import EngineOptions
from optuna_tuner.engines.sglang import Sglang
from optuna_tuner.engines.vllm import Vllm
from optuna_tuner.errors import NotFoundError
from optuna_tuner.memory import facts
from optuna_tuner.simulation.accelerators import accelerator
from optuna_tuner.simulation.outcome import known_flags
from optuna_tuner.values import Diagnosis, Endpoint, Launch, Metrics, Model, Params, Scalar, Slot

SERVER = "optuna_tuner.simulation.serve"
TRUE: Mapping[str, type[Sglang | Vllm]] = {"sglang": Sglang, "vllm": Vllm}


class Likeness(BaseModel):
    """Which engine is simulated. A base of its own, so that it is read before the flags, which are of that engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    like: Literal["sglang", "vllm"] = Field(description="The engine that is simulated: its flags, rules and log.")


class SimulatedOptions(EngineOptions, Likeness):
    """Options of `engine: {kind: simulated}`. Flags, version and the rest are those of the engine that it is like."""

    gpu: str = Field(default="H100", description="Kind of the simulated GPUs: H100, H200, B200, L40S or L4.")
    gpus: int = Field(default=1, ge=1, le=64, description="How many simulated GPUs the server has.")
    config: Mapping[str, JsonValue] | None = Field(
        default=None,
        description="The model's config.json, or of it what the memory model needs; default: the one at model.path.",
        examples=[{"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32}],
    )
    startup_s: float = Field(default=0.5, ge=0, description="Seconds that a start takes; a real one takes minutes.")

    @classmethod
    def spelling_of(cls, options: Mapping[str, object]) -> Spelling:
        """That of the engine that it is like; for a word that is none, which is a fault by itself, any."""
        return TRUE.get(str(options.get("like")), Vllm).Options.spelling_of(options)

    @field_validator("gpu")
    @classmethod
    def _is_known(cls, given: str) -> str:
        try:
            accelerator(given)
        except NotFoundError as error:
            raise ValueError(str(error)) from error
        return given

    @field_validator("config")
    @classmethod
    def _can_be_read(cls, given: Mapping[str, JsonValue] | None) -> Mapping[str, JsonValue] | None:
        if given is not None:
            facts.of(given)
        return given


class Simulated(Engine):
    """The true engine in everything but the server: what it launches is a model of that server, on no GPU."""

    kind = "simulated"
    summary = "no inference and no measurement: a model of vLLM or SGLang behind real HTTP, to rehearse without a GPU"
    Options = SimulatedOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = SimulatedOptions.model_validate(options)
        shared = self._options.model_dump(include=set(EngineOptions.model_fields) - {"command"})
        true = TRUE[self._options.like]
        self._true = true(true.Options.model_validate({**shared, "command": self._command()}))

    def canonical(self, flag: str) -> str:
        """The one name of a flag: the true engine's."""
        return self._true.canonical(flag)

    def catalogue(self) -> Catalogue | None:
        """The flags of the version that the study names."""
        return self._true.catalogue()

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """The true engine's launch, with the simulated server in the place of its program. It takes no GPU."""
        return self._true.render(model, params, replace(slot, gpus=()))

    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:
        """By the true engine's rules, as if the slot had the simulated GPUs."""
        if self._options.config is None and not model.facts:
            return f"the simulation needs the model's config: give engine.config, or a config.json at {model.path}"
        return self._true.reject(self._told(model), params, self._imagined(slot))

    def identity(self, model: Model, params: Params, slot: Slot) -> Mapping[str, Scalar]:
        """The true engine's."""
        return self._true.identity(self._told(model), params, self._imagined(slot))

    def remarks(self, model: Model, params: Params, slot: Slot) -> tuple[str, ...]:
        """That it is simulated, which flags that takes no notice of, and what is known of the true engine."""
        given = {self.canonical(flag) for flag in (*self._options.flags, *params.flags)}
        idle = sorted(given - known_flags(self._options.like) - {"context_length"})
        ignored = f"; it takes no notice of {', '.join(idle)}" if idle else ""
        own = f"simulated, not measured: a model of {self._options.like}{ignored}"
        return (own, *self._true.remarks(self._told(model), params, self._imagined(slot)))

    def expects(self, flag: str, value: Scalar) -> float:
        """As of the true engine."""
        return self._true.expects(flag, value)

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """As the true engine reads its own log."""
        return self._true.diagnose(log, exit_code)

    def retractions(self, endpoint: Endpoint, log: str) -> int | None:
        """As the true engine tells it."""
        return self._true.retractions(endpoint, log)

    def told(self, page: str) -> Metrics:
        """As the true engine tells it."""
        return self._true.told(page)

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:
        """As the true engine tells it, and far less of it."""
        return self._true.effective_config(endpoint, log)

    def settled(self, resolved: Mapping[str, Scalar]) -> frozenset[str]:
        """As for the true engine."""
        return self._true.settled(resolved)

    def identify(self, endpoint: Endpoint) -> str | None:
        """The model that `/v1/models` lists."""
        return self._true.identify(endpoint)

    def _command(self) -> tuple[str, ...]:
        """The program, and what it is to simulate."""
        options = self._options
        setting = {
            "like": options.like,
            "version": options.named_version or options.spelling.catalogue.version,
            "gpu": options.gpu,
            "gpus": options.gpus,
            "startup_s": options.startup_s,
            **({"config": dict(options.config)} if options.config is not None else {}),
        }
        return (*(options.command or (sys.executable, "-m", SERVER)), json.dumps(setting, separators=(",", ":")))

    def _told(self, model: Model) -> Model:
        """The model with what rules may ask of it and of the simulated GPU."""
        return replace(model, facts={**model.facts, **self._facts})

    @cached_property
    def _facts(self) -> Mapping[str, Scalar]:
        config = self._options.config
        capability = round(10 * float(accelerator(self._options.gpu).gpu.capability))
        return {**(told_by(facts.of(config)) if config else {}), "compute_capability": capability}

    def _imagined(self, slot: Slot) -> Slot:
        """The slot as if it had the simulated GPUs."""
        return replace(slot, gpus=tuple(f"simulated-{number}" for number in range(self._options.gpus)))
