"""Where a server runs and what it serves: all that is not a flag."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from optuna_tuner.memory.gpus import GIB
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.memory.weights import stage_bytes
from optuna_tuner.simulation.accelerators import Accelerator
from optuna_tuner.simulation.shape import Shape, shape_of

DISK = 4.0 * GIB  # bytes a second from one local NVMe drive; its data sheet says more, loaders reach less
REFUSED_S = 15.0  # Python, imports and the flags' check; CPU launches of vLLM took 12 to 20 s
FAREWELL_S = 5.0  # until a server that was told to end is gone


@dataclass(frozen=True, kw_only=True)
class Place:
    """One host, one model, one version of one engine.

    Attributes:
        version: of the engine.
        accelerator, gpus: what the host has.
        facts: of the model.
        max_model_len: the longest sequence that is promised, in tokens.
        patience_s: a start that takes longer counts as failed.

    """

    version: str
    accelerator: Accelerator
    gpus: int
    facts: ModelFacts
    max_model_len: int
    patience_s: float = 900.0
    _weights: dict[tuple[Layout, str], float] = field(default_factory=dict, init=False, compare=False, repr=False)
    _shapes: dict[str, Shape] = field(default_factory=dict, init=False, compare=False, repr=False)

    def weights(self, layout: Layout, settings: Settings) -> float:
        """Bytes of weights on the fullest GPU."""
        key = layout, settings.quantization
        if key not in self._weights:
            self._weights[key] = max(stage_bytes(self.facts, layout, settings))
        return self._weights[key]

    def shape(self, settings: Settings) -> Shape:
        """What one step reads and computes."""
        key = settings.quantization
        if key not in self._shapes:
            self._shapes[key] = shape_of(self.facts, settings)
        return self._shapes[key]

    @cached_property
    def load_s(self) -> float:
        """Seconds to read the checkpoint, as it was saved, once."""
        saved = shape_of(self.facts, Settings())
        return (saved.shared_bytes + saved.expert_bytes) / DISK
