"""The built-in model's shape and its random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Weights = Mapping[str, NDArray[np.float32]]

NEVER = -200.0  # the logit of a token that must not be said, before the last norm's scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A Llama of 29.4 million parameters: large enough that the server, and not the client, is what is measured."""

    hidden: int = 512
    layers: int = 8
    heads: int = 8
    kv_heads: int = 4
    ffn: int = 1536
    vocabulary: int = 4096
    context: int = 4096
    rope_theta: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


def random_weights(shape: Shape, speakable: Callable[[int], bool], seed: int = 20) -> Weights:
    """Weights by their Hugging Face names; always the same ones.

    Residual coordinate 0 is kept for one purpose: every embedding holds 1 there and no layer writes to it, so that the
    output head can give each token that is not `speakable` a logit that never wins. Random weights would otherwise say
    special tokens, halves of letters and the end of the text.
    """
    import numpy as np  # noqa: PLC0415  an extra

    random = np.random.default_rng(seed)
    embedding = random.standard_normal((shape.vocabulary, shape.hidden), dtype=np.float32)
    embedding[:, 0] = 1.0
    head = _matrix(random, shape.vocabulary, shape.hidden) * np.float32(4.0)
    head[:, 0] = 0.0
    silent = [token for token in range(shape.vocabulary) if not speakable(token)]
    head[silent] = 0.0
    head[silent, 0] = NEVER
    ones = np.ones(shape.hidden, dtype=np.float32)
    outside = {"model.embed_tokens.weight": embedding, "model.norm.weight": ones, "lm_head.weight": head}
    layers = (_layer(random, shape, f"model.layers.{number}") for number in range(shape.layers))
    return outside | {name: values for layer in layers for name, values in layer.items()}


def _layer(random: np.random.Generator, shape: Shape, at: str) -> Weights:
    import numpy as np  # noqa: PLC0415  an extra

    ones = np.ones(shape.hidden, dtype=np.float32)
    keys = shape.kv_heads * shape.head_dim
    weights = {
        f"{at}.input_layernorm.weight": ones,
        f"{at}.self_attn.q_proj.weight": _matrix(random, shape.hidden, shape.hidden),
        f"{at}.self_attn.k_proj.weight": _matrix(random, keys, shape.hidden),
        f"{at}.self_attn.v_proj.weight": _matrix(random, keys, shape.hidden),
        f"{at}.self_attn.o_proj.weight": _matrix(random, shape.hidden, shape.hidden),
        f"{at}.post_attention_layernorm.weight": ones,
        f"{at}.mlp.gate_proj.weight": _matrix(random, shape.ffn, shape.hidden),
        f"{at}.mlp.up_proj.weight": _matrix(random, shape.ffn, shape.hidden),
        f"{at}.mlp.down_proj.weight": _matrix(random, shape.hidden, shape.ffn),
    }
    for writer in ("self_attn.o_proj", "mlp.down_proj"):
        weights[f"{at}.{writer}.weight"][0] = 0.0
    return weights


def _matrix(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    import numpy as np  # noqa: PLC0415  an extra

    values = random.standard_normal((rows, columns), dtype=np.float32)
    values /= np.float32(columns**0.5)
    return values
