"""What the memory model knows of a model: its layers, what each one weighs and what each one remembers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

Runs = tuple[tuple["Layer", int], ...]


class Divide(StrEnum):
    """How a layout spreads a weight over the GPUs."""

    ATTENTION = "attention"  # over the GPUs that share the attention of one request
    TENSOR = "tensor"  # an equal share for each tensor parallel rank
    KV = "kv"  # likewise, but no smaller than one key/value head
    EXPERT = "expert"  # routed experts: over the expert parallel group where there is one
    WHOLE = "whole"  # the same on every GPU


class Memory(StrEnum):
    """What a layer keeps of the tokens that it has seen."""

    FULL = "full"  # keys and values of every token
    WINDOW = "window"  # of the last `window` tokens
    CHUNK = "chunk"  # of the current stretch of `window` tokens
    STATE = "state"  # one state of fixed size for each sequence
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Part:
    """Some weights of one kind. `elements` counts parameters, on all GPUs together.

    `quantizable` weights are those which engines quantize on request; `quantized` ones are so in the checkpoint.
    """

    elements: int
    divide: Divide = Divide.TENSOR
    quantizable: bool = True
    quantized: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """The fixed memory of one sequence in one layer, in elements: of the recurrence, and of the convolution before it.

    `dtype` is the recurrence's own data type, where the model's config names one.
    """

    recurrent: int
    convolution: int
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. `width` is key and value elements of one token and head; `latent` those of MLA, for all heads."""

    parts: tuple[Part, ...] = ()
    memory: Memory = Memory.FULL
    window: int = 0
    kv_heads: int = 0
    width: int = 0
    latent: int = 0
    state: State | None = None

    @property
    def parameters(self) -> int:
        """How many parameters it has."""
        return sum(part.elements for part in self.parts)


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a checkpoint is quantized: bits of a weight, its scales included, and what it wants the KV cache to be.

    `padding` is by what factor engines enlarge routed experts as they load them.
    """

    method: str
    bits: float
    kv_dtype: str = ""
    padding: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """All that the memory model needs of one model; made by `optuna_tuner.memory.facts`.

    Attributes:
        architecture: the class name or model type that the config gives.
        dtype: of weights that are not quantized, as the config says.
        hidden: width of the residual stream.
        vocabulary: tokens that the embedding knows.
        heads: query heads; 0 where the model has no attention.
        context: the longest sequence that the config allows, in tokens; 0 where it does not say.
        widest: elements of one token in the widest step of a layer, before a layout divides it.
        embedding, head: weights at the two ends; the head is empty where it is tied to the embedding.
        other: weights beside the language model, such as a vision tower; on every pipeline stage's first GPU.
        layers: in order.
        experts, experts_per_token: 0 where there are none.
        scheme: how the checkpoint is quantized; None where it is not.
        file_bytes: size of the weights on disk; 0 where the files are not there.
        doubts: why these facts may be wrong; empty where every key was understood.

    """

    architecture: str
    dtype: str
    hidden: int
    vocabulary: int
    heads: int
    context: int
    widest: int
    embedding: Part
    head: Part
    other: Part = field(default_factory=lambda: Part(0))
    layers: tuple[Layer, ...] = ()
    experts: int = 0
    experts_per_token: int = 0
    scheme: Scheme | None = None
    file_bytes: int = 0
    doubts: tuple[str, ...] = ()
    _stages: dict[int, tuple[Runs, ...]] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def is_mla(self) -> bool:
        """Whether it keeps one latent vector a token instead of keys and values."""
        return any(layer.latent for layer in self.layers)

    @cached_property
    def kv_heads(self) -> int:
        """The most key/value heads that a layer has."""
        return max((layer.kv_heads for layer in self.layers), default=0)

    @cached_property
    def parameters(self) -> int:
        """All parameters, a tied head counted once."""
        ends = self.embedding.elements + self.head.elements + self.other.elements
        return ends + sum(layer.parameters for layer in self.layers)

    def stages(self, pipeline: int) -> tuple[Runs, ...]:
        """For each pipeline stage its distinct layers, each with how often it occurs.

        Layers that do not divide evenly go, one each, to the stages before the last one, as vLLM and SGLang do.
        """
        if pipeline not in self._stages:
            self._stages[pipeline] = tuple(_cut(self.layers, pipeline))
        return self._stages[pipeline]


def _cut(layers: tuple[Layer, ...], pipeline: int) -> list[Runs]:
    each, over = divmod(len(layers), pipeline)
    sizes = [each + (1 if pipeline - 1 - over <= rank < pipeline - 1 else 0) for rank in range(pipeline)]
    stages: list[Runs] = []
    start = 0
    for size in sizes:
        found: Mapping[Layer, int] = Counter(layers[start : start + size])
        stages.append(tuple(found.items()))
        start += size
    return stages
