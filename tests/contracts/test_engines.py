from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from optuna_tuner.engines.llama_cpp import LlamaCpp
from optuna_tuner.engines.sglang import Sglang
from optuna_tuner.engines.simulated import Simulated
from optuna_tuner.engines.vllm import Vllm
from optuna_tuner.testing.engine_cases import EngineCases
from optuna_tuner.testing.fake_engine import FakeEngine
from optuna_tuner.values import Cause, Params

MATERIAL = Path(__file__).parents[1] / "material" / "engines"


def material(name: str) -> str:
    return (MATERIAL / f"{name}.log").read_text(encoding="utf-8")


class TestVllm(EngineCases):
    engine_class = Vllm
    good = Params(flags={"max_num_seqs": 64, "max_num_batched_tokens": 2048, "enable_prefix_caching": False})
    switch = "enable_prefix_caching"
    aliases: ClassVar = {
        "-tp": "tensor_parallel_size",
        "tp": "tensor_parallel_size",
        "--tensor-parallel-size": "tensor_parallel_size",
        "--max-num-seqs": "max_num_seqs",
        "-q": "quantization",
    }
    logs: ClassVar = {
        material("vllm-unknown-flag"): (2, Cause.BAD_FLAG),
        material("vllm-bad-choice"): (2, Cause.BAD_FLAG),
        material("vllm-seqs-above-tokens"): (1, Cause.BAD_COMBINATION),
        material("vllm-too-long"): (1, Cause.BAD_COMBINATION),
        material("vllm-unchunked"): (1, Cause.BAD_COMBINATION),
        material("vllm-block-size-7"): (1, Cause.BAD_COMBINATION),
        material("vllm-tp-2-on-cpu"): (1, Cause.BAD_COMBINATION),
        material("vllm-4-blocks"): (1, Cause.OUT_OF_MEMORY_POOL),
        material("vllm-port-in-use"): (1, Cause.PORT_IN_USE),
    }


class TestSglang(EngineCases):
    engine_class = Sglang
    good = Params(flags={"chunked_prefill_size": 4096, "page_size": 16, "schedule_policy": "lpm"})
    switch = "enable_mixed_chunk"
    aliases: ClassVar = {
        "tp": "tp_size",
        "--tensor-parallel-size": "tp_size",
        "tensor_parallel_size": "tp_size",
        "--mem-fraction-static": "mem_fraction_static",
        "--enable-hicache": "enable_hierarchical_cache",
    }


SIMULATED: dict[str, JsonValue] = {
    "gpu": "L40S",
    "gpus": 2,
    "config": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "vocab_size": 128256,
    },
}


class TestSimulatedVllm(EngineCases):
    engine_class = Simulated
    options: ClassVar = {**SIMULATED, "like": "vllm", "version": "0.33.0"}
    good = TestVllm.good
    switch = TestVllm.switch
    aliases: ClassVar = TestVllm.aliases
    logs: ClassVar = TestVllm.logs


class TestSimulatedSglang(EngineCases):
    engine_class = Simulated
    options: ClassVar = {**SIMULATED, "like": "sglang", "version": "0.5.23"}
    good = TestSglang.good
    switch = TestSglang.switch
    aliases: ClassVar = TestSglang.aliases


class TestLlamaCpp(EngineCases):
    engine_class = LlamaCpp
    good = Params(flags={"threads": 1, "parallel": 4, "flash_attn": "on", "cache_type_k": "q8_0"})
    switch = "cont_batching"
    aliases: ClassVar = {
        "-t": "threads",
        "-c": "ctx_size",
        "--ctx-size": "ctx_size",
        "-np": "parallel",
        "-ub": "ubatch_size",
    }
    logs: ClassVar = {
        material("llama-cpp-unknown-flag"): (2, Cause.BAD_FLAG),
        material("llama-cpp-bad-choice"): (2, Cause.BAD_FLAG),
        material("llama-cpp-no-slots"): (2, Cause.BAD_FLAG),
        material("llama-cpp-300-slots"): (1, Cause.BAD_FLAG),
        material("llama-cpp-quantized-v-cache"): (1, Cause.BAD_COMBINATION),
        material("llama-cpp-negative-context"): (1, Cause.BAD_COMBINATION),
        material("llama-cpp-huge-context"): (1, Cause.OUT_OF_MEMORY_POOL),
        material("llama-cpp-port-in-use"): (1, Cause.PORT_IN_USE),
        material("llama-cpp-no-model"): (1, Cause.MACHINE),
    }


class TestFakeEngine(EngineCases):
    engine_class = FakeEngine
    good = Params(flags={"ttft_ms": 20, "slots": 4})
    aliases: ClassVar = {"--ttft-ms": "ttft_ms", "ttft-ms": "ttft_ms"}
