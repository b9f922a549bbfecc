"""What certainly does not fit: the one answer for which a configuration may be refused before its launch."""

from __future__ import annotations

from dataclasses import dataclass

from optuna_tuner.memory.dtypes import cache_bytes
from optuna_tuner.memory.estimate import UNSURE_WEIGHTS
from optuna_tuner.memory.gpus import GIB
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import Layer, Memory, ModelFacts
from optuna_tuner.memory.vllm_cache import element_bytes, token_bytes
from optuna_tuner.memory.weights import least_bytes

GENERATES = ("ForCausalLM", "ForConditionalGeneration")  # others may be loaded without a head
UNSURE = frozenset({"bitsandbytes"})  # its scales may be quantized too
FLAGS = {  # for more GPUs, and for more of each
    "vllm": ("tensor_parallel_size", "gpu_memory_utilization"),
    "sglang": ("tp_size", "mem_fraction_static"),
}


def refusal(facts: ModelFacts, memory: int, layout: Layout, settings: Settings) -> str | None:
    """Why a server with these settings cannot start on GPUs of `memory` bytes at most each; None where it may.

    None as well wherever that is not certain: for a model that is not wholly understood, or whose weights are quantized
    and not on this machine. The engine's own reserve is taken as nothing, and weights less their stated error. Pure.
    """
    if not _is_clear(facts, settings):
        return None
    try:
        weights, sequence = least_bytes(facts, layout, settings), _sequence_bytes(facts, layout, settings)
    except ValueError:  # a data type or a quantization that the model does not know
        return None
    share = memory * (1.0 if settings.memory_fraction is None else settings.memory_fraction)
    found = _Found(facts, settings, memory, weights, sequence)
    surely = weights * (1 - UNSURE_WEIGHTS)
    if surely >= share:
        return found.weights_do_not_fit()
    return found.sequence_does_not_fit(share) if surely + sequence > share else None


def _is_clear(facts: ModelFacts, settings: Settings) -> bool:
    return (
        settings.engine in FLAGS
        and settings.quantization not in UNSURE
        and not facts.doubts
        and facts.architecture.endswith(GENERATES)
        and (facts.scheme is None or facts.file_bytes > 0)
    )


def _sequence_bytes(facts: ModelFacts, layout: Layout, settings: Settings) -> float:
    """KV cache of one sequence of the longest length, at the least, on a GPU of the mean stage.

    vLLM does not start without room for it. 0 where no length is stated, and for SGLang, which is content with less.
    """
    if settings.engine != "vllm":
        return 0.0
    element, length = element_bytes(facts, settings), settings.max_model_len
    runs = (run for stage in facts.stages(layout.pp) for run in stage)
    kept = sum(count * token_bytes(layer, layout.tp, element) * _kept(layer, length) for layer, count in runs)
    return kept / layout.pp


def _kept(layer: Layer, length: int) -> int:
    """Tokens of one sequence that the layer keeps at the least."""
    if layer.memory in {Memory.WINDOW, Memory.CHUNK}:
        return min(length, layer.window - 1)
    return length if layer.memory is Memory.FULL else 0


@dataclass(frozen=True, slots=True)
class _Found:
    """What a refusal tells: bytes on one GPU."""

    facts: ModelFacts
    settings: Settings
    memory: int
    weights: float
    sequence: float

    def weights_do_not_fit(self) -> str:
        quantization = [] if self.facts.scheme or self.settings.quantization else ["quantization"]
        return f"weights of {_gib(self.weights)} a GPU do not fit into {self._share}: {self._remedies(quantization)}"

    def sequence_does_not_fit(self, share: float) -> str:
        length, left = self.settings.max_model_len, max(share - self.weights, 0.0)
        eight_bits = element_bytes(self.facts, self.settings) <= cache_bytes("fp8")
        others = ["a smaller max_model_len", *([] if eight_bits else ["an fp8 kv_cache_dtype"])]
        return (
            f"one sequence of {length} tokens (max_model_len) needs {_gib(self.sequence)} of KV cache a GPU; beside "
            f"weights of {_gib(self.weights)} there are {_gib(left)} in {self._share}: {self._remedies(others)}"
        )

    @property
    def _share(self) -> str:
        fraction = self.settings.memory_fraction
        return f"{_gib(self.memory)}" if fraction is None else f"{fraction:g} of {_gib(self.memory)}"

    def _remedies(self, others: list[str]) -> str:
        more_gpus, fraction = FLAGS[self.settings.engine]
        larger = [f"a larger {fraction}"] if self.weights < self.memory and self.settings.memory_fraction else []
        *first, last = (f"more GPUs ({more_gpus})", *larger, *others)
        return f"{', '.join(first)}{',' if len(first) > 1 else ''} or {last}" if first else last


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
