"""How many bytes an element takes, by the names which configs and engines use."""

from __future__ import annotations

_WEIGHTS = {"float32": 4.0, "float": 4.0, "bfloat16": 2.0, "float16": 2.0, "half": 2.0}
_CACHE = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "bf16": 2.0,
    "float16": 2.0,
    "fp8": 1.0,
    "fp8_e4m3": 1.0,
    "fp8_e5m2": 1.0,
    "fp8_inc": 1.0,
    "int8": 1.0,
    "mxfp8": 1.0 + 1 / 32,  # a scale byte for 32 elements
    "nvfp4": 0.5 + 1 / 16,  # a scale byte for 16 elements
    "fp4_e2m1": 0.5 + 1 / 16,  # likewise
}


def served_dtype(asked: str, saved: str) -> str:
    """What a server computes in: what was asked for, where that is "auto" what the checkpoint was saved in.

    Both engines document that "auto" serves a checkpoint of 32 bits in 16.
    """
    if asked != "auto":
        return asked
    return "bfloat16" if saved.removeprefix("torch.") in {"float32", "float"} else saved


def weight_bytes(dtype: str) -> float:
    """Bytes of a weight or an activation. Raises ValueError for an unknown name."""
    return _look_up(_WEIGHTS, dtype, "data type")


def cache_bytes(dtype: str) -> float:
    """Bytes of an element of the KV cache, scales included. Raises ValueError for an unknown name."""
    return _look_up(_CACHE, dtype, "KV cache data type")


def _look_up(known: dict[str, float], dtype: str, what: str) -> float:
    name = dtype.removeprefix("torch.")
    if name not in known:
        raise ValueError(f'the memory model does not know the {what} "{dtype}"; known: {", ".join(known)}')
    return known[name]
