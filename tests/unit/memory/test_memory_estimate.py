"""The memory of a server: checked against figures that others measured, and against what must hold for any model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from optuna_tuner.catalog import shelf
from optuna_tuner.errors import NotFoundError
from optuna_tuner.memory import facts, gpus, vllm_cache
from optuna_tuner.memory.budgets import sglang_budget
from optuna_tuner.memory.estimate import Estimate, Verdict, estimate
from optuna_tuner.memory.gpus import GIB, gpu
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import Layer, Memory, ModelFacts, State
from optuna_tuner.memory.reserves import release, sglang_reserve, vllm_reserve
from optuna_tuner.memory.weights import stage_bytes

MATERIAL = Path(__file__).parents[2] / "material" / "memory"
MODELS: Mapping[str, Any] = yaml.safe_load((MATERIAL / "models.yaml").read_text(encoding="utf-8"))
LOGS: list[dict[str, Any]] = yaml.safe_load((MATERIAL / "logs.yaml").read_text(encoding="utf-8"))
FACTS: Mapping[str, ModelFacts] = {name: facts.of(model["config"]) for name, model in MODELS.items()}
LLAMA = FACTS["Llama-3.1-8B"]
H200 = gpu("H200")


def asked(log: Mapping[str, Any], **more: Any) -> Estimate:
    names = ("engine", "version", "max_model_len", "memory_fraction", "batched_tokens")
    settings = Settings(**{name: log[name] for name in names if name in log}, **more)
    card = H200 if log["gpu"] == "unknown" else gpu(log["gpu"])
    return estimate(FACTS[log["model"]], card, Layout(tp=log["tp"]), settings)


def named(log: Mapping[str, Any]) -> str:
    return f"{log['model']}-{log['engine']}-{log['gpu']}-tp{log['tp']}"


def checking(what: str) -> list[dict[str, Any]]:
    """Logs with such a figure, but those that the model is known to miss."""
    return [log for log in LOGS if what in log["checks"] and what not in log.get("misses", ())]


@pytest.mark.parametrize("log", checking("weights"), ids=named)
def test_weights_are_as_others_saw_them(log: Mapping[str, Any]) -> None:
    assert asked(log).weights_bytes / GIB == pytest.approx(log["weights"], rel=0.025)


@pytest.mark.parametrize("log", checking("pool"), ids=named)
def test_the_cache_is_as_large_as_others_saw_it_within_the_stated_error(log: Mapping[str, Any]) -> None:
    found = asked(log)
    assert abs(found.pool_bytes / GIB - log["pool"]) <= found.error_bytes / GIB


@pytest.mark.parametrize("log", checking("tokens"), ids=named)
def test_a_cache_of_that_size_holds_the_tokens_that_others_saw(log: Mapping[str, Any]) -> None:
    found = asked(log, kv_cache_bytes=int(log["pool"] * GIB))
    assert found.kv_tokens == pytest.approx(log["tokens"], rel=0.012)


@pytest.mark.parametrize("log", [log for log in LOGS if "misses" in log], ids=named)
def test_a_known_miss_is_still_one(log: Mapping[str, Any]) -> None:
    """So that nobody leaves a figure out of the comparison which the model has learnt to meet, or hides a new miss."""
    found = asked(log)
    assert set(log["misses"]) == {"pool", "tokens"}
    assert abs(found.pool_bytes / GIB - log["pool"]) > found.error_bytes / GIB
    assert asked(log, kv_cache_bytes=int(log["pool"] * GIB)).kv_tokens > 1.1 * log["tokens"]


@pytest.mark.parametrize("log", [log for log in checking("pool") if log["engine"] == "vllm"], ids=named)
def test_what_failed_for_others_is_not_said_to_fit(log: Mapping[str, Any]) -> None:
    if log["model"] == "gpt-oss-120b":
        assert asked(log).verdict is not Verdict.FITS
    else:
        assert asked(log).verdict is not Verdict.DOES_NOT_FIT


@pytest.mark.parametrize(
    ("name", "size"), [("Llama-3.1-8B", 131_072), ("Qwen2-1.5B", 28_672), ("DeepSeek-V3", 61 * 576 * 2)]
)
def test_a_token_takes_what_it_is_known_to_take(name: str, size: int) -> None:
    assert estimate(FACTS[name], H200, Layout(), Settings()).kv_bytes_per_token == size


@pytest.mark.parametrize(("tp", "share"), [(1, 1), (2, 2), (8, 8), (16, 8), (32, 8)])
def test_key_value_heads_are_shared_and_then_copied(tp: int, share: int) -> None:
    assert estimate(LLAMA, H200, Layout(tp=tp), Settings()).kv_bytes_per_token == 131_072 // share


def test_latent_attention_is_not_shared() -> None:
    one, eight = (estimate(FACTS["DeepSeek-V3"], H200, Layout(tp=tp), Settings()) for tp in (1, 8))
    assert one.kv_bytes_per_token == eight.kv_bytes_per_token


def test_an_eight_bit_cache_holds_twice_as_much() -> None:
    plain, packed = (
        estimate(LLAMA, H200, Layout(), Settings(kv_cache_dtype=dtype, kv_cache_bytes=GIB, max_model_len=1024))
        for dtype in ("auto", "fp8")
    )
    assert packed.kv_tokens == 2 * plain.kv_tokens


def test_a_checkpoint_may_ask_for_an_eight_bit_cache() -> None:
    said = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
    config: dict[str, Any] = {**MODELS["Llama-3.1-8B"]["config"], "quantization_config": said}
    known = facts.of(config)
    assert estimate(known, H200, Layout(), Settings()).kv_bytes_per_token == 65_536


def hybrid(kv_heads: int, state: State) -> ModelFacts:
    """The shape of Qwen3.8-27B: 16 layers with attention, 48 with a recurrence.

    Its number of value heads was not read anywhere: 48 is what gives the block size that vLLM printed.
    """
    attention = Layer(memory=Memory.FULL, kv_heads=kv_heads, width=512)
    recurrence = Layer(memory=Memory.STATE, state=state)
    return replace(LLAMA, layers=(*[recurrence] * 48, *[attention] * 16))


DELTA = State(recurrent=48 * 128 * 128, convolution=10_240 * 3, dtype="float32")


def test_recurrent_layers_share_blocks_with_attention_as_vllm_prints_it() -> None:
    """Figures of https://github.com/mitchross/talos-argocd-proxmox/pull/1995: 4.99 GiB on each of two GPUs."""
    settings = Settings(kv_cache_dtype="fp8", kv_cache_bytes=int(4.99 * GIB), max_model_len=131_072)
    found = estimate(hybrid(4, DELTA), gpu("RTX 3090"), Layout(tp=2), settings)
    assert found.kv_tokens == pytest.approx(302_921, rel=0.0001)


