"""What vLLM makes of its flags: the server, or why there is none.

The flags that it knows are those of `KNOWN`; memory is counted by `optuna_tuner.memory`, and what the engine refuses
is a part of `optuna_tuner/engines/rules/vllm.yaml`, where each rule's source is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import log2

from optuna_tuner.memory.budgets import Budget, vllm_budget
from optuna_tuner.memory.gpus import GIB
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.vllm_cache import blocks, element_bytes, token_bytes, tokens
from optuna_tuner.simulation.flags import Flags
from optuna_tuner.simulation.place import REFUSED_S, Place
from optuna_tuner.simulation.server import Exchange, Refusal, Server
from optuna_tuner.values import Cause

KNOWN = frozenset(
    {
        *("tensor_parallel_size", "data_parallel_size", "enable_expert_parallel", "all2all_backend", "enable_eplb"),
        *("max_num_seqs", "max_num_batched_tokens", "max_model_len", "gpu_memory_utilization", "block_size"),
        *("quantization", "kv_cache_dtype", "enable_chunked_prefill", "enable_prefix_caching", "enforce_eager"),
        *("max_cudagraph_capture_size", "async_scheduling"),
    }
)
LARGEST_GRAPH = 512  # vLLM's own default, not above twice max_num_seqs
BLOCK = 16
PYTHON_S, RANK_S, PROFILE_S = 16.0, 2.0, 5.0  # processes, each doubling of GPUs, the trial run with the largest batch
COMPILE_S, COMPILE_LAYER_S, GRAPH_S = 8.0, 0.45, 0.35  # torch.compile of one layer of each kind, one captured size
OUTSIDE, OUTSIDE_GROUP = 0.3 * GIB, 0.3 * GIB  # memory that nobody counts: fragments, and buffers between GPUs
SPARSE_BUFFERS = 2  # copies of a step's tokens that sparse exchanges hold for each GPU
EIGHT_BITS_SPEED = 0.92  # of attention on a cache of 8 bits


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
    def exchange(self) -> Exchange | None:
        if not self.flags.on("enable_expert_parallel", default=False) or self.gpus == 1:
            return None
        sparse = self.flags.text("all2all_backend", "allgather_reducescatter").startswith("deepep")
        return Exchange.SPARSE if sparse and self.layout.dp > 1 else Exchange.GATHER  # vLLM uses it between replicas


def vllm_server(place: Place, flags: Flags) -> Server | Refusal:
    """The server that these flags give."""
    launch = _Launch(place, flags, _layout(flags), _settings(place, flags))
    why = next(_faults(launch), None)
    if why is not None:
        return Refusal(cause=Cause.BAD_COMBINATION, why=why, seconds=REFUSED_S)
    budget = vllm_budget(place.facts, place.accelerator.gpu, launch.layout, launch.settings, 2.0)
    pool, concurrency = _pool(launch, budget)
    loaded_s, ready_s = _start(launch, budget.settings)
    if concurrency < 1:
        return _no_room(launch, budget.settings, pool, loaded_s)
    left = place.accelerator.gpu.usable - budget.share - OUTSIDE - (OUTSIDE_GROUP if launch.gpus > 1 else 0.0)
    if left < 0:
        return Refusal(cause=Cause.OUT_OF_MEMORY_HEADROOM, why="no room for CUDA graphs", seconds=ready_s)
    if ready_s > place.patience_s:
        return Refusal(cause=Cause.NOT_READY, why="it compiled too long", seconds=place.patience_s)
    if left < _spikes(launch, budget.settings):
        return Refusal(cause=Cause.OUT_OF_MEMORY_RUNTIME, why="out of memory in a full step", seconds=ready_s)
    return _server(launch, budget.settings, pool, ready_s)


def _no_room(launch: _Launch, settings: Settings, pool: int, seconds: float) -> Refusal:
    length, each = settings.max_model_len, _cache_bytes(launch, settings)
    why = f"no room for one request of {length} tokens in the KV cache"
    return Refusal(
        cause=Cause.OUT_OF_MEMORY_POOL, why=why, seconds=seconds, room=pool * each, needed=length * each, tokens=pool
    )


def _cache_bytes(launch: _Launch, settings: Settings) -> float:
    """Of one token on one GPU."""
    element = element_bytes(launch.place.facts, settings)
    return sum(n * token_bytes(layer, launch.layout.tp, element) for layer, n in launch.place.facts.stages(1)[0])


def _layout(flags: Flags) -> Layout:
    tp, dp = flags.whole("tensor_parallel_size", 1), flags.whole("data_parallel_size", 1)
    return Layout(tp=tp, dp=dp, ep=tp * dp if flags.on("enable_expert_parallel", default=False) else 1)


def _settings(place: Place, flags: Flags) -> Settings:
    return Settings(
        engine="vllm",
        version=place.version,
        quantization=flags.text("quantization", ""),
        kv_cache_dtype=flags.text("kv_cache_dtype", "auto"),
        max_model_len=flags.whole("max_model_len", place.max_model_len),
        max_num_seqs=flags.whole("max_num_seqs", 0),
        batched_tokens=flags.whole("max_num_batched_tokens", 0),
        memory_fraction=flags.number("gpu_memory_utilization", 0.0) or None,
        block_size=flags.whole("block_size", BLOCK),
        graphs=not flags.on("enforce_eager", default=False),
        prefix_caching=flags.on("enable_prefix_caching", default=True),
    )


def _faults(launch: _Launch) -> Iterator[str]:
    """What vLLM refuses as soon as it reads its flags."""
    place, flags, layout, settings = launch.place, launch.flags, launch.layout, launch.settings
    if launch.gpus > place.gpus:
        yield f"needs {launch.gpus} GPUs of {place.gpus}"
    if layout.ep > 1 and not place.facts.experts:
        yield "the model has no experts"
    if place.facts.heads % layout.tp:
        yield f"{place.facts.heads} attention heads on {layout.tp} GPUs"
    if 0 < settings.batched_tokens < settings.max_num_seqs:
        yield "max_num_batched_tokens is below max_num_seqs"
    chunked = flags.on("enable_chunked_prefill", default=True)
    if not chunked and 0 < settings.batched_tokens < settings.max_model_len:
        yield "max_num_batched_tokens is below max_model_len, and prompts are not cut"
    if flags.on("enable_eplb", default=False):
        if not flags.on("enable_expert_parallel", default=False):
            yield "enable_eplb needs enable_expert_parallel"
        if launch.gpus == 1:
            yield "enable_eplb needs several GPUs"


def _pool(launch: _Launch, budget: Budget) -> tuple[int, float]:
    """Tokens that the KV cache holds, and requests of the promised length."""
    place, layout, settings = launch.place, launch.layout, budget.settings
    buffers = 0.0
    if launch.exchange is Exchange.SPARSE:
        buffers = SPARSE_BUFFERS * settings.batched_tokens * place.facts.hidden * 2 * launch.gpus
    free = budget.share - budget.reserve - place.weights(layout, settings) - buffers
    length = settings.max_model_len
    needed = blocks(place.facts, place.facts.stages(1)[0], layout, settings, length)
    return tokens(free, [needed] if needed else [], length)


def _start(launch: _Launch, settings: Settings) -> tuple[float, float]:
    """Seconds until the weights are loaded and the trial run is done, and until it answers."""
    loaded = PYTHON_S + RANK_S * log2(launch.gpus) + launch.place.load_s + PROFILE_S
    if launch.exchange:
        loaded += 2 * RANK_S
    if not settings.graphs:
        return loaded, loaded
    compiled = loaded + COMPILE_S + COMPILE_LAYER_S * len(launch.place.facts.layers)
    largest = _largest_graph(launch, settings)
    sizes = 3 + min(largest, 256) / 8 + max(largest - 256, 0) / 16
    return compiled, compiled + GRAPH_S * sizes


def _largest_graph(launch: _Launch, settings: Settings) -> int:
    if not settings.graphs:
        return 0
    asked = launch.flags.whole("max_cudagraph_capture_size", min(LARGEST_GRAPH, 2 * settings.max_num_seqs))
    return min(asked, settings.batched_tokens)


def _spikes(launch: _Launch, settings: Settings) -> float:
    """Bytes that a full step takes for a moment beyond what the trial run showed."""
    facts = launch.place.facts
    sampled = min(settings.max_num_seqs, settings.batched_tokens) * facts.vocabulary * 4
    return settings.batched_tokens * facts.hidden * 8 + sampled


def _server(launch: _Launch, settings: Settings, pool: int, ready_s: float) -> Server:
    place, flags, layout = launch.place, launch.flags, launch.layout
    shared_experts = place.facts.experts > 0
    element = element_bytes(place.facts, settings)
    return Server(
        attention_tp=layout.tp,
        groups=layout.dp if shared_experts else 1,
        replicas=1 if shared_experts else layout.dp,
        exchange=launch.exchange,
        balanced=flags.on("enable_eplb", default=False),
        slots=settings.max_num_seqs,
        step_tokens=settings.batched_tokens,
        whole_prompts=not flags.on("enable_chunked_prefill", default=True),
        pool_tokens=pool,
        cache_bytes=_cache_bytes(launch, settings),
        block=settings.block_size,
        reuse=settings.prefix_caching,
        graphs=_largest_graph(launch, settings),
        fused=settings.graphs,
        host_ahead=flags.on("async_scheduling", default=True),
        attention_speed=EIGHT_BITS_SPEED if element < 2 else 1.0,  # noqa: PLR2004  bytes
        start_s=ready_s,
    )
