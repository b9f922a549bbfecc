"""How many bytes of one GPU an engine gives to the KV cache."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optuna_tuner.memory.gpus import GIB, MIB, Gpu
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.memory.reserves import SglangReserve, sglang_reserve, vllm_reserve

LARGE = 70 * GIB  # vLLM: larger batches by default, but not on an A100
HUGE = 160 * GIB
ROOMY = 60 * 1024  # SGLang: MiB above which it keeps 10 GiB at least
SIZES = ((4, 33, 4), (48, 257, 16), (288, 513, 32), (576, 1025, 64), (1280, 4097, 256), (4608, 1 << 20, 512))


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes on one GPU: what the engine may use for weights and KV cache together, what it keeps, and how sure that is.

    `settings` are those that were asked for, with the engine's own defaults filled in.
    """

    share: float
    reserve: float
    error: float
    settings: Settings


def vllm_budget(facts: ModelFacts, gpu: Gpu, layout: Layout, settings: Settings, activation: float) -> Budget:
    """vLLM's: a share of all memory, less what a trial run with the largest batch is seen to need."""
    known = vllm_reserve(settings.version)
    large = gpu.usable >= LARGE and "a100" not in gpu.name.lower()
    tokens = settings.batched_tokens or (16384 if gpu.usable >= HUGE else 8192 if large else 2048)
    requests = settings.max_num_seqs or (1024 if large else 256)
    filled = replace(
        settings,
        batched_tokens=tokens,
        max_num_seqs=requests,
        memory_fraction=known.memory_fraction if settings.memory_fraction is None else settings.memory_fraction,
    )
    step = tokens * activation * (known.widest_copies * facts.widest / layout.tp + known.hidden_copies * facts.hidden)
    sampler = min(requests, tokens) * facts.vocabulary * known.sampler_bytes
    fixed = known.context_gib + (known.group_gib if layout.gpus > 1 else 0.0)
    graphs = known.graph_gib if settings.graphs and known.graphs_counted else 0.0
    reserve = (fixed + graphs) * GIB + max(step, sampler)
    return Budget((filled.memory_fraction or 0.0) * gpu.usable, reserve, known.error * reserve, filled)


def sglang_budget(facts: ModelFacts, gpu: Gpu, layout: Layout, settings: Settings) -> Budget:
    """SGLang's: a share of the memory that is free before the weights are loaded."""
    known = sglang_reserve(settings.version)
    filled = _filled(known, gpu, layout, settings)
    fraction = settings.memory_fraction
    if fraction is None:
        fraction = _fraction(known, facts, gpu, layout, filled)
    kept = (known.context_gib + (known.group_gib if layout.gpus > 1 else 0.0)) * GIB
    free = gpu.usable - kept
    return Budget(fraction * free + kept, kept, known.error_gib * GIB, replace(filled, memory_fraction=fraction))


def _filled(known: SglangReserve, gpu: Gpu, layout: Layout, settings: Settings) -> Settings:
    total = gpu.memory / MIB
    _, chunk, few, many = next(step for step in known.steps if total < step[0])
    batch = few if layout.tp < 4 else many  # noqa: PLR2004  SGLang's own bound
    if settings.max_num_seqs and _caps_graphs(known):
        batch = min(batch, settings.max_num_seqs)
    chunk = (settings.batched_tokens or chunk) // layout.attention_dp
    return replace(settings, batched_tokens=chunk, graph_batch=settings.graph_batch or batch)


def _caps_graphs(known: SglangReserve) -> bool:
    """Whether graphs are never larger than the largest batch: so since 0.5.23."""
    return known.since == "0.5.23"


def _fraction(known: SglangReserve, facts: ModelFacts, gpu: Gpu, layout: Layout, filled: Settings) -> float:
    """SGLang's default of --mem-fraction-static: what is left of 1 after a rule of thumb, in MiB."""
    total = gpu.memory / MIB
    kept = 512 + 1.5 * max(filled.batched_tokens, 2048) + layout.tp * layout.pp / 8 * 1024
    if filled.graphs:
        kept += 2 * filled.graph_batch
        if known.prefill_graphs:
            kept += 1536 if facts.is_mla else 8 * _prefill_graphs(filled.batched_tokens)
    if layout.attention_dp > 1:
        kept += 3 * filled.graph_batch * layout.attention_dp
        kept += 1.5 * filled.graph_batch * layout.attention_dp if filled.graph_batch > 300 else 0  # noqa: PLR2004  SGLang's own bound
    if total > ROOMY:
        kept = max(kept, 10 * 1024)
    return round((total - kept) / total, 3)


def _prefill_graphs(largest: int) -> int:
    """How many sizes of prefill graphs there are up to this many tokens."""
    return sum(len(range(start, min(end, largest + 1), step)) for start, end, step in SIZES)