@pytest.mark.parametrize(("tp", "block"), [(1, 1568), (2, 1568)])
def test_blocks_grow_until_a_state_fits_as_vllm_prints_it(tp: int, block: int) -> None:
    """https://github.com/noonghunna/club-3090/issues/1047: "Setting attention block size to 1568 tokens"."""
    known = hybrid(4, DELTA)
    settings = Settings(kv_cache_dtype="fp8", batched_tokens=2048)
    found = vllm_cache.blocks(known, known.stages(1)[0], Layout(tp=tp), settings, 1568)
    assert found is not None
    assert found.block_bytes == 16 * block * 512 * 4 // tp
    assert found.per_request == 1 + 3 * 2


def test_windows_bound_what_a_long_request_needs() -> None:
    known = FACTS["gpt-oss-20b"]
    settings = Settings(kv_cache_bytes=GIB, max_model_len=131_072)
    tokens = estimate(known, H200, Layout(), settings).kv_tokens
    all_full = replace(known, layers=tuple(replace(layer, memory=Memory.FULL) for layer in known.layers))
    assert tokens > 1.8 * estimate(all_full, H200, Layout(), settings).kv_tokens


def test_sglang_gives_window_layers_a_pool_of_their_own() -> None:
    """https://github.com/sgl-project/sglang/pull/18039 prints 375360 tokens, and 300288 in the window's pool: 0.8."""
    found = estimate(
        FACTS["gpt-oss-20b"], H200, Layout(), Settings(engine="sglang", kv_cache_bytes=GIB, max_model_len=131_072)
    )
    per_token = 12 * 2 * 8 * 64 * 2
    assert found.kv_tokens == int(GIB // (per_token + 0.8 * per_token))


@pytest.mark.parametrize(
    ("card", "tp", "version", "fraction"),
    [
        ("H200", 1, "", 0.903),
        ("H100", 1, "0.5.23", 0.83),
        ("H100", 1, "0.5.6", 0.836),
        ("RTX 4090", 1, "0.5.6", 0.847),
        ("RTX 4090", 4, "0.5.6", 0.827),
    ],
)
def test_sglangs_default_share_follows_its_own_rule(card: str, tp: int, version: str, fraction: float) -> None:
    settings = Settings(engine="sglang", version=version)
    found = sglang_budget(LLAMA, gpu(card), Layout(tp=tp), settings).settings.memory_fraction
    assert found == pytest.approx(fraction, abs=0.0011)


def test_a_large_model_on_one_gpu_does_not_fit_and_on_four_it_does() -> None:
    model = FACTS["Llama-3.1-70B"]
    verdicts = [estimate(model, gpu("H100"), Layout(tp=tp), Settings()).verdict for tp in (1, 4)]
    assert verdicts == [Verdict.DOES_NOT_FIT, Verdict.FITS]


def test_what_is_within_the_error_is_not_known() -> None:
    settings = Settings(max_model_len=8192)
    found = estimate(LLAMA, gpu("H100"), Layout(), settings)
    share = (found.weights_bytes + found.reserve_bytes + 2 * GIB) / gpu("H100").usable
    tight = estimate(LLAMA, gpu("H100"), Layout(), replace(settings, memory_fraction=share))
    assert tight.verdict is Verdict.UNKNOWN
    assert "within the model's own error" in tight.why


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(engine="tgi"), "tgi"),
        (Settings(dtype="int3"), "int3"),
        (Settings(kv_cache_dtype="fp1"), "fp1"),
        (Settings(quantization="awq"), "awq"),
    ],
)
def test_what_the_model_does_not_know_it_says(settings: Settings, said: str) -> None:
    found = estimate(LLAMA, H200, Layout(), settings)
    assert found.verdict is Verdict.UNKNOWN
    assert said in found.why


