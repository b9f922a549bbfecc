"""How a checkpoint is quantized: bits a weight with their scales, and which modules are left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial

from optuna_tuner.memory.config import Config, inner, text, texts, truth, whole
from optuna_tuner.memory.model import Scheme

PREFIXES = ("model.", "", "model.language_model.", "language_model.model.", "backbone.")
SCALE = 16  # bits of a scale where nothing else is said
BLOCK = 128 * 128  # weights that share a scale in DeepSeek's FP8 format
ONLINE = {  # what engines make of an unquantized checkpoint on request, in bits a weight
    "fp8": 8.0,
    "mxfp8": 8.25,
    "bitsandbytes": 4.0 + 32 / 64,  # NF4: a 32-bit scale for 64 weights
    "experts_int8": 8.0,
    "w8a8_int8": 8.0,
    "w8a8_fp8": 8.0,
}
ALONE = ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules")


def scheme_of(config: Config) -> Scheme | None:
    """How the checkpoint with this config is quantized; None where it is not. `bits` is 0 where that is unknown."""
    said = inner(config, "quantization_config", "compression_config")
    if not said:
        return None
    method = text(said, "quant_method", default="modelopt" if "quant_algo" in said else "unknown")
    return Scheme(method=method, bits=_bits(method, said), kv_dtype=_kv_dtype(said))


def left_alone(config: Config) -> Callable[[str], bool]:
    """Tells of a module's name, without its prefix, whether the checkpoint leaves it unquantized."""
    said = inner(config, "quantization_config", "compression_config")
    patterns = texts(said, *ALONE)
    return partial(_matches, frozenset(patterns), tuple(each for each in patterns if _is_pattern(each)))


def _bits(method: str, said: Config) -> float:
    bits = 0.0
    match method:
        case "fp8" | "fbgemm_fp8":
            bits = 8.0 + (32 / BLOCK if "weight_block_size" in said else 0.0)
        case "awq" | "gptq" | "auto-round" | "gptq_marlin" | "awq_marlin":
            group, bits = (
                whole(said, "group_size", "q_group_size", default=128),
                whole(said, "bits", "w_bit", default=4),
            )
            bits += (SCALE + bits) / group if group > 0 else 0.0
        case "bitsandbytes":
            bits = ONLINE["bitsandbytes"] if truth(said, "load_in_4bit") else 8.0
        case "mxfp4":
            bits = 4.0 + 8 / 32
        case "modelopt" | "modelopt_fp4":
            algorithm = text(said, "quant_algo", default="NVFP4" if method.endswith("fp4") else "")
            bits = {"FP8": 8.0, "NVFP4": 4.5, "W4A16_AWQ": 4.0 + SCALE / 128, "MXFP8": 8.25}.get(algorithm, 0.0)
        case "compressed-tensors":
            bits = _group_bits(said)
    return bits


def _group_bits(said: Config) -> float:
    """Bits of the first of compressed-tensors' groups; 0 where several differ."""
    found = set()
    for group in inner(said, "config_groups").values():
        weights = inner(group, "weights") if isinstance(group, dict) else {}
        bits, size = whole(weights, "num_bits", default=0), whole(weights, "group_size", default=0)
        scale = 8 if text(weights, "type") == "float" and bits == 4 else SCALE  # noqa: PLR2004  four-bit floats have 8-bit scales
        found.add(bits + (scale / size if size > 0 and bits else 0.0))
    return found.pop() if len(found) == 1 else 0.0


def _kv_dtype(said: Config) -> str:
    scheme = inner(said, "kv_cache_scheme")
    if scheme and whole(scheme, "num_bits", default=0) == 8:  # noqa: PLR2004  the only one that engines take
        return "fp8"
    return {"FP8": "fp8", "NVFP4": "nvfp4"}.get(text(said, "kv_cache_quant_algo"), "")


def _is_pattern(name: str) -> bool:
    return name.startswith("re:") or "*" in name


def _matches(names: frozenset[str], patterns: tuple[str, ...], module: str) -> bool:
    if any(_names(prefix + module) & names for prefix in PREFIXES):
        return True
    return any(_fits(pattern, prefix + module) for pattern in patterns for prefix in PREFIXES)


def _names(module: str) -> frozenset[str]:
    """The module's name, each module around it, and each run of words in it: `self_attn` names every layer's."""
    words = module.split(".")
    return frozenset(
        ".".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)
    )


def _fits(pattern: str, module: str) -> bool:
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], module) is not None
        except re.error:
            return False
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"{pattern}.*")
