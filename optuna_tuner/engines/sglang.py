"""SGLang: `python3 -m sglang.launch_server`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.contracts import Engine
from optuna_tuner.engines.argv import Flags, Spelling, whole
from optuna_tuner.engines.asking import answer, scalars, served_model
from optuna_tuner.engines.diagnosis import Signs, sign
from optuna_tuner.engines.options import EngineOptions
from optuna_tuner.values import Cause, Diagnosis, Endpoint, Launch, Model, Params, Scalar, Slot

# Aliases of SGLang 0.5.23's own argument definitions, and the short names that users write.
ALIASES = {
    "attention_context_parallel_size": "attn_cp_size",
    "attention_data_parallel_size": "attn_dp_size",
    "context_bucket": "cuda_graph_prefill_max_context",
    "data_parallel_size": "dp_size",
    "decode_context_parallel_size": "dcp_size",
    "dp": "dp_size",
    "enable_hicache": "enable_hierarchical_cache",
    "ep": "ep_size",
    "expert_parallel_size": "ep_size",
    "grpc_http_sidecar_port": "smg_http_sidecar_port",
    "hierarchical_sparse_attention_extra_config": "hisparse_config",
    "model": "model_path",
    "moe_data_parallel_size": "moe_dp_size",
    "nccl_init_addr": "dist_init_addr",
    "pipeline_parallel_size": "pp_size",
    "pp": "pp_size",
    "speculative_draft_model": "speculative_draft_model_path",
    "tensor_parallel_size": "tp_size",
    "tp": "tp_size",
}
# SGLang's switches are store_true: on or absent. Only these of 0.5.23 have a `--no-` form.
TWO_WAY = frozenset(
    {
        "dcp_replicate_q_proj",
        "dllm_fdfo",
        "enable_decoder_swa_bounded_replay",
        "enable_dsa_fused_indexer",
        "enable_fused_qk_norm_rope",
        "enable_tf32_matmul",
        "enable_tp_lm_head_all_to_all",
        "experts_shared_outer_loras",
        "lora_strict_loading",
        "mm_enable_dp_encoder",
        "ple_offload_embedding",
        "speculative_enable_w4a4_mxfp4_megamoe",
    }
)
SPELLING = Spelling(
    aliases=ALIASES,
    says_no=lambda name: name in TWO_WAY,
    reserved=frozenset(
        {"admin_api_key", "api_key", "host", "model_path", "port", "served_model_name", "tokenizer_path"}
    ),
)
HEADROOM = r"[Cc]apture cuda graph|capture_one_batch_size|cuda_graph_runner|CudaGraphRunner"
SIGNS = Signs(
    ready="fired up and ready to roll",
    starting=(
        sign(r"Capture cuda graph failed", Cause.OUT_OF_MEMORY_HEADROOM, r"out of memory|OutOfMemoryError"),
        sign(r"Not enough memory\. Please try to increase --mem-fraction-static", Cause.OUT_OF_MEMORY_POOL),
        sign(r"memory capacity is unbalanced", Cause.DEVICE_BUSY),
        sign(r"OutOfMemoryError|CUDA out of memory|HIP out of memory", Cause.OUT_OF_MEMORY_HEADROOM, HEADROOM),
        sign(r"OutOfMemoryError|CUDA out of memory|HIP out of memory", Cause.OUT_OF_MEMORY_POOL),
        sign(r"Capture cuda graph failed", Cause.BAD_COMBINATION),
    ),
    serving=(
        sign(r"Prefill out of memory|Decode out of memory", Cause.OUT_OF_MEMORY_RUNTIME),
        sign(r"OutOfMemoryError|CUDA out of memory|HIP out of memory", Cause.OUT_OF_MEMORY_RUNTIME),
    ),
)
# What `/server_info` tells beside the flags, and what differs between two starts with the same flags.
NO_SETTING = frozenset(
    {
        "api_key",
        "admin_api_key",
        "dist_init_addr",
        "host",
        "launch_command",
        "max_total_num_tokens",
        "model_path",
        "nccl_port",
        "port",
        "random_seed",
        "served_model_name",
        "status",
        "tokenizer_path",
    }
)


class SglangOptions(EngineOptions):
    """SGLang's options."""

    spelling: ClassVar[Spelling] = SPELLING


