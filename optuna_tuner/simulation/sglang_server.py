"""What SGLang makes of its flags: the server, or why there is none.

The flags that it knows are those of `KNOWN`; memory is counted by `optuna_tuner.memory`, and what the engine refuses or
rewrites is a part of `optuna_tuner/engines/rules/sglang.yaml`, where each rule's source is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log2

from optuna_tuner.memory.budgets import Budget, sglang_budget
from optuna_tuner.memory.gpus import MIB
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.sglang_cache import pools
from optuna_tuner.memory.vllm_cache import element_bytes, token_bytes
from optuna_tuner.simulation.flags import Flags
from optuna_tuner.simulation.place import REFUSED_S, Place
from optuna_tuner.simulation.server import Drafts, Exchange, Prefill, Refusal, Server
from optuna_tuner.values import Cause

KNOWN = frozenset(
    {
        *("tp_size", "dp_size", "attn_dp_size", "ep_size", "moe_a2a_backend", "mem_fraction_static"),
        *("max_running_requests", "chunked_prefill_size", "schedule_policy", "schedule_conservativeness"),
        *("attention_backend", "kv_cache_dtype", "quantization", "page_size", "enable_mixed_chunk"),
        *("disable_radix_cache", "disable_cuda_graph", "cuda_graph_max_bs", "cuda_graph_max_bs_decode"),
        *("enable_torch_compile", "num_continuous_decode_steps", "disable_overlap_schedule"),
        *("speculative_algorithm", "speculative_num_steps", "speculative_eagle_topk", "speculative_num_draft_tokens"),
    }
)
UNCHUNKED = 16384  # max_prefill_tokens, SGLang's default
RUNNING, RUNNING_WITH_DRAFTS = 1024, 48  # max_running_requests where it is not given (with drafts: SGLang's own)
HOPPER = 9.0
# Speed of attention kernels, as a share of the best: rules of thumb. With latent attention (MLA) others are best.
SPEEDS = {"fa3": 1.0, "flashinfer": 0.93, "triton": 0.8}
LATENT_SPEEDS = {"flashmla": 1.0, "fa3": 0.95, "flashinfer": 0.85, "triton": 0.65}
LATENT_PAGE = 64  # of flashmla, whatever is asked for
RECKONED = 0.45  # share of a reply that a conservativeness of 1 reckons with, on average over its decay
BEHIND_GROUPS = 0.3  # what attention groups leave of the conservativeness
PYTHON_S, RANK_S = 20.0, 3.0
GRAPH_S = 0.5  # a captured size
COMPILE_S, COMPILED_SIZES = 14.0, 32  # a size that is compiled, and up to which batch they are
BASE, RANK_BUFFERS, GRAPH = 450 * MIB, 90 * MIB, 2.2 * MIB  # outside the static share: always, a GPU, a request
ACTIVATION_COPIES = 1.6  # of what a prompt's tokens take in the widest step
DRAFTING = 900 * MIB


@dataclass(frozen=True, slots=True)
class _Launch:
    """Flags, and what follows from them alone."""

    place: Place
    flags: Flags
    layout: Layout
    settings: Settings

    @property
    def gpus(self) -> int:
        return self.layout.tp * self.layout.dp

    @property
    def backend(self) -> str:
        """The attention kernels: a cache of fp8_e5m2 makes triton of fa3."""
        capability = float(self.place.accelerator.gpu.capability)
        asked = self.flags.text("attention_backend", "fa3" if capability == HOPPER else "flashinfer")
        return "triton" if asked == "fa3" and self.settings.kv_cache_dtype == "fp8_e5m2" else asked

    @property
    def drafts(self) -> Drafts | None:
        if self.flags.text("speculative_algorithm", "NONE") == "NONE":
            return None
        steps, branches = self.flags.whole("speculative_num_steps", 3), self.flags.whole("speculative_eagle_topk", 1)
        asked = self.flags.whole("speculative_num_draft_tokens", 4)
        return Drafts(steps=steps, branches=branches, tokens=steps + 1 if branches == 1 else asked)

    @property
    def running(self) -> int:
        """Requests of one group."""
        default = RUNNING_WITH_DRAFTS if self.drafts else RUNNING
        return max(self.flags.whole("max_running_requests", default) // self.layout.attention_dp, 1)

    @property
    def graphs(self) -> int:
        """The largest batch that is captured; never above what runs."""
        if self.flags.on("disable_cuda_graph", default=False):
            return 0
        asked = self.flags.whole("cuda_graph_max_bs_decode", self.flags.whole("cuda_graph_max_bs", 0))
        return min(asked or self.settings.graph_batch, self.running)


def sglang_server(place: Place, flags: Flags) -> Server | Refusal:
    """The server that these flags give."""
    layout, asked = _layout(flags), _settings(place, flags)
    why = next(_faults(_Launch(place, flags, layout, asked)), None)
    if why is not None:
        return Refusal(cause=Cause.BAD_COMBINATION, why=why, seconds=REFUSED_S)
    budget = sglang_budget(place.facts, place.accelerator.gpu, layout, asked)
    launch = _Launch(place, flags, layout, budget.settings)
    pool = _pool(launch, budget)
    loaded_s, ready_s = _start(launch)
    if pool < max(place.max_model_len, launch.settings.block_size):
        why = f"no room for one request of {place.max_model_len} tokens in the KV cache"
        return Refusal(cause=Cause.OUT_OF_MEMORY_POOL, why=why, seconds=loaded_s)
    left = place.accelerator.gpu.usable - budget.share - _always(launch)
    if left < 0:
        return Refusal(cause=Cause.OUT_OF_MEMORY_HEADROOM, why="no room for CUDA graphs", seconds=ready_s)
    if ready_s > place.patience_s:
        return Refusal(cause=Cause.NOT_READY, why="it compiled too long", seconds=place.patience_s)
    if left < _spikes(launch):
        return Refusal(cause=Cause.OUT_OF_MEMORY_RUNTIME, why="out of memory in a full prefill", seconds=ready_s)
    return _server(launch, pool, ready_s)


def _layout(flags: Flags) -> Layout:
    tp = flags.whole("tp_size", 1)
    sparse = flags.text("moe_a2a_backend", "none") != "none"
    return Layout(
        tp=tp,
        dp=flags.whole("dp_size", 1),
        ep=tp if sparse else flags.whole("ep_size", 1),
        attention_dp=flags.whole("attn_dp_size", 1),
    )


def _settings(place: Place, flags: Flags) -> Settings:
    chunk = flags.whole("chunked_prefill_size", 0)
    return Settings(
        engine="sglang",
        version=place.version,
        quantization=flags.text("quantization", ""),
        kv_cache_dtype=flags.text("kv_cache_dtype", "auto"),
        max_model_len=place.max_model_len,
        max_num_seqs=flags.whole("max_running_requests", 0),
        batched_tokens=UNCHUNKED if chunk < 0 else chunk,
        memory_fraction=flags.number("mem_fraction_static", 0.0) or None,
        block_size=LATENT_PAGE if flags.text("attention_backend", "") == "flashmla" else flags.whole("page_size", 1),
        graphs=not flags.on("disable_cuda_graph", default=False),
        graph_batch=flags.whole("cuda_graph_max_bs_decode", flags.whole("cuda_graph_max_bs", 0)),
        prefix_caching=not flags.on("disable_radix_cache", default=False),
    )


def _faults(launch: _Launch) -> Iterator[str]:
    """What SGLang refuses as soon as it reads its flags, or as soon as it chooses its kernels."""
    place, flags, layout = launch.place, launch.flags, launch.layout
    if launch.gpus > place.gpus:
        yield f"needs {launch.gpus} GPUs of {place.gpus}"
    if layout.attention_dp > 1 and layout.dp > 1:
        yield "attn_dp_size does not go with dp_size"
    kv_heads = 0 if place.facts.is_mla else place.facts.kv_heads
    layers = len(place.facts.layers)
    yield from layout.faults(heads=place.facts.heads, kv_heads=kv_heads, experts=place.facts.experts, layers=layers)
    if layout.ep > layout.tp:
        yield f"ep_size {layout.ep} is above tp_size {layout.tp}"
    if launch.backend == "fa3" and float(place.accelerator.gpu.capability) < HOPPER:
        yield "attention_backend fa3 needs a Hopper GPU"
    if launch.backend not in (LATENT_SPEEDS if place.facts.is_mla else SPEEDS):
        yield f"attention_backend {launch.backend} is not for this model"
    chunk = flags.whole("chunked_prefill_size", 8192) // layout.attention_dp
    if chunk > 0 and chunk % flags.whole("page_size", 1):
        yield "chunked_prefill_size is no multiple of page_size"
    drafts = launch.drafts
    if drafts and drafts.branches > 1 and launch.settings.block_size > 1 and launch.backend == "flashmla":
        yield "speculative_eagle_topk above 1 does not go with pages of flashmla"


def _pool(launch: _Launch, budget: Budget) -> int:
    """Tokens that the KV cache of one group holds; the small model takes one layer's share of it."""
    place, settings, layers = launch.place, budget.settings, len(launch.place.facts.layers)
    weights = place.weights(launch.layout, settings)
    free = budget.share - budget.reserve - weights
    if launch.drafts:
        free = (free - 2 * weights / layers) * layers / (layers + 1)
    return pools(place.facts, place.facts.stages(1)[0], launch.layout, settings, free).tokens


