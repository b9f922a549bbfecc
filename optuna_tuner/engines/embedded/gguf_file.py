"""The same weights as one GGUF file, for llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from optuna_tuner.engines.embedded.vocabulary import BEGIN, CHAT_TEMPLATE, END, SPECIAL, UNKNOWN, Vocabulary
from optuna_tuner.engines.embedded.weights import Shape

if TYPE_CHECKING:
    import gguf
    import numpy as np
    from numpy.typing import NDArray

    from optuna_tuner.engines.embedded.weights import Weights

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(file: Path, name: str, shape: Shape, vocabulary: Vocabulary, weights: Weights) -> None:
    """Write a complete GGUF file in 32-bit floats."""
    import gguf  # noqa: PLC0415  an extra

    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_shape(writer, shape)
    _add_vocabulary(writer, vocabulary)
    for key, values in weights.items():
        writer.add_tensor(gguf_name(key), interleaved(key, values, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(key: str) -> str:
    """A tensor's name in GGUF: `model.layers.3.mlp.up_proj.weight` -> `blk.3.ffn_up.weight`."""
    stem = key.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{NAMES[stem]}.weight"
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{NAMES[part]}.weight"


def interleaved(key: str, values: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """Query and key rows in llama.cpp's order: it rotates neighbours where transformers rotates halves."""
    heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}.get(key.split(".")[-2])
    if heads is None:
        return values
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    import gguf  # noqa: PLC0415  an extra

    plain = len(vocabulary.tokens) - len(SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * plain)
    writer.add_token_merges(vocabulary.merges)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(CHAT_TEMPLATE)