def test_an_unknown_architecture_has_no_verdict() -> None:
    known = facts.of({**MODELS["Llama-3.1-8B"]["config"], "model_type": "never_heard_of"})
    assert estimate(known, H200, Layout(), Settings()).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout(tp=3), "32 attention heads cannot be divided by 3 GPUs"),
        (Layout(pp=33), "32 layers are too few for 33 pipeline stages"),
        (Layout(ep=2), "no experts"),
        (Layout(tp=0), "at least 1"),
    ],
)
def test_a_layout_that_is_impossible_does_not_fit(layout: Layout, said: str) -> None:
    found = estimate(LLAMA, H200, layout, Settings())
    assert found.verdict is Verdict.DOES_NOT_FIT
    assert said in found.why


def test_the_first_and_the_last_stage_hold_the_ends() -> None:
    first, middle, last = stage_bytes(replace(LLAMA, layers=LLAMA.layers[:30]), Layout(pp=3), Settings())
    assert first - middle == pytest.approx(4096 * 128_256 * 2, rel=0.001)
    assert last - middle == 4096 * 128_256 * 2


def test_experts_are_spread_over_all_replicas_of_vllm_only() -> None:
    model, layout = FACTS["DeepSeek-V3"], Layout(tp=1, dp=8, ep=8)
    (vllm,) = stage_bytes(model, layout, Settings())
    (sglang,) = stage_bytes(model, layout, Settings(engine="sglang"))
    assert vllm < 0.2 * sglang


def test_weights_on_the_disk_correct_what_was_counted() -> None:
    counted = sum(stage_bytes(LLAMA, Layout(), Settings()))
    measured = replace(LLAMA, file_bytes=int(counted * 1.1))
    assert sum(stage_bytes(measured, Layout(tp=2), Settings())) == pytest.approx(1.1 * counted / 2, rel=0.001)
    in_32_bits = sum(stage_bytes(measured, Layout(), Settings(dtype="float32")))
    assert in_32_bits == pytest.approx(2.2 * counted, rel=0.001)


def test_weights_can_be_quantized_as_they_are_loaded() -> None:
    plain, packed = (sum(stage_bytes(LLAMA, Layout(), Settings(quantization=how))) for how in ("", "fp8"))
    ends = 2 * 4096 * 128_256  # which stay as they are
    assert packed == pytest.approx(plain / 2 + ends, rel=0.001)


def test_vllm_takes_graphs_from_its_share_since_0_21() -> None:
    assert [vllm_reserve(version).graphs_counted for version in ("0.20.1", "0.21.0", "0.33")] == [False, True, True]
    assert sglang_reserve("0.5.10.post1").since == "0.5.6"
    assert release("v0.33.0rc1") == (0, 33, 0)


def test_the_share_of_each_version_of_vllm_is_the_default_of_its_flag() -> None:
    for version in shelf.versions("vllm"):
        flag = shelf.load("vllm", version).find("gpu_memory_utilization")
        assert flag is not None
        assert vllm_reserve(version).memory_fraction == flag.default, version


def test_every_gpu_has_a_source_and_less_usable_memory_than_it_has() -> None:
    for name in gpus.known():
        card = gpu(name)
        assert card.source
        assert 0.93 * card.memory < card.usable < card.memory


@pytest.mark.parametrize("name", ["h100", "NVIDIA H100", "rtx4090", "RTX-4090"])
def test_a_gpu_is_found_however_it_is_written(name: str) -> None:
    assert gpu(name).name in {"H100", "RTX 4090"}


def test_an_unknown_gpu_names_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="H200"):
        gpu("abacus")


@given(
    st.sampled_from(sorted(FACTS)),
    st.sampled_from(["vllm", "sglang"]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 4),
    st.sampled_from([0, 1024, 32_768]),
)
def test_more_memory_never_holds_less(name: str, engine: str, tp: int, pp: int, length: int) -> None:
    tokens = [
        estimate(
            FACTS[name],
            H200,
            Layout(tp=tp, pp=pp),
            Settings(engine=engine, memory_fraction=share, max_model_len=length),
        ).kv_tokens
        for share in (0.3, 0.6, 0.9)
    ]
    assert tokens == sorted(tokens)
    assert tokens[0] >= 0


@pytest.mark.parametrize("name", ["Llama-3.1-8B", "DeepSeek-V3", "Qwen3-Next-80B-A3B"])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_an_estimate_costs_well_under_a_millisecond(name: str, engine: str) -> None:
    estimate(FACTS[name], H200, Layout(tp=2), Settings(engine=engine))
    began = time.process_time()
    for _ in range(200):
        estimate(FACTS[name], H200, Layout(tp=2), Settings(engine=engine))
    assert (time.process_time() - began) / 200 < 0.001