def _start(launch: _Launch) -> tuple[float, float]:
    """Seconds until the weights are loaded, and until it answers."""
    loaded = PYTHON_S + RANK_S * log2(launch.gpus) + launch.place.load_s
    sizes = _sizes(launch.graphs)
    ready = loaded + GRAPH_S * sizes * (2 if launch.drafts else 1)
    if launch.flags.on("enable_torch_compile", default=False):
        each = COMPILE_S * (2 if launch.place.facts.experts else 1)
        ready += each * _sizes(min(launch.graphs, COMPILED_SIZES))
    return loaded, ready


def _sizes(largest: int) -> float:
    """How many batch sizes are captured: close together while they are small."""
    return min(largest, 8) + max(min(largest, 256) - 8, 0) / 8 + max(largest - 256, 0) / 32


def _always(launch: _Launch) -> float:
    """Bytes beside weights and KV cache that the start itself takes."""
    width = launch.place.facts.hidden / 4096
    return (
        BASE
        + RANK_BUFFERS * log2(launch.gpus)
        + GRAPH * width * launch.graphs * (1.5 if launch.drafts else 1.0)
        + (DRAFTING if launch.drafts else 0.0)
    )


def _spikes(launch: _Launch) -> float:
    """Bytes that a full piece of prompts, and the choice of the next tokens, take for a moment."""
    facts, settings = launch.place.facts, launch.settings
    token = 2 * ACTIVATION_COPIES * (facts.widest / launch.layout.tp + 4 * facts.hidden)
    return settings.batched_tokens * token + launch.running * facts.vocabulary * 4


