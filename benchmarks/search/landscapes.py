"""The landscapes of our own: two engines, dense models and mixtures of experts, four machines.

Models are described by what their public config.json says; traffic and promises are such as published studies have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.spec.space import Choice, Parameter, Switch
from optuna_tuner.values import Json, LoadKind, Scalar
from search.landscape import Configuration, Landscape
from search.simulated import Goal, Simulated

QWEN_32B: Mapping[str, Json] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "num_hidden_layers": 64,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
QWEN_235B: Mapping[str, Json] = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "moe_intermediate_size": 1536,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "num_hidden_layers": 94,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "attention_bias": False,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
}
LLAMA_8B: Mapping[str, Json] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LLAMA_70B: Mapping[str, Json] = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_attention_heads": 64,
    "num_hidden_layers": 80,
}
DEEPSEEK_V3: Mapping[str, Json] = {
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "num_hidden_layers": 61,
    "num_nextn_predict_layers": 1,
    "vocab_size": 129280,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "max_position_embeddings": 163840,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
}


# The engine's own defaults on these GPUs, or the nearest choice; but on all GPUs, where engines take one by default.
_VLLM_DENSE_DEFAULT: Configuration = {
    "tensor_parallel_size": 4,
    "data_parallel_size": 1,
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 8192,
    "gpu_memory_utilization": 0.92,
    "kv_cache_dtype": "auto",
    "enable_prefix_caching": True,
    "enforce_eager": False,
    "async_scheduling": True,
}
_VLLM_EXPERTS_DEFAULT: Configuration = {
    "tensor_parallel_size": 8,
    "data_parallel_size": 1,
    "enable_expert_parallel": False,
    "max_num_seqs": 1024,
    "max_num_batched_tokens": 8192,
    "gpu_memory_utilization": 0.92,
    "kv_cache_dtype": "auto",
}
_SGLANG_DENSE_DEFAULT: Configuration = {
    "tp_size": 4,
    "dp_size": 1,
    "mem_fraction_static": 0.83,
    "chunked_prefill_size": 4096,
    "max_running_requests": 256,
    "schedule_policy": "fcfs",
    "attention_backend": "flashinfer",
    "enable_mixed_chunk": False,
    "cuda_graph_max_bs": 160,
    "enable_torch_compile": False,
}
_SGLANG_EXPERTS_DEFAULT: Configuration = {
    "attn_dp_size": 1,
    "moe_a2a_backend": "none",
    "ep_size": 1,
    "mem_fraction_static": 0.9,
    "chunked_prefill_size": 8192,
    "max_running_requests": 256,
    "attention_backend": "fa3",
    "speculative_algorithm": "NONE",
}


def _choice(*choices: Scalar, **when: Scalar | list[Scalar]) -> Parameter:
    return Choice(type="choice", choices=choices, when=when)


def _switch(**when: Scalar | list[Scalar]) -> Parameter:
    return Switch(type="switch", when=when)


def _around(default: Configuration, *changes: Configuration) -> tuple[Configuration, ...]:
    """What a practitioner tries first: the default with a few flags changed, as presets and recipes have them."""
    return tuple({**default, **change} for change in changes)


def vllm_dense() -> Simulated:
    """Chat with long system prompts: replicas against tensor parallelism, small steps against large ones."""
    return Simulated(
        name="vllm_qwen32b_4xh100_chat",
        about="Qwen2.5-32B, 4 H100, 32 to 512 chats in flight: most output under p99 of TTFT and ITL",
        engine="vllm",
        version="0.24.0",
        config=QWEN_32B,
        gpu_name="H100",
        gpus=4,
        max_model_len=8192,
        traffic=Traffic(
            input_tokens=2200,
            output_tokens=400,
            shared=0.45,
            shared_tokens=800_000,
            levels=(32, 64, 96, 128, 192, 256, 512),
        ),
        goal=Goal(metric="output_throughput_tok_s", maximize=True, at_most={"ttft_ms.p99": 3000, "itl_ms.p99": 48}),
        space={
            "tensor_parallel_size": _choice(1, 2, 4),
            "data_parallel_size": _choice(1, 2),
            "max_num_seqs": _choice(32, 64, 128, 256, 512, 1024),
            "max_num_batched_tokens": _choice(512, 1024, 2048, 4096, 8192, 16384),
            "gpu_memory_utilization": _choice(0.85, 0.9, 0.92, 0.95, 0.98),
            "kv_cache_dtype": _choice("auto", "fp8"),
            "enable_prefix_caching": _switch(),
            "enforce_eager": _switch(),
            "async_scheduling": _switch(),
        },
        default=_VLLM_DENSE_DEFAULT,
        first=_around(
            _VLLM_DENSE_DEFAULT,
            {"tensor_parallel_size": 2, "data_parallel_size": 2},
            {"max_num_seqs": 256, "max_num_batched_tokens": 2048},
            {"kv_cache_dtype": "fp8", "max_num_seqs": 256},
        ),
    )


def vllm_experts() -> Simulated:
    """Long documents, short answers; what moves tokens to experts exists only where experts are whole."""
    experts: dict[str, Scalar | list[Scalar]] = {"enable_expert_parallel": True}
    return Simulated(
        name="vllm_qwen235b_8xh200_documents",
        about="Qwen3-235B-A22B, 8 H200, 16 to 384 readers in flight: most output under p99 of TTFT and ITL",
        engine="vllm",
        version="0.24.0",
        config=QWEN_235B,
        gpu_name="H200",
        gpus=8,
        max_model_len=16384,
        traffic=Traffic(
            input_tokens=6000,
            output_tokens=500,
            shared=0.4,
            shared_tokens=1_500_000,
            levels=(16, 32, 64, 128, 192, 256, 384),
        ),
        goal=Goal(metric="output_throughput_tok_s", maximize=True, at_most={"ttft_ms.p99": 6000, "itl_ms.p99": 120}),
        space={
            "tensor_parallel_size": _choice(1, 2, 4, 8),
            "data_parallel_size": _choice(1, 2, 4, 8),
            "enable_expert_parallel": _switch(),
            "all2all_backend": _choice("allgather_reducescatter", "deepep_low_latency", **experts),
            "enable_eplb": _switch(**experts),
            "max_num_seqs": _choice(16, 32, 64, 128, 256, 1024),
            "max_num_batched_tokens": _choice(1024, 2048, 4096, 8192, 16384, 32768),
            "gpu_memory_utilization": _choice(0.85, 0.92, 0.95, 0.98),
            "kv_cache_dtype": _choice("auto", "fp8"),
        },
        default=_VLLM_EXPERTS_DEFAULT,
        first=_around(
            _VLLM_EXPERTS_DEFAULT,
            {"tensor_parallel_size": 4, "data_parallel_size": 2},
            {"enable_expert_parallel": True, "all2all_backend": "allgather_reducescatter", "enable_eplb": False},
            {"max_num_seqs": 256, "max_num_batched_tokens": 16384, "kv_cache_dtype": "fp8"},
        ),
    )


def sglang_dense() -> Simulated:
    """Requests that arrive by themselves on GPUs without fast links; the time of a whole reply counts."""
    return Simulated(
        name="sglang_llama8b_4xl40s_rate",
        about="Llama-3.1-8B, 4 L40S, 9 requests a second: shortest p95 of the whole reply under TTFT and TPOT",
        engine="sglang",
        version="0.5.12",
        config=LLAMA_8B,
        gpu_name="L40S",
        gpus=4,
        max_model_len=8192,
        traffic=Traffic(
            input_tokens=1800,
            output_tokens=220,
            output_spread=0.5,
            shared=0.5,
            shared_tokens=300_000,
            load=LoadKind.REQUEST_RATE,
            levels=(9,),
            requests=120,
        ),
        goal=Goal(metric="e2e_latency_ms.p95", maximize=False, at_most={"ttft_ms.p99": 1500, "tpot_ms.p99": 60}),
        space={
            "tp_size": _choice(1, 2, 4),
            "dp_size": _choice(1, 2, 4),
            "mem_fraction_static": _choice(0.7, 0.83, 0.88, 0.92, 0.95),
            "chunked_prefill_size": _choice(512, 2048, 4096, 8192),
            "max_running_requests": _choice(32, 64, 128, 256),
            "schedule_policy": _choice("fcfs", "lpm"),
            "attention_backend": _choice("flashinfer", "triton"),
            "enable_mixed_chunk": _switch(),
            "cuda_graph_max_bs": _choice(16, 160),
            "enable_torch_compile": _switch(),
        },
        default=_SGLANG_DENSE_DEFAULT,
        first=_around(
            _SGLANG_DENSE_DEFAULT,
            {"tp_size": 1, "dp_size": 4},
            {"schedule_policy": "lpm", "chunked_prefill_size": 8192, "max_running_requests": 64},
            {"enable_mixed_chunk": True, "chunked_prefill_size": 2048},
        ),
    )


def sglang_experts() -> Simulated:
    """Drafts win while few requests run, attention groups once many do: the order turns over along the ladder."""
    drafts: dict[str, Scalar | list[Scalar]] = {"speculative_algorithm": "EAGLE"}
    return Simulated(
        name="sglang_deepseek_8xh200_agents",
        about="DeepSeek-V3 in 8 bits, 8 H200, 2 to 128 agents in flight: most output under p99 of TTFT and TPOT",
        engine="sglang",
        version="0.5.23",
        config=DEEPSEEK_V3,
        gpu_name="H200",
        gpus=8,
        max_model_len=16384,
        traffic=Traffic(
            input_tokens=3000, output_tokens=800, shared=0.6, shared_tokens=150_000, levels=(2, 8, 16, 32, 64, 96, 128)
        ),
        goal=Goal(metric="output_throughput_tok_s", maximize=True, at_most={"ttft_ms.p99": 5000, "tpot_ms.p99": 50}),
        space={
            "attn_dp_size": _choice(1, 2, 4, 8),
            "moe_a2a_backend": _choice("none", "deepep"),
            "ep_size": _choice(1, 8, moe_a2a_backend="none"),
            "mem_fraction_static": _choice(0.6, 0.8, 0.9, 0.94, 0.98),
            "chunked_prefill_size": _choice(2048, 8192, 32768),
            "max_running_requests": _choice(16, 48, 96, 192, 256),
            "attention_backend": _choice("fa3", "flashmla"),
            "speculative_algorithm": _choice("NONE", "EAGLE"),
            "speculative_num_steps": _choice(1, 3, 5, **drafts),
            "speculative_eagle_topk": _choice(1, 4, **drafts),
            "speculative_num_draft_tokens": _choice(4, 8, 16, speculative_algorithm="EAGLE", speculative_eagle_topk=4),
        },
        also={"tp_size": 8},
        default=_SGLANG_EXPERTS_DEFAULT,
        first=_around(
            _SGLANG_EXPERTS_DEFAULT,
            {"attn_dp_size": 8},
            {"speculative_algorithm": "EAGLE", "speculative_num_steps": 3, "speculative_eagle_topk": 1},
            {"attn_dp_size": 8, "ep_size": 8, "chunked_prefill_size": 32768},
        ),
    )


OWN: tuple[Landscape, ...] = (vllm_dense(), vllm_experts(), sglang_dense(), sglang_experts())


def trading(landscape: Simulated, metric: str) -> Simulated:
    """The same with one promise made a second objective."""
    return replace(landscape, goal=landscape.goal.trading(metric))


TWO_OBJECTIVES: tuple[Landscape, ...] = (
    trading(vllm_dense(), "itl_ms.p99"),
    trading(vllm_experts(), "itl_ms.p99"),
    trading(sglang_dense(), "ttft_ms.p99"),
    trading(sglang_experts(), "tpot_ms.p99"),
)
