"""The second half of a layer: a dense MLP, or a mixture of experts."""

from __future__ import annotations

from optuna_tuner.memory.config import Config, numbers, whole
from optuna_tuner.memory.families import Family, holds
from optuna_tuner.memory.mixers import Quantized
from optuna_tuner.memory.model import Divide, Part


def experts(config: Config) -> int:
    """How many routed experts a layer has; 0 where the model is dense."""
    return whole(config, "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", default=0)


def expert_width(config: Config) -> int:
    """Width of one routed expert."""
    return whole(config, "moe_intermediate_size", "intermediate_size")


def has_experts(config: Config, place: int) -> bool:
    """Whether the layer at this place, counted from 0, is a mixture of experts."""
    if experts(config) <= 1:
        return False
    if place < whole(config, "first_k_dense_replace", default=0) or place in numbers(config, "mlp_only_layers"):
        return False
    chosen = numbers(config, "moe_layers")
    if chosen:
        return place in chosen
    if "expert_layer_period" in config:
        return place % whole(config, "expert_layer_period") == whole(config, "expert_layer_offset", default=0)
    step = whole(config, "decoder_sparse_step", "interleave_moe_layer_step", default=1)
    return (place + 1) % max(step, 1) == 0 and place % whole(config, "moe_layer_freq", default=1) == 0


def dense(config: Config, traits: Family, name: str, quantized: Quantized, width: int = 0) -> tuple[Part, ...]:
    """A dense MLP, by default as wide as the config says."""
    hidden = whole(config, "hidden_size")
    width = width or whole(config, "intermediate_size_mlp", "intermediate_size")
    matrices = 3 if traits.gated else 2
    bias = ((matrices - 1) * width + hidden) * holds(config, traits.mlp_bias)
    packed = quantized(f"{name}.mlp.down_proj")
    return (Part(matrices * hidden * width, quantized=packed), Part(bias, Divide.WHOLE, quantizable=False))


def mixture(config: Config, traits: Family, name: str, quantized: Quantized) -> tuple[Part, ...]:
    """Routed experts, shared experts and the router."""
    hidden, count, width = whole(config, "hidden_size"), experts(config), expert_width(config)
    matrices = 3 if traits.gated else 2
    packed = quantized(f"{name}.mlp.experts.0.down_proj")
    router = hidden * count + count * traits.router_bias + hidden * traits.shared_gate
    biases = count * ((matrices - 1) * width + hidden) * traits.expert_bias
    shared = quantized(f"{name}.mlp.shared_expert.down_proj") and quantized(f"{name}.mlp.shared_experts.down_proj")
    return (
        Part(count * matrices * hidden * width, Divide.EXPERT, quantized=packed),
        Part(biases, Divide.EXPERT, quantizable=False),
        Part(matrices * hidden * shared_width(config), quantized=shared),
        Part(router, Divide.WHOLE, quantizable=False),
    )


def shared_width(config: Config) -> int:
    """Width of all shared experts together; 0 where there are none."""
    said = whole(config, "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", default=0)
    if said:
        return said
    if config.get("model_type") == "llama4_text":
        return whole(config, "intermediate_size")
    count = whole(config, "n_shared_experts", "num_shared_experts", default=0)
    return count * expert_width(config)