class Sglang(Engine):
    """`sglang.launch_server`. It needs a GPU and has not been run here.

    Its flags are held by golden tests against the argument definitions of the released wheel 0.5.23. Two traps: a
    false switch is left out, since SGLang knows only the positive form and its default is off; and SGLang rewrites
    many values silently, so that only `effective_config` tells which server ran.
    """

    kind = "sglang"
    summary = "SGLang's OpenAI-compatible server (needs a GPU; held by tests against its argument definitions)"
    Options = SglangOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = SglangOptions.model_validate(options)

    def canonical(self, flag: str) -> str:
        """The one name of a flag: the attribute of SGLang's ServerArgs."""
        return SPELLING.canonical(flag)

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """`python3 -m sglang.launch_server --model-path MODEL ...`; false switches are left out."""
        flags = SPELLING.merged(self._options.flags, params)
        tokenizer = () if model.tokenizer == model.path else ("--tokenizer-path", model.tokenizer)
        argv = (
            *(self._options.command or ("python3", "-m", "sglang.launch_server")),
            *("--model-path", model.path, "--host", "{host}", "--port", "{port}", "--served-model-name", model.name),
            *tokenizer,
            *SPELLING.argv(flags),
        )
        return Launch(
            argv=argv,
            env=self._options.variables(params.env),
            secrets=self._options.secret_names(),
            gpus=_world(flags) if slot.gpus else 0,
            image=self._options.image,
            model=model,
        )

    def reject(self, params: Params, slot: Slot) -> str | None:
        """The assertions of SGLang's own validation that need no model."""
        flags = SPELLING.merged(self._options.flags, params)
        return next(_broken(flags, slot), None)

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """By SGLang's messages; the two kinds of missing memory ask for opposite remedies."""
        return SIGNS.diagnose(log, exit_code)

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:  # noqa: ARG002  SGLang tells it
        """From `/server_info`, or `/get_server_info` before 0.5.4."""
        told = scalars(answer(endpoint, "/server_info"), NO_SETTING)
        told = told or scalars(answer(endpoint, "/get_server_info"), NO_SETTING)
        return {SPELLING.canonical(name): value for name, value in told.items()}

    def identify(self, endpoint: Endpoint) -> str | None:
        """The model that `/v1/models` lists."""
        return served_model(endpoint)


def _world(flags: Flags) -> int:
    replicas = 1 if flags.get("enable_dp_attention") is True else whole(flags, "dp_size")
    return whole(flags, "tp_size") * whole(flags, "pp_size") * replicas


def _broken(flags: Flags, slot: Slot) -> Iterator[str]:
    for name in sorted(SPELLING.reserved & flags.keys()):
        yield f"{name} is set by the tuner itself"
    chunk, page = whole(flags, "chunked_prefill_size", 0), whole(flags, "page_size")
    if chunk > 0 and page > 0 and chunk % page:
        yield f"chunked_prefill_size ({chunk}) is no multiple of page_size ({page})"
    ranks, attention = whole(flags, "tp_size"), whole(flags, "attn_dp_size")
    if attention > 0 and ranks % attention:
        yield f"tp_size ({ranks}) is no multiple of attn_dp_size ({attention})"
    if flags.get("enable_hierarchical_cache") is True and flags.get("disable_radix_cache") is True:
        yield "enable_hierarchical_cache needs the radix cache"
    if flags.get("disable_cuda_graph_padding") is True and flags.get("enable_torch_compile") is True:
        yield "disable_cuda_graph_padding does not go with enable_torch_compile"
    if slot.gpus and _world(flags) > len(slot.gpus):
        yield f"needs {_world(flags)} GPUs, the slot has {len(slot.gpus)}"