def _server(launch: _Launch, pool: int, ready_s: float) -> Server:
    place, flags, layout, settings = launch.place, launch.flags, launch.layout, launch.settings
    drafts = launch.drafts
    groups = layout.attention_dp
    mixed = flags.on("enable_mixed_chunk", default=False) and drafts is None
    whole_experts = layout.ep > 1
    sparse = flags.text("moe_a2a_backend", "none") != "none"
    element = element_bytes(place.facts, settings)
    speeds = LATENT_SPEEDS if place.facts.is_mla else SPEEDS
    conservativeness = flags.number("schedule_conservativeness", 1.0) * (BEHIND_GROUPS if groups > 1 else 1.0)
    return Server(
        attention_tp=layout.attention_tp,
        groups=groups,
        replicas=layout.dp,
        exchange=(Exchange.SPARSE if sparse else Exchange.GATHER) if whole_experts else None,
        slots=launch.running,
        step_tokens=settings.batched_tokens,
        prefill=Prefill.MIXED if mixed else Prefill.APART,
        pool_tokens=pool,
        cache_bytes=sum(n * token_bytes(layer, layout.attention_tp, element) for layer, n in place.facts.stages(1)[0]),
        block=settings.block_size or 1,
        reuse=settings.prefix_caching,
        sorted_by_prefix=flags.text("schedule_policy", "fcfs") == "lpm",
        caution=RECKONED * conservativeness,
        graphs=launch.graphs,
        fused=flags.on("enable_torch_compile", default=False),
        host_ahead=not flags.on("disable_overlap_schedule", default=False) and drafts is None,
        held_steps=1 if drafts else flags.whole("num_continuous_decode_steps", 1),
        attention_speed=speeds[launch.backend],
        drafts=drafts,
        start_s=ready_s,
    )
