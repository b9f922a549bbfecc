"""The small model that is made on this machine on first use: nothing is downloaded."""

from __future__ import annotations

import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from optuna_tuner.engines.embedded import GGUF_NAME, builtin_model_path
from optuna_tuner.engines.embedded.gguf_file import write_gguf
from optuna_tuner.engines.embedded.vocabulary import BEGIN, END, Vocabulary
from optuna_tuner.engines.embedded.weights import Shape, random_weights
from optuna_tuner.errors import EnvironmentFaultError

SHAPE = Shape()
NEEDS = ("numpy", "gguf", "tokenizers", "safetensors")


def ensure_builtin_model() -> Path:
    """The folder of the built-in model; makes it if it is not there, which takes a second or two and 240 MB.

    Safe from many processes at once: one makes it under a lock and renames the whole folder, so that half a model
    never exists. Raises EnvironmentFaultError when a package that it needs is missing.
    """
    folder = builtin_model_path()
    if folder.is_dir():
        return folder
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        needed = ", ".join(missing)
        raise EnvironmentFaultError(f"the built-in model needs {needed}: pip install 'optuna-tuner[embedded]'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _make(folder)
    return folder


def _make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        half = Path(scratch) / folder.name
        half.mkdir()
        _write(half)
        half.rename(folder)


def _write(folder: Path) -> None:
    from safetensors.numpy import save_file  # noqa: PLC0415  an extra

    vocabulary = Vocabulary.train(SHAPE.vocabulary)
    weights = random_weights(SHAPE, vocabulary.speakable)
    vocabulary.write(folder, SHAPE.context)
    (folder / "config.json").write_text(json.dumps(_config(SHAPE), indent=1), encoding="utf-8")
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # written 0600; a container may run as somebody else
    write_gguf(folder / GGUF_NAME, folder.name, SHAPE, vocabulary, weights)


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.ffn,
        "hidden_act": "silu",
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.epsilon,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": BEGIN,
        "eos_token_id": END,
        "torch_dtype": "float32",
    }
