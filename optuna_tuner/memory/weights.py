"""Bytes of weights on one GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optuna_tuner.memory.dtypes import served_dtype, weight_bytes
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import Divide, ModelFacts, Part, Runs
from optuna_tuner.memory.quantization import ONLINE


@dataclass(frozen=True, slots=True)
class Price:
    """Bytes of one weight, plain and quantized. `online`: the engine quantizes what the checkpoint does not."""

    plain: float
    quantized: float
    online: bool = False
    padding: float = 1.0

    def of(self, part: Part) -> float:
        """Bytes of this part on all GPUs together."""
        packed = part.quantized or (self.online and part.quantizable)
        padding = self.padding if packed and part.divide is Divide.EXPERT else 1.0
        return part.elements * (self.quantized if packed else self.plain) * padding


def price(facts: ModelFacts, settings: Settings) -> Price:
    """What weights cost in this model with these settings. Raises ValueError where that is not known."""
    plain = weight_bytes(served_dtype(settings.dtype, facts.dtype))
    asked, scheme = settings.quantization, facts.scheme
    if scheme is not None:
        return Price(plain, scheme.bits / 8 if scheme.bits else plain, padding=scheme.padding)
    if not asked:
        return Price(plain, plain)
    if asked not in ONLINE:
        raise ValueError(
            f'the checkpoint is not quantized, and the engines do not make "{asked}" of it while they load'
        )
    return Price(plain, ONLINE[asked] / 8, online=True)


def stage_bytes(facts: ModelFacts, layout: Layout, settings: Settings) -> tuple[float, ...]:
    """For each pipeline stage, bytes of weights on each of its GPUs. Raises ValueError where they are not known."""
    cost = price(facts, settings)
    factor = _correction(facts)
    stages = facts.stages(layout.pp)
    return tuple(factor * _stage(facts, layout, settings, cost, place) for place in range(len(stages)))


def least_bytes(facts: ModelFacts, layout: Layout, settings: Settings) -> float:
    """What the fullest GPU holds at the least, in bytes. Raises ValueError where that is not known.

    The mean over the stages, wherever they are cut, with experts spread evenly, not padded, and without a vision tower,
    which need not be loaded. Files count where they are smaller than what the config tells, as they may hold what is
    not loaded.
    """
    cost, even = replace(price(facts, settings), padding=1.0), replace(layout, ep=1)
    counted = sum(_stage(facts, even, settings, cost, place) for place in range(layout.pp))
    return min(1.0, _correction(facts)) * (counted / layout.pp - cost.of(facts.other) / layout.tp / layout.pp)


def _stage(facts: ModelFacts, layout: Layout, settings: Settings, cost: Price, place: int) -> float:
    runs: Runs = facts.stages(layout.pp)[place]
    experts = _expert_share(facts, layout, settings.engine)
    found = 0.0
    for layer, count in runs:
        shares = {
            Divide.ATTENTION: layout.attention_tp,
            Divide.TENSOR: layout.tp,
            Divide.KV: min(layout.attention_tp, layer.kv_heads or 1),
            Divide.EXPERT: experts,
            Divide.WHOLE: 1.0,
        }
        found += count * sum(cost.of(part) / shares[part.divide] for part in layer.parts)
    last = place == layout.pp - 1
    if place == 0:
        found += (cost.of(facts.embedding) + cost.of(facts.other)) / layout.tp
    if last and (facts.head.elements or layout.pp > 1):
        found += cost.of(facts.head if facts.head.elements else facts.embedding) / layout.tp
    return found


def _expert_share(facts: ModelFacts, layout: Layout, engine: str) -> float:
    """By what a GPU's part of the routed experts is smaller than all of them."""
    group = layout.tp * (layout.dp if engine == "vllm" else 1)
    if layout.ep <= 1 or not facts.experts:
        return group
    here = -(-facts.experts // layout.ep)  # experts are not split: the fullest GPU counts
    return facts.experts / here * (group / layout.ep)


def _correction(facts: ModelFacts) -> float:
    """Bytes of the files over bytes as counted from the config: what the config does not tell."""
    if not facts.file_bytes:
        return 1.0
    as_saved = replace(price(facts, Settings(dtype=facts.dtype)), padding=1.0)
    ends = (facts.embedding, facts.head, facts.other)
    counted = sum(map(as_saved.of, ends)) + sum(as_saved.of(part) for layer in facts.layers for part in layer.parts)
    return facts.file_bytes / counted
