"""What a step of a model reads and computes, counted from the facts that the memory model has of it."""

from __future__ import annotations

from dataclasses import dataclass

from optuna_tuner.memory.layout import Settings
from optuna_tuner.memory.model import Divide, ModelFacts, Part
from optuna_tuner.memory.weights import Price, price


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model in one number format.

    Attributes:
        layers, hidden: as the config has them.
        experts, experts_per_token: of a layer; 0 where the model is dense.
        expert_width: width of one routed expert.
        shared_bytes: weights that each step reads whole: attention, dense and shared parts, the head.
        expert_bytes: all routed experts.
        shared_parameters, expert_parameters: the same, counted.
        quantized: whether products run in 8 bits.

    """

    layers: int
    hidden: int
    experts: int
    experts_per_token: int
    expert_width: int
    shared_bytes: float
    expert_bytes: float
    shared_parameters: int
    expert_parameters: int
    quantized: bool

    @property
    def active_parameters(self) -> float:
        """Parameters that one token meets."""
        chosen = self.experts_per_token / self.experts if self.experts else 0.0
        return self.shared_parameters + self.expert_parameters * chosen

    def touched(self, tokens: float) -> float:
        """Share of the experts that a step of so many tokens reads, when each token chooses independently."""
        if not self.experts:
            return 0.0
        return float(1.0 - (1.0 - self.experts_per_token / self.experts) ** tokens)


def shape_of(facts: ModelFacts, settings: Settings) -> Shape:
    """The shape of a model as it is served. Raises ValueError where its weights' format is not known."""
    cost = price(facts, settings)
    head = facts.head if facts.head.elements else facts.embedding
    routed, shared = _split(facts)
    shared = [*shared, head]
    return Shape(
        layers=len(facts.layers),
        hidden=facts.hidden,
        experts=facts.experts,
        experts_per_token=facts.experts_per_token,
        expert_width=_expert_width(facts, routed),
        shared_bytes=_bytes(cost, shared),
        expert_bytes=_bytes(cost, routed),
        shared_parameters=sum(part.elements for part in shared),
        expert_parameters=sum(part.elements for part in routed),
        quantized=settings.quantization == "fp8" or (facts.scheme is not None and facts.scheme.method == "fp8"),
    )


def _split(facts: ModelFacts) -> tuple[list[Part], list[Part]]:
    parts = [part for layer in facts.layers for part in layer.parts]
    routed = [part for part in parts if part.divide is Divide.EXPERT]
    return routed, [part for part in parts if part.divide is not Divide.EXPERT]


def _bytes(cost: Price, parts: list[Part]) -> float:
    return sum(cost.of(part) for part in parts)


def _expert_width(facts: ModelFacts, routed: list[Part]) -> int:
    """From the count of weights: three matrices of hidden size times this width each."""
    if not routed:
        return 0
    return max(part.elements for part in routed) // (3 * facts.hidden * facts.experts)
