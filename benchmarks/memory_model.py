"""Holds the memory model against a real vLLM on a CPU: how many tokens its KV cache holds. A few minutes on two cores.

    /path/to/environment/bin/python benchmarks/memory_model.py

That is the Python of an environment with vLLM for CPU. Each line is one engine with 1 GiB of KV cache on a small model
with random weights, and what vLLM tells of its cache (the number that it prints at its start as "KV cache size").
Exit code 1 when a number of tokens differs by more than 0.1 %.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: it is imported once for all cases
    "VLLM_LOGGING_LEVEL": "WARNING",
}
sys.path.insert(0, str(Path(__file__).parents[1]))

from optuna_tuner.memory import facts
from optuna_tuner.memory.estimate import estimate
from optuna_tuner.memory.gpus import GIB, gpu
from optuna_tuner.memory.layout import Layout, Settings

TOLERANCE = 0.001
OWN_BLOCK = 128  # tokens in a block of vLLM on a CPU
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "num_hidden_layers": 12,
    "vocab_size": 4096,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
WINDOWS = {"sliding_window": 512, "sliding_window_pattern": 6, "query_pre_attn_scalar": 32}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "builtin": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 512, "head_dim": 64}
    | {"num_hidden_layers": 8, "intermediate_size": 1536, "max_position_embeddings": 4096},
    "gemma3": {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], **WINDOWS},
}


@dataclass(frozen=True)
class Case:
    """One engine: the shape of the model, and flags."""

    shape: str
    length: int
    flags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The same for the memory model."""
        return Settings(
            dtype=self.flags.get("dtype", "auto"),
            block_size=self.flags.get("block_size", OWN_BLOCK),
            max_model_len=self.length,
            batched_tokens=self.flags.get("max_num_batched_tokens", 4096),
            kv_cache_bytes=GIB,
        )


CASES = (
    Case("builtin", 4096, {"dtype": "float32"}),
    Case("builtin", 4096, {"dtype": "bfloat16"}),
    Case("builtin", 1000, {"dtype": "bfloat16", "block_size": 32}),
    Case("llama", 32768, {"block_size": 64}),
    Case("gemma3", 8192, {"max_num_batched_tokens": 4096}),
    Case("gemma3", 32768, {"block_size": 32, "max_num_batched_tokens": 1024}),
)


def told(model: Path, case: Case) -> tuple[int, float]:
    """What vLLM tells of its KV cache: tokens, and requests of full length at once."""
    from vllm import LLM  # type: ignore[import-not-found]  # noqa: PLC0415  the environment above must be set first

    engine = LLM(
        model=str(model),
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        max_model_len=case.length,
        distributed_executor_backend="uni",
        **case.flags,
    )
    cache = engine.llm_engine.vllm_config.cache_config
    return cache.kv_cache_size_tokens, cache.kv_cache_max_concurrency


def main() -> int:
    """Run all cases. Returns the exit code."""
    worst = 0.0
    print(f"{'model':8} {'length':>6} {'flags':46} {'vLLM':>9} {'model':>9} {'error':>8} {'x':>7} {'s':>5}")
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            began, model = time.monotonic(), Path(scratch) / case.shape
            model.mkdir(exist_ok=True)
            (model / "config.json").write_text(json.dumps({**SMALL, **SHAPES[case.shape]}), encoding="utf-8")
            said, times = told(model, case)
            found = estimate(facts.read(model), gpu("H100"), Layout(), case.settings).kv_tokens
            error, took = found / said - 1, time.monotonic() - began
            worst = max(worst, abs(error))
            flags = " ".join(f"{name}={value}" for name, value in case.flags.items())
            head = f"{case.shape:8} {case.length:6} {flags:46}"
            print(f"{head} {said:9,} {found:9,} {error:+8.3%} {times:7.2f} {took:5.0f}", flush=True)
    print(f"largest error: {worst:.4%}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
