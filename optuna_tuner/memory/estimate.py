"""Whether a model fits with these flags on these GPUs, and how many tokens and requests its KV cache holds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from optuna_tuner.memory import sglang_cache, vllm_cache
from optuna_tuner.memory.budgets import Budget, sglang_budget, vllm_budget
from optuna_tuner.memory.dtypes import weight_bytes
from optuna_tuner.memory.gpus import Gpu
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import Layer, Memory, ModelFacts
from optuna_tuner.memory.reserves import oldest, release
from optuna_tuner.memory.weights import stage_bytes

ENGINES = ("vllm", "sglang")
UNSURE_WEIGHTS = 0.02  # engines pad and copy: published logs show up to 1.4 % more than was counted


class Verdict(StrEnum):
    """The answer. "Unknown" is an answer too: nothing should be refused for it."""

    FITS = "fits"
    DOES_NOT_FIT = "does not fit"
    UNKNOWN = "does not know"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What was found. Bytes are those of the GPU that is worst off.

    Attributes:
        verdict: the answer.
        why: the reason for it, in one sentence.
        doubts: what else may be wrong with these numbers.
        weights_bytes, reserve_bytes: what weights take, and what the engine keeps for itself.
        pool_bytes: what is left for the KV cache; below 0 where the weights alone do not fit.
        error_bytes: how far `pool_bytes` may be off, either way.
        kv_bytes_per_token: of one more token in a sequence longer than all windows.
        kv_tokens: tokens in the KV cache of one replica, as the engine prints them at its start.
        context: length in tokens for which concurrency was counted.
        largest_concurrency: requests of that length which all replicas hold at once.
        settings: the settings with the engine's defaults filled in.

    """

    verdict: Verdict
    why: str
    doubts: tuple[str, ...] = ()
    weights_bytes: int = 0
    reserve_bytes: int = 0
    pool_bytes: int = 0
    error_bytes: int = 0
    kv_bytes_per_token: int = 0
    kv_tokens: int = 0
    context: int = 0
    largest_concurrency: int = 0
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Held:
    """What the pool holds: tokens, and requests of the asked length."""

    tokens: int
    requests: float


def estimate(facts: ModelFacts, gpu: Gpu, layout: Layout, settings: Settings) -> Estimate:
    """The memory of one server. Pure; takes well under a millisecond. Never raises for what a user may ask."""
    if settings.engine not in ENGINES:
        return _unknown(settings, f'the memory model knows vllm and sglang, not "{settings.engine}"')
    wrong = layout.faults(
        heads=facts.heads,
        kv_heads=0 if facts.is_mla else facts.kv_heads,
        experts=facts.experts,
        layers=len(facts.layers),
    )
    if wrong:
        return Estimate(verdict=Verdict.DOES_NOT_FIT, why="; ".join(wrong), settings=settings)
    try:
        return _weigh(facts, gpu, layout, settings)
    except ValueError as error:
        return _unknown(settings, str(error))


def _unknown(settings: Settings, why: str) -> Estimate:
    return Estimate(verdict=Verdict.UNKNOWN, why=why, settings=settings)


def _weigh(facts: ModelFacts, gpu: Gpu, layout: Layout, settings: Settings) -> Estimate:
    weights = max(stage_bytes(facts, layout, settings))
    budget = _budget(facts, gpu, layout, settings)
    pool = settings.kv_cache_bytes or budget.share - budget.reserve - weights
    error = 0.0 if settings.kv_cache_bytes else budget.error + weights * UNSURE_WEIGHTS
    length = settings.max_model_len or facts.context
    if not length:
        return _unknown(settings, "the config names no longest context: say one with --max-model-len")
    held = _held(facts, layout, budget.settings, pool, length)
    low, high = (_held(facts, layout, budget.settings, each, length) for each in (pool - error, pool + error))
    verdict, why = _judge(settings, length, low, high)
    doubts = _doubts(facts, settings)
    if verdict is not Verdict.UNKNOWN and facts.doubts and not _certain(facts, gpu, layout, weights):
        verdict, why = Verdict.UNKNOWN, facts.doubts[0]
    return Estimate(
        verdict=verdict,
        why=why,
        doubts=doubts,
        weights_bytes=int(weights),
        reserve_bytes=int(budget.reserve),
        pool_bytes=int(pool),
        error_bytes=int(error),
        kv_bytes_per_token=_per_token(facts, layout, settings),
        kv_tokens=held.tokens,
        context=length,
        largest_concurrency=_whole(held.requests, budget.settings.max_num_seqs) * layout.dp,
        settings=budget.settings,
    )


