"""Landscapes made with the simulation of `optuna_tuner.simulation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, log

import numpy as np

from optuna_tuner.engines.known_values import FACTS
from optuna_tuner.memory.facts import of
from optuna_tuner.memory.gpus import Gpu
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.search.encoding import Matrix
from optuna_tuner.search.grid import configurations
from optuna_tuner.search.hypervolume import front_of
from optuna_tuner.simulation.accelerators import accelerator
from optuna_tuner.simulation.levels import Level
from optuna_tuner.simulation.outcome import Outcome, outcome
from optuna_tuner.simulation.place import Place
from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.spec.space import Parameter
from optuna_tuner.values import Json, Model, Scalar, Slot
from search.landscape import Configuration, Noise, Truth, best, noisy, scores

LENGTH = {"sglang": "context_length", "vllm": "max_model_len"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A metric to make best under promises: each metric at most so much; and one that is `traded` for it, if any."""

    metric: str
    maximize: bool
    at_most: Mapping[str, float]
    traded: str | None = None

    def trading(self, metric: str) -> Goal:
        """The same with one of the promises made an objective: as little as can be."""
        rest = {name: limit for name, limit in self.at_most.items() if name != metric}
        return replace(self, at_most=rest, traded=metric)


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """A `Landscape` whose truth is computed when it is asked for, and kept.

    `also` are flags that every configuration has; `config` is the model's config.json.
    """

    name: str
    about: str
    engine: str
    version: str
    config: Mapping[str, Json]
    gpu_name: str
    gpus: int
    max_model_len: int
    traffic: Traffic
    goal: Goal
    space: Mapping[str, Parameter]
    default: Configuration
    first: Sequence[Configuration] = ()
    also: Configuration = field(default_factory=dict)
    noise: Noise = field(default_factory=Noise)
    _known: dict[tuple[tuple[str, Scalar], ...], Truth] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def place(self) -> Place:
        """Where its servers run."""
        return Place(
            version=self.version,
            accelerator=accelerator(self.gpu_name),
            gpus=self.gpus,
            facts=self.facts,
            max_model_len=self.max_model_len,
        )

    @cached_property
    def facts(self) -> ModelFacts:
        """What the memory model knows of the model."""
        return of(self.config)

    @property
    def gpu(self) -> Gpu:
        """One of the GPUs."""
        return self.place.accelerator.gpu

    @cached_property
    def model(self) -> Model:
        """What rules may ask of the model; its files are nowhere."""
        facts = self.facts
        told = {
            "model_heads": facts.heads,
            "model_kv_heads": facts.kv_heads,
            "model_experts": facts.experts,
            "model_uses_mla": facts.is_mla,
            "compute_capability": round(10 * float(self.gpu.capability)),
        }
        known: dict[str, Scalar] = {name: value for name, value in told.items() if name in FACTS}
        return Model(name=self.name, path=self.name, tokenizer=self.name, facts=known)

    @property
    def slot(self) -> Slot:
        """All GPUs of the machine."""
        return Slot(name="slot-0", host="simulated", gpus=tuple(f"GPU-{number}" for number in range(self.gpus)))

    @property
    def fixed(self) -> Configuration:
        """Flags that every configuration has, the length that is promised among them."""
        return {LENGTH[self.engine]: self.max_model_len, **self.also}

    @property
    def maximize(self) -> bool:
        """Whether a larger objective is better."""
        return self.goal.maximize

    @property
    def constraint_names(self) -> tuple[str, ...]:
        """The metrics with a promise."""
        return tuple(self.goal.at_most)

    @cached_property
    def optimum(self) -> float:
        """The true objective of the best feasible configuration; the first call looks at all of them."""
        return best(map(self.truth, configurations(self.space)), maximize=self.maximize)

    @cached_property
    def front(self) -> Matrix | None:
        """Of all configurations; the first call looks at them."""
        if self.goal.traded is None:
            return None
        return front_of(scores(map(self.truth, configurations(self.space)), maximize=self.maximize))

    def outcome(self, params: Configuration) -> Outcome:
        """All that the simulation tells of it."""
        return outcome(self.engine, self.place, self.traffic, {**self.also, **params})

    def truth(self, params: Configuration) -> Truth:
        """What this configuration gives, without noise. Raises ValueError for one that is not of the space."""
        key = tuple(params.items())
        if key not in self._known:
            self._check(params)
            self._known[key] = self._scored(self.outcome(params))
        return self._known[key]

    def observe(self, params: Configuration, rng: np.random.Generator) -> Truth:
        """What a trial of it sees."""
        return noisy(self.truth(params), self.noise, rng)

    def _check(self, params: Configuration) -> None:
        strange = [name for name in params if name not in self.space or not self.space[name].applies(params)]
        if strange:
            raise ValueError(f"{strange[0]} does not apply in this configuration of {self.name}")
        for name, parameter in self.space.items():
            if parameter.applies(params) and not (name in params and parameter.takes(params[name])):
                raise ValueError(f"{name} lacks a value of the space of {self.name}")

    def _scored(self, found: Outcome) -> Truth:
        if found.cause is not None:
            return Truth(cause=found.cause, cost_s=found.seconds)
        levels = [self._score(each) for each in found.levels]
        kept = [place for place, score in enumerate(levels) if max(score[1]) <= 0]
        better = max if self.maximize else min
        least = min(range(len(levels)), key=lambda place: max(levels[place][1]))
        chosen = better(kept, key=levels.__getitem__) if kept else least
        value, excess = levels[chosen]
        traded = found.levels[chosen].metrics[self.goal.traded] if self.goal.traded else None
        rungs = self._rungs(found, levels)
        return Truth(objective=value, constraints=excess, cost_s=found.seconds, rungs=rungs, traded=traded)

    def _score(self, level: Level) -> tuple[float, tuple[float, ...]]:
        excess = tuple(log(level.metrics[name] / limit) for name, limit in self.goal.at_most.items())
        return level.metrics[self.goal.metric], excess

    def _rungs(
        self, found: Outcome, levels: Sequence[tuple[float, tuple[float, ...]]]
    ) -> tuple[tuple[float, float], ...]:
        if len(levels) == 1:
            return ()
        at, worst, rungs = found.start_s, 0.0 if self.maximize else inf, []
        for level, (value, excess) in zip(found.levels, levels, strict=True):
            at += level.seconds
            rungs.append((value if max(excess) <= 0 else worst, at))
        return tuple(rungs)
