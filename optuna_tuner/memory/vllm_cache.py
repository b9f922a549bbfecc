"""How vLLM (0.11 and later) divides KV cache memory into blocks, and how many requests those hold.

After `vllm/v1/core/kv_cache_utils.py` and `vllm/v1/kv_cache_interface.py` of vLLM 0.32.0: layers of one kind form
groups of equal size; each group has a block table of its own, and all groups draw blocks from one pool.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna_tuner.memory.dtypes import cache_bytes, served_dtype, weight_bytes
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import Layer, Memory, ModelFacts, Runs, State

BLOCK = 16  # tokens, unless the flag or a recurrent layer says otherwise
ENOUGH_ALIKE = 1.5  # kinds of layers whose numbers differ by less are padded to the larger one


@dataclass(frozen=True, slots=True)
class Blocks:
    """What a pipeline stage needs: bytes of one block of the pool, and blocks of one request of a given length."""

    block_bytes: float
    per_request: int


def token_bytes(layer: Layer, tp: int, element: float) -> float:
    """KV cache of one token in one layer on one GPU, in bytes."""
    if layer.latent:
        return layer.latent * element
    return -(-layer.kv_heads // tp) * layer.width * element


def element_bytes(facts: ModelFacts, settings: Settings) -> float:
    """Bytes of one element of the KV cache. Raises ValueError for an unknown data type."""
    asked = settings.kv_cache_dtype
    if asked == "auto" and facts.scheme is not None and facts.scheme.kv_dtype:
        asked = facts.scheme.kv_dtype
    if asked == "auto":
        return weight_bytes(activation_dtype(facts, settings))
    return cache_bytes(asked)


def activation_dtype(facts: ModelFacts, settings: Settings) -> str:
    """In what the server computes."""
    return served_dtype(settings.dtype, facts.dtype)


def state_bytes(state: State, tp: int, activation: str) -> float:
    """The fixed memory of one sequence in one layer on one GPU, in bytes."""
    recurrent = weight_bytes(state.dtype or activation)
    return (state.recurrent * recurrent + state.convolution * weight_bytes(activation)) / tp


def blocks(facts: ModelFacts, runs: Runs, layout: Layout, settings: Settings, length: int) -> Blocks | None:
    """Blocks of one stage for requests of `length` tokens; None where no layer of it keeps anything."""
    element, tp = element_bytes(facts, settings), layout.tp
    kinds = _kinds(runs)
    if not kinds:
        return None
    pages = max(token_bytes(layer, tp, element) for layer, _ in runs)
    states = max(
        (state_bytes(layer.state, tp, activation_dtype(facts, settings)) for layer, _ in runs if layer.state),
        default=0.0,
    )
    size = settings.block_size or BLOCK
    if pages and states:
        size = max(size, BLOCK * -(-int(states) // int(BLOCK * pages)))
    page = size * pages if pages else states
    group = _group_size(list(kinds.values()))
    needed = sum(-(-count // group) * _needed(kind, size, settings, length) for kind, count in kinds.items())
    return Blocks(block_bytes=group * page, per_request=needed)


def tokens(pool: float, needs: list[Blocks], length: int) -> tuple[int, float]:
    """As vLLM prints them: tokens that the KV cache holds, and requests of `length` tokens that fit at once."""
    if not needs:
        return 0, float("inf")
    count = min(int(max(pool, 0.0) // each.block_bytes) for each in needs)  # all stages take the smallest
    concurrency = count / max(each.per_request for each in needs)
    return int(concurrency * length), concurrency


Kind = tuple[Memory, int]


def _kinds(runs: Runs) -> dict[Kind, int]:
    """How many layers keep what; a layer with attention and a state counts as two."""
    found: dict[Kind, int] = {}
    for layer, count in runs:
        if layer.state is not None:
            found[Memory.STATE, 0] = found.get((Memory.STATE, 0), 0) + count
        if layer.memory not in {Memory.STATE, Memory.NOTHING}:
            found[layer.memory, layer.window] = found.get((layer.memory, layer.window), 0) + count
    return found


def _group_size(counts: list[int]) -> int:
    low, high = min(counts), max(counts)
    return high if high < low * ENOUGH_ALIKE else low


def _needed(kind: Kind, size: int, settings: Settings, length: int) -> int:
    """Blocks of one request in one group."""
    memory, window = kind
    step = settings.batched_tokens
    match memory:
        case Memory.WINDOW:
            return -(-min(window - 1 + step, length) // size) + 1
        case Memory.CHUNK:
            return -(-min(window + step, length) // size)
        case Memory.STATE:
            return 2 if settings.prefix_caching else 1
    return -(-length // size)
