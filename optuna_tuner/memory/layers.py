"""From a text model's config to its layers, in order."""

from __future__ import annotations

from collections.abc import Iterator

from optuna_tuner.memory import feeders, mixers
from optuna_tuner.memory.config import Config, ConfigFault, numbers, text, texts, truth, whole
from optuna_tuner.memory.families import Family
from optuna_tuner.memory.mixers import Mixer, Quantized
from optuna_tuner.memory.model import Divide, Layer, Memory, Part

WORDS = {
    "full_attention": Memory.FULL,
    "attention": Memory.FULL,
    "sliding_attention": Memory.WINDOW,
    "chunked_attention": Memory.CHUNK,
    "linear_attention": Memory.STATE,
    "mamba": Memory.STATE,
}
LETTERS = {"M": Memory.STATE, "*": Memory.FULL, "-": Memory.NOTHING, "E": Memory.NOTHING}  # Nemotron-H's
SPELLED = {"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*", "mlp": "-", "moe": "E"}


def layers_of(config: Config, traits: Family, quantized: Quantized) -> Iterator[Layer]:
    """Each layer of the text model. Raises ConfigFault where the config lacks what is needed."""
    letters = _letters(config)
    if letters:
        yield from (_single(config, traits, place, letter, quantized) for place, letter in enumerate(letters))
    else:
        for place, memory in enumerate(memories(config, traits)):
            yield _pair(config, traits, place, memory, quantized)


def memories(config: Config, traits: Family) -> list[Memory]:
    """What each layer keeps of the tokens that it has seen."""
    count = whole(config, "num_hidden_layers")
    words = texts(config, "layer_types", "layers_block_type")
    if words:
        unknown = sorted(set(words) - set(WORDS))
        if unknown:
            raise ConfigFault(f"layers of an unknown type: {', '.join(unknown)}")
        return [WORDS[word] for word in words[:count]]
    return [_by_rule(config, traits, place) for place in range(count)]


def _by_rule(config: Config, traits: Family, place: int) -> Memory:
    """For configs without a list of layer types: each family's rule."""
    if "full_attention_interval" in config:
        looks_at_all, other = (place + 1) % whole(config, "full_attention_interval") == 0, Memory.STATE
    elif "attn_layer_period" in config:
        looks_at_all = place % whole(config, "attn_layer_period") == whole(config, "attn_layer_offset", default=0)
        other = Memory.STATE
    elif "attn_layer_indices" in config:
        looks_at_all, other = place in numbers(config, "attn_layer_indices"), Memory.STATE
    elif whole(config, "attention_chunk_size", default=0):
        turns = numbers(config, "no_rope_layers")
        looks_at_all, other = turns[place] == 0 if turns else (place + 1) % 4 == 0, Memory.CHUNK
    else:
        looks_at_all, other = not _windowed(config, traits, place), Memory.WINDOW
    return Memory.FULL if looks_at_all else other


def _windowed(config: Config, traits: Family, place: int) -> bool:
    """Whether the layer at this place looks through the sliding window."""
    if not whole(config, "sliding_window", default=0):
        return False
    every = whole(config, "sliding_window_pattern", default=traits.window_every)
    if every:
        return (place + 1) % every != 0
    if traits.window == "flagged":
        return truth(config, "use_sliding_window") and place >= whole(config, "max_window_layers", default=0)
    return traits.window == "all"


def _pair(config: Config, traits: Family, place: int, memory: Memory, quantized: Quantized) -> Layer:
    """A mixer and an MLP or experts."""
    name = f"layers.{place}"
    found = _mixer(config, traits, memory, name, quantized)
    feed = feeders.mixture if feeders.has_experts(config, place) else feeders.dense
    norms = Part(_norms(config, traits), Divide.WHOLE, quantizable=False)
    parts = (*found.parts, *feed(config, traits, name, quantized), norms)
    return _layer(config, memory, found, parts)


def _mixer(config: Config, traits: Family, memory: Memory, name: str, quantized: Quantized) -> Mixer:
    if config.get("model_type") == "falcon_h1":
        both = mixers.attention(config, traits, name, quantized), mixers.mamba2(config, name, quantized)
        return Mixer(both[0].parts + both[1].parts, both[0].kv_heads, both[0].width, state=both[1].state)
    if memory is not Memory.STATE:
        if whole(config, "kv_lora_rank", default=0):
            return mixers.latent_attention(config, name, quantized)
        return mixers.attention(config, traits, name, quantized)
    if "linear_num_value_heads" in config:
        return mixers.delta_net(config, name, quantized)
    if "mamba_n_heads" in config:
        return mixers.mamba2(config, name, quantized)
    if "mamba_d_state" in config:
        return mixers.mamba1(config, name, quantized)
    raise ConfigFault("it has recurrent layers of a kind that the memory model does not know")


def _letters(config: Config) -> str:
    """Nemotron-H's layers, one letter each; empty for other models. Raises ConfigFault for an unknown one."""
    found = text(config, "hybrid_override_pattern")
    if not found and config.get("model_type") == "nemotron_h":
        found = "".join(SPELLED.get(word, "?") for word in texts(config, "layers_block_type"))
    if set(found) - set(LETTERS):
        raise ConfigFault(f"layers of an unknown type in {found}")
    return found


def _single(config: Config, traits: Family, place: int, letter: str, quantized: Quantized) -> Layer:
    """One of Nemotron-H's layers: either a mixer, or an MLP, or experts."""
    name = f"layers.{place}"
    norm = Part(whole(config, "hidden_size"), Divide.WHOLE, quantizable=False)
    match letter:
        case "M":
            found = mixers.mamba2(config, name, quantized)
        case "*":
            found = mixers.attention(config, traits, name, quantized)
        case "E":
            found = Mixer(feeders.mixture(config, traits, name, quantized))
        case _:
            found = Mixer(feeders.dense(config, traits, name, quantized))
    return _layer(config, LETTERS[letter], found, (*found.parts, norm))


def _layer(config: Config, memory: Memory, found: Mixer, parts: tuple[Part, ...]) -> Layer:
    windowed = memory in {Memory.WINDOW, Memory.CHUNK}
    name = "sliding_window" if memory is Memory.WINDOW else "attention_chunk_size"
    return Layer(
        parts=tuple(part for part in parts if part.elements),
        memory=memory,
        window=whole(config, name) if windowed else 0,
        kv_heads=found.kv_heads,
        width=found.width,
        latent=found.latent,
        state=found.state,
    )


def _norms(config: Config, traits: Family) -> int:
    return whole(config, "hidden_size") * traits.norms * (2 if traits.norm_bias else 1)