def _budget(facts: ModelFacts, gpu: Gpu, layout: Layout, settings: Settings) -> Budget:
    if settings.engine == "sglang":
        return sglang_budget(facts, gpu, layout, settings)
    activation = weight_bytes(vllm_cache.activation_dtype(facts, settings))
    return vllm_budget(facts, gpu, layout, settings, activation)


def _held(facts: ModelFacts, layout: Layout, settings: Settings, pool: float, length: int) -> _Held:
    """What a pool of this many bytes on each GPU holds; the stage that holds least counts."""
    stages = facts.stages(layout.pp)
    if settings.engine == "vllm":
        found = [vllm_cache.blocks(facts, runs, layout, settings, length) for runs in stages]
        return _Held(*vllm_cache.tokens(pool, [each for each in found if each is not None], length))
    window = max((layer.window for layer in facts.layers if layer.memory is Memory.WINDOW), default=length)
    pools = [sglang_cache.pools(facts, runs, layout, settings, pool) for runs in stages]
    groups = layout.attention_dp  # each has a pool of its own
    held = min(sglang_cache.concurrency(each, window, length) for each in pools)
    return _Held(min(each.tokens for each in pools), held * groups)


def _judge(settings: Settings, length: int, low: _Held, high: _Held) -> tuple[Verdict, str]:
    """Whether the engine starts. vLLM wants room for one request of full length; SGLang is content with less."""
    needs = f"one request of {length:,} tokens"
    if settings.engine == "sglang" and not settings.max_model_len:
        needs = "any token"
        low, high = (_Held(each.tokens, inf if each.tokens else 0.0) for each in (low, high))
    if low.requests >= 1:
        return Verdict.FITS, f"there is room for {needs} even if the model errs by its stated error"
    if high.requests < 1:
        return Verdict.DOES_NOT_FIT, f"there is no room for {needs}, even if the model errs by its stated error"
    return Verdict.UNKNOWN, f"whether there is room for {needs} is within the model's own error"


def _certain(facts: ModelFacts, gpu: Gpu, layout: Layout, weights: float) -> bool:
    """Whether files on the disk alone say that it cannot fit, whatever else is not known."""
    return bool(facts.file_bytes) and layout.ep == 1 and weights > gpu.usable


def _doubts(facts: ModelFacts, settings: Settings) -> tuple[str, ...]:
    found = list(facts.doubts)
    if not facts.file_bytes:
        found.append("the weights are counted from the config, since their files are not here")
    asked, first = release(settings.version), release(oldest(settings.engine))
    if asked and asked < first:
        found.append(f"the memory model was made for {settings.engine} {oldest(settings.engine)} and later")
    if facts.other.elements > facts.hidden and not facts.file_bytes:
        found.append("its vision tower is counted roughly")
    return tuple(found)


def _per_token(facts: ModelFacts, layout: Layout, settings: Settings) -> int:
    element = vllm_cache.element_bytes(facts, settings)

    def grows(layer: Layer) -> float:
        return vllm_cache.token_bytes(layer, layout.attention_tp, element) if layer.memory is Memory.FULL else 0.0

    return int(max(sum(count * grows(layer) for layer, count in runs) for runs in facts.stages(layout.pp)))


def _whole(requests: float, limit: int) -> int:
    """Requests that fit, and that the server lets in at once."""
    fitting = int(requests) if requests != inf else limit
    return min(fitting, limit) if limit else fitting
