"""Facts of a model from its Hugging Face config.json, and from its weights where they lie beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory import checkpoint, feeders
from optuna_tuner.memory.config import Config, ConfigFault, inner, text, whole
from optuna_tuner.memory.families import Family, family
from optuna_tuner.memory.layers import layers_of
from optuna_tuner.memory.model import ModelFacts, Part, Scheme
from optuna_tuner.memory.quantization import left_alone, scheme_of
from optuna_tuner.values import Json

EMBEDS = "its modules.json makes an embedding model of it, which engines load without its head"


def read(path: str | Path) -> ModelFacts:
    """Facts of the model in this folder, of this config.json, or of this name in the local Hugging Face cache.

    Nothing is downloaded. Raises EnvironmentFaultError, which says what to do, where the config is not there or cannot
    be read.
    """
    file = checkpoint.config_file(str(path))
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ConfigFault("it should be a JSON object")
        facts = of(config | checkpoint.other_quantization(file.parent, config))
    except (OSError, ValueError) as error:
        raise EnvironmentFaultError(f"{file}: cannot be used as a model's config: {error}") from error
    doubts = (*facts.doubts, *([EMBEDS] if (file.parent / "modules.json").exists() else ()))
    return replace(facts, file_bytes=checkpoint.weights(file.parent, len(facts.layers)), doubts=doubts)


def of(config: Mapping[str, Json]) -> ModelFacts:
    """Facts of the model with this config. Raises ValueError where it lacks what is needed."""
    text_config: Config = {**inner(config, "text_config", "language_config", "llm_config")} or config
    kind = text(text_config, "model_type", default=text(config, "model_type"))
    traits = family(kind)
    scheme = _padded(scheme_of(config) or scheme_of(text_config), text_config)
    alone = left_alone(config if "quantization_config" in config else text_config)
    layers = tuple(layers_of(text_config, traits, lambda name: scheme is not None and not alone(name)))
    hidden, vocabulary = whole(text_config, "hidden_size"), whole(text_config, "vocab_size")
    ends = hidden * vocabulary
    return ModelFacts(
        architecture=_architecture(config, kind),
        dtype=text(
            text_config, "torch_dtype", "dtype", default=text(config, "torch_dtype", "dtype", default="bfloat16")
        ),
        hidden=hidden,
        vocabulary=vocabulary,
        heads=whole(text_config, "num_attention_heads", default=0),
        context=whole(text_config, "max_position_embeddings", "max_seq_len", "n_positions", default=0),
        widest=_widest(text_config, traits),
        embedding=Part(ends, quantizable=False),
        head=Part(0 if _tied(config, text_config, traits) else ends, quantizable=False),
        other=Part(hidden + _tower(config), quantizable=False),
        layers=layers,
        experts=feeders.experts(text_config),
        experts_per_token=whole(text_config, "num_experts_per_tok", "moe_k", default=0),
        scheme=scheme,
        doubts=tuple(_doubts(config, kind, traits, scheme)),
    )


def _padded(scheme: Scheme | None, config: Config) -> Scheme | None:
    """MXFP4 experts are padded for their kernels: in vLLM to 256 and 128 elements."""
    if scheme is None or scheme.method != "mxfp4" or not feeders.experts(config):
        return scheme
    hidden, width = whole(config, "hidden_size"), feeders.expert_width(config)
    return replace(scheme, padding=-(-hidden // 256) * 256 / hidden * (-(-width // 128) * 128 / width))


def _architecture(config: Config, kind: str) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else kind or "unknown"


def _tied(config: Config, text_config: Config, traits: Family) -> bool:
    said = text_config.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return said if isinstance(said, bool) else traits.tied


def _widest(config: Config, traits: Family) -> int:
    """Elements of one token in the widest step: what goes into an MLP's down projection, and what it was made of."""
    matrices = 3 if traits.gated else 2
    dense = matrices * whole(config, "intermediate_size_mlp", "intermediate_size", default=0)
    chosen = whole(config, "num_experts_per_tok", "moe_k", default=0)
    if not feeders.experts(config) or not chosen:
        return dense
    routed = chosen * (matrices * feeders.expert_width(config) + whole(config, "hidden_size"))
    return max(routed, dense if whole(config, "first_k_dense_replace", default=0) else 0)


def _tower(config: Config) -> int:
    """Parameters of a vision tower, roughly: its blocks, and a projection into the language model."""
    tower = inner(config, "vision_config")
    if not tower:
        return 0
    width = whole(tower, "embed_dim", "hidden_size", default=0)
    depth = whole(tower, "num_hidden_layers", "depth", default=0)
    inside = whole(tower, "intermediate_size", default=4 * width)
    matrices = 3 if text(tower, "hidden_act") == "silu" else 2
    out = whole(tower, "out_hidden_size", "hidden_size", default=width)
    merged = width * whole(tower, "spatial_merge_size", default=1) ** 2
    return depth * (4 * width * width + matrices * width * inside) + merged * (merged + out)


def _doubts(config: Config, kind: str, traits: Family, scheme: Scheme | None) -> list[str]:
    doubts = []
    if not traits.known:
        doubts.append(f'the architecture "{kind}" is not known: its layers are counted as if they were LLaMA\'s')
    if scheme is not None and not scheme.bits:
        doubts.append(f'it is not known how many bits a weight has under the quantization "{scheme.method}"')
    if "index_topk" in config:
        doubts.append("what its sparse attention keeps besides the KV cache is not known")
    if "audio_config" in config:
        doubts.append("the size of its audio tower is not known")
    return doubts
