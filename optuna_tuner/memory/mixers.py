"""The first half of a layer: attention, MLA, or a recurrence; its weights and its memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optuna_tuner.memory.config import Config, text, truth, whole
from optuna_tuner.memory.families import Family, holds
from optuna_tuner.memory.model import Divide, Part, State

Quantized = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Mixer:
    """What a mixer adds to a layer. The fields are those of `Layer`."""

    parts: tuple[Part, ...]
    kv_heads: int = 0
    width: int = 0
    latent: int = 0
    state: State | None = None


def attention(config: Config, traits: Family, name: str, quantized: Quantized) -> Mixer:
    """Multi-head, grouped-query or multi-query attention."""
    hidden, heads = whole(config, "hidden_size"), whole(config, "num_attention_heads")
    kv_heads = whole(config, "num_key_value_heads", default=heads)
    size = whole(config, "head_dim", default=hidden // heads)
    queries = heads * size * (2 if traits.out_gate else 1)
    keys = 2 * kv_heads * size
    packed = quantized(f"{name}.self_attn.q_proj")
    small = (queries + keys) * holds(config, traits.qkv_bias) + hidden * holds(config, traits.o_bias)
    small += heads * traits.sinks
    parts = (
        Part(hidden * queries + heads * size * hidden, Divide.ATTENTION, quantized=packed),
        Part(hidden * keys, Divide.KV, quantized=packed),
        Part(small + _norms(config, traits, size, (heads, kv_heads)), Divide.WHOLE, quantizable=False),
    )
    return Mixer(parts, kv_heads=kv_heads, width=2 * size)


def _norms(config: Config, traits: Family, size: int, heads: tuple[int, int]) -> int:
    if traits.qk_norm == "full":
        return sum(heads) * size
    if traits.qk_norm == "head":
        return 2 * size
    return 2 * size if traits.qk_norm and truth(config, traits.qk_norm) else 0


def latent_attention(config: Config, name: str, quantized: Quantized) -> Mixer:
    """Multi-head latent attention (MLA): one vector a token for all heads."""
    hidden, heads = whole(config, "hidden_size"), whole(config, "num_attention_heads")
    rank, rope = whole(config, "kv_lora_rank"), whole(config, "qk_rope_head_dim")
    nope, value = whole(config, "qk_nope_head_dim"), whole(config, "v_head_dim")
    query_rank = whole(config, "q_lora_rank", default=0)
    packed = quantized(f"{name}.self_attn.kv_b_proj")
    down = hidden * (rank + rope) + hidden * query_rank
    queries = (query_rank or hidden) * heads * (nope + rope)
    parts = (
        Part(queries + rank * heads * (nope + value) + heads * value * hidden, Divide.ATTENTION, quantized=packed),
        Part(down, Divide.WHOLE, quantized=packed),
        Part(rank + query_rank, Divide.WHOLE, quantizable=False),
    )
    return Mixer(parts, latent=rank + rope)


def delta_net(config: Config, name: str, quantized: Quantized) -> Mixer:
    """Gated DeltaNet of Qwen3-Next and Qwen3.5."""
    hidden = whole(config, "hidden_size")
    key_heads, value_heads = whole(config, "linear_num_key_heads"), whole(config, "linear_num_value_heads")
    key_size, value_size = whole(config, "linear_key_head_dim"), whole(config, "linear_value_head_dim")
    keys, values = key_heads * key_size, value_heads * value_size
    kernel, channels = whole(config, "linear_conv_kernel_dim"), 2 * keys + values
    packed = quantized(f"{name}.linear_attn.in_proj_qkvz") and quantized(f"{name}.linear_attn.in_proj_qkv")
    parts = (
        Part(hidden * (2 * keys + 2 * values) + values * hidden, Divide.ATTENTION, quantized=packed),
        Part(hidden * 2 * value_heads + channels * kernel + 2 * value_heads, Divide.ATTENTION, quantizable=False),
        Part(value_size, Divide.WHOLE, quantizable=False),
    )
    dtype = text(config, "mamba_ssm_dtype", "mamba_ssm_cache_dtype")
    return Mixer(parts, state=State(value_heads * value_size * key_size, channels * (kernel - 1), dtype))


def mamba2(config: Config, name: str, quantized: Quantized) -> Mixer:
    """Mamba-2, as in Nemotron-H, Falcon-H1 and Bamba."""
    hidden = whole(config, "hidden_size")
    heads = whole(config, "mamba_num_heads", "mamba_n_heads")
    size = whole(config, "mamba_head_dim", "mamba_d_head")
    width, states = heads * size, whole(config, "ssm_state_size", "mamba_d_state")
    channels = width + 2 * whole(config, "n_groups", "mamba_n_groups") * states
    kernel = whole(config, "conv_kernel", "mamba_d_conv")
    biases = channels * _either(config, "use_conv_bias", "mamba_conv_bias", default=True)
    if _either(config, "use_bias", "mamba_proj_bias"):
        biases += width + channels + heads + hidden
    norm = width * truth(config, "mamba_rms_norm", default=True)
    packed = quantized(f"{name}.mixer.in_proj") and quantized(f"{name}.mamba.in_proj")
    parts = (
        Part(hidden * (width + channels + heads) + width * hidden, Divide.ATTENTION, quantized=packed),
        Part(channels * kernel + biases + 3 * heads + norm, Divide.ATTENTION, quantizable=False),
    )
    dtype = text(config, "mamba_ssm_cache_dtype", "mamba_ssm_dtype")
    return Mixer(parts, state=State(heads * size * states, channels * (kernel - 1), dtype))


def mamba1(config: Config, name: str, quantized: Quantized) -> Mixer:
    """Mamba, as in Jamba."""
    hidden = whole(config, "hidden_size")
    width = hidden * whole(config, "mamba_expand")
    states, kernel = whole(config, "mamba_d_state"), whole(config, "mamba_d_conv")
    rank = whole(config, "mamba_dt_rank", default=-(-hidden // 16))
    packed = quantized(f"{name}.mamba.in_proj")
    linear = hidden * 2 * width + width * (rank + 2 * states) + rank * width + width * hidden
    other = width * kernel + width * truth(config, "mamba_conv_bias", default=True)
    other += width + width * states + width + rank + 2 * states
    parts = (Part(linear, Divide.ATTENTION, quantized=packed), Part(other, Divide.ATTENTION, quantizable=False))
    return Mixer(parts, state=State(width * states, width * (kernel - 1)))


def _either(config: Config, *names: str, default: bool = False) -> bool:
    """The first of these truth values that the config has."""
    return next((value for name in names if isinstance(value := config.get(name), bool)), default)
