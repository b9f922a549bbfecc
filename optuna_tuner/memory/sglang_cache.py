"""How SGLang divides KV cache memory into pools of tokens and of states.

After `srt/model_executor/pool_configurator.py` and `srt/mem_cache/kv_cache_configurator.py` of SGLang 0.5.23, with the
defaults of `--swa-full-tokens-ratio` and `--mamba-full-memory-ratio`.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import Memory, ModelFacts, Runs
from optuna_tuner.memory.vllm_cache import activation_dtype, element_bytes, state_bytes, token_bytes

WINDOW_SHARE = 0.8  # tokens in the pool of sliding window layers, for each token in the pool of the others
STATE_SHARE = 0.9  # memory for states, for each byte for tokens


@dataclass(frozen=True, slots=True)
class Pools:
    """What a pipeline stage can hold: tokens (of all layers but those with a window), window tokens, states."""

    tokens: int
    window_tokens: int | None = None
    states: int | None = None


def pools(facts: ModelFacts, runs: Runs, layout: Layout, settings: Settings, memory: float) -> Pools:
    """Pools of one stage in this many bytes on each GPU."""
    element, tp = element_bytes(facts, settings), layout.attention_tp
    activation = activation_dtype(facts, settings)
    fixed = sum(count * state_bytes(layer.state, tp, activation) for layer, count in runs if layer.state is not None)
    states = None
    if fixed:
        states = max(int(memory * STATE_SHARE / (1 + STATE_SHARE) // fixed) - 1, 0)  # one slot is padding
        memory -= (states + 1) * fixed
    sizes = {
        windowed: sum(
            count * token_bytes(layer, tp, element)
            for layer, count in runs
            if layer.memory is not Memory.STATE and (layer.memory is Memory.WINDOW) is windowed
        )
        for windowed in (False, True)
    }
    return Pools(*_token_pools(max(memory, 0.0), sizes[False], sizes[True], settings.block_size or 1), states)


def concurrency(found: Pools, window: int, length: int) -> float:
    """Requests of `length` tokens that fit at once; those with states take one slot each while they run."""
    limits = [found.tokens / length] if found.tokens else []
    if found.window_tokens is not None:
        limits.append(found.window_tokens / min(window, length))
    if found.states is not None:
        limits.append(float(found.states))
    return min(limits, default=0.0)


def _token_pools(memory: float, full: float, windowed: float, page: int) -> tuple[int, int | None]:
    if not full and not windowed:
        return 0, None
    if not windowed:
        return int(memory // full) // page * page, None
    if not full:
        count = int(memory // windowed) // page * page
        return count, count
    count = int(memory // (full + WINDOW_SHARE * windowed)) // page * page
    return count, int(count * WINDOW_SHARE) // page * page
