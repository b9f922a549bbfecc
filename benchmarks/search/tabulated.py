"""Landscapes that lie in a folder as tables: every configuration's truth, as somebody else computed it.

`NAME.json` has the space (`type` cat, ord or logord; `choices`; `when`), the default, the heuristics, the names of the
constraints and the noise; `NAME.npz` has arrays whose rows are the configurations, the first flag changing slowest:
`status` (0 runs and keeps every constraint, 1 breaks one, 2 out of memory at the start, 3 refused), `y`, `c` (log of
metric over limit), `cost`, and at each rung `ry` and `rcost`. The objective is always to be made larger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optuna_tuner.memory.facts import of
from optuna_tuner.memory.gpus import Gpu, gpu
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.spec.space import Choice, Parameter
from optuna_tuner.values import Cause, Json, Model, Scalar, Slot
from search.landscape import Configuration, Noise, Truth, noisy
from search.landscapes import LLAMA_8B, LLAMA_70B

TABLES = Path(__file__).parents[3] / "shared" / "data" / "landscapes"  # beside the checkout, where there are some
CAUSES = {2: Cause.OUT_OF_MEMORY_POOL, 3: Cause.BAD_COMBINATION}


@dataclass(frozen=True, kw_only=True)
class Serves:
    """What rules and the memory model are asked about, and tables have in their text alone.

    `max_model_len` is what the refused combinations imply: without chunked prefill a step must hold a whole prompt.
    """

    config: Mapping[str, Json]
    gpu_name: str
    gpus: int
    max_model_len: int


SERVES = {
    "vllm_h100_llama70b_chat": Serves(config=LLAMA_70B, gpu_name="H100", gpus=8, max_model_len=8192),
    "vllm_l40s_llama8b_rate": Serves(config=LLAMA_8B, gpu_name="L40S", gpus=4, max_model_len=16384),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tabulated:
    """A `Landscape` whose truth is looked up."""

    name: str
    told: Mapping[str, Any]
    rows: Mapping[str, NDArray[np.float64]]
    engine: str = "vllm"
    version: str = "0.24.0"
    maximize: bool = True
    front: None = None

    @property
    def about(self) -> str:
        """In its author's words."""
        return str(self.told["doc"])

    @cached_property
    def space(self) -> Mapping[str, Parameter]:
        """Its flags; numbers that have an order are choices of numbers."""
        return {
            name: Choice(type="choice", choices=tuple(entry["choices"]), when=entry.get("when") or {})
            for name, entry in self.told["space"].items()
        }

    @property
    def default(self) -> Configuration:
        """The engine's own."""
        default: Configuration = self.told["default"]
        return default

    @property
    def first(self) -> Sequence[Configuration]:
        """What its author would try first."""
        first: Sequence[Configuration] = self.told["heuristics"]
        return first

    @property
    def fixed(self) -> Configuration:
        """The longest request, where it is known."""
        return {"max_model_len": self._serves.max_model_len} if self._serves else {}

    @property
    def _serves(self) -> Serves | None:
        return SERVES.get(self.name)

    @cached_property
    def facts(self) -> ModelFacts | None:
        """Of the model, where it is known."""
        return of(self._serves.config) if self._serves else None

    @property
    def gpu(self) -> Gpu | None:
        """One of the machine, where it is known."""
        return gpu(self._serves.gpu_name) if self._serves else None

    @property
    def model(self) -> Model:
        """Its name; its files are nowhere."""
        return Model(name=self.name, path=self.name, tokenizer=self.name)

    @property
    def slot(self) -> Slot:
        """The machine's GPUs; none where it is not known."""
        count = self._serves.gpus if self._serves else 0
        return Slot(name="slot-0", host="tabulated", gpus=tuple(f"GPU-{number}" for number in range(count)))

    @property
    def constraint_names(self) -> tuple[str, ...]:
        """As its author named them."""
        return tuple(self.told["constraint_names"])

    @property
    def noise(self) -> Noise:
        """As its author set it."""
        return Noise(objective=self.told["noise_objective"], constraints=self.told["noise_constraints"])

    @cached_property
    def optimum(self) -> float:
        """The best true objective among the feasible."""
        return float(self.rows["y"][self.rows["status"] == 0].max())

    def truth(self, params: Configuration) -> Truth:
        """What this configuration gives, without noise. Raises ValueError for one that is not of the space."""
        row = self._row(params)
        cost = float(self.rows["cost"][row])
        status = int(self.rows["status"][row])
        if status in CAUSES:
            return Truth(cause=CAUSES[status], cost_s=cost)
        rungs: tuple[tuple[float, float], ...] = ()
        if self.told["rungs"]:
            pairs = zip(self.rows["ry"][row], self.rows["rcost"][row], strict=True)
            rungs = tuple((float(value), float(at)) for value, at in pairs)
        excess = tuple(map(float, self.rows["c"][row]))
        return Truth(objective=float(self.rows["y"][row]), constraints=excess, cost_s=cost, rungs=rungs)

    def observe(self, params: Configuration, rng: np.random.Generator) -> Truth:
        """What a trial of it sees."""
        return noisy(self.truth(params), self.noise, rng)

    def _row(self, params: Configuration) -> int:
        """A flag that does not apply has its first choice."""
        row = 0
        for name, parameter in self.space.items():
            choices = parameter.values()
            value: Scalar = params.get(name, choices[0])
            if not parameter.takes(value) or (name in params) is not parameter.applies(params):
                raise ValueError(f"{name}={value!r} is not of the space of {self.name}")
            row = row * len(choices) + choices.index(value)
        return row


def tabulated(folder: Path) -> tuple[Tabulated, ...]:
    """All landscapes of this folder; none where there is no such folder."""
    return tuple(_read(path) for path in sorted(folder.glob("*.json")))


def _read(path: Path) -> Tabulated:
    with np.load(path.with_suffix(".npz")) as rows:
        arrays = {name: rows[name] for name in rows.files}
    return Tabulated(name=path.stem, told=json.loads(path.read_text(encoding="utf-8")), rows=arrays)
