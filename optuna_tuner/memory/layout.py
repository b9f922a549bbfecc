"""How a server is laid out over GPUs, and the flags of it that matter for memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Sizes of the parallel groups, as the engines' flags have them.

    Attributes:
        tp: GPUs that share each layer.
        pp: pipeline stages.
        dp: copies. In vLLM, a mixture of experts is shared by all copies; in SGLang each copy is whole.
        ep: size of the expert parallel group; 1 where experts are divided like other weights.
        attention_dp: SGLang's `--attn-dp-size`: groups within `tp` that attend to different requests.

    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    attention_dp: int = 1

    @property
    def gpus(self) -> int:
        """How many GPUs it needs."""
        return self.tp * self.pp * self.dp

    @property
    def attention_tp(self) -> int:
        """GPUs that share the attention of one layer."""
        return max(self.tp // self.attention_dp, 1)

    def faults(self, *, heads: int, kv_heads: int, experts: int, layers: int) -> list[str]:
        """Why a model of this shape cannot be laid out so; empty where it can."""
        found = []
        if min(self.tp, self.pp, self.dp, self.ep, self.attention_dp) < 1:
            return ["each parallel size must be at least 1"]
        if heads % self.attention_tp:
            found.append(f"{heads} attention heads cannot be divided by {self.attention_tp} GPUs")
        if kv_heads and kv_heads % self.attention_tp and self.attention_tp % kv_heads:
            found.append(f"{kv_heads} key/value heads and {self.attention_tp} GPUs do not divide one another")
        if self.tp % self.attention_dp:
            found.append(f"a tensor parallel size of {self.tp} cannot be divided by {self.attention_dp}")
        if self.pp > layers:
            found.append(f"{layers} layers are too few for {self.pp} pipeline stages")
        if self.ep > 1 and not experts:
            found.append("a dense model has no experts to spread")
        if experts and self.ep > experts:
            found.append(f"{experts} experts are too few for {self.ep} GPUs")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A server's flags. None, 0 and empty text mean: not set, the engine's own default.

    Attributes:
        engine, version: "vllm" or "sglang", and its version.
        dtype, quantization, kv_cache_dtype: as the flags of these names.
        max_model_len: the longest sequence, in tokens (SGLang: context-length).
        max_num_seqs: the most requests in a batch (SGLang: max-running-requests).
        batched_tokens: the most tokens in a step: max-num-batched-tokens, chunked-prefill-size.
        memory_fraction: gpu-memory-utilization, mem-fraction-static.
        kv_cache_bytes: KV cache of one GPU in bytes, where it is given (vLLM's kv-cache-memory-bytes).
        block_size: tokens in a block (SGLang: page-size).
        graphs: whether CUDA graphs are captured; `graph_batch` the largest batch among them.
        prefix_caching: whether prefixes are kept for later requests.

    """

    engine: str = "vllm"
    version: str = ""
    dtype: str = "auto"
    quantization: str = ""
    kv_cache_dtype: str = "auto"
    max_model_len: int = 0
    max_num_seqs: int = 0
    batched_tokens: int = 0
    memory_fraction: float | None = None
    kv_cache_bytes: int = 0
    block_size: int = 0
    graphs: bool = True
    graph_batch: int = 0
    prefix_caching: bool = True
