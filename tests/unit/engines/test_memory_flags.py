"""What flags say of memory: only where all of them are certain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.engines.llama_cpp import LlamaCpp
from optuna_tuner.engines.memory_flags import memory_flags
from optuna_tuner.engines.sglang import Sglang
from optuna_tuner.engines.vllm import Vllm
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.values import Params, Scalar


def vllm(flags: Mapping[str, Scalar], **options: object) -> tuple[Layout, Settings] | None:
    engine = Vllm(Vllm.Options.model_validate({"version": "0.33.0", "flags": {"max_num_seqs": 64}, **options}))
    return engine.memory(Params(flags=flags))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_every_named_flag_is_one_of_some_version_and_every_field_one_of_the_memory_models(engine: str) -> None:
    book = memory_flags(engine)
    known = {name for version in shelf.versions(engine) for name in shelf.load(engine, version).names()}
    assert {*book.layout, *book.settings, *book.harmless} <= known
    assert {*book.layout.values()} <= {field.name for field in fields(Layout)}
    assert {*book.settings.values()} <= {field.name for field in fields(Settings)}


def test_flags_by_any_of_their_names_set_the_layout_and_the_settings() -> None:
    said = vllm({"tp_size": 2, "gpu-memory-utilization": 0.85, "max_model_len": 8192, "kv_cache_dtype": "fp8"})
    settings = Settings(engine="vllm", memory_fraction=0.85, max_model_len=8192, kv_cache_dtype="fp8")
    assert said == (Layout(tp=2), settings)
    sglang = Sglang(Sglang.Options.model_validate({"flags": {"mem-fraction-static": 0.8}}))
    said = sglang.memory(Params(flags={"tp": 4, "chunked_prefill_size": 4096}))
    assert said == (Layout(tp=4), Settings(engine="sglang", memory_fraction=0.8))


@pytest.mark.parametrize(("version", "fraction"), [("0.19.1", 0.9), ("0.33.0", 0.92), (None, None)])
def test_the_share_that_nobody_gives_is_the_versions_own(version: str | None, fraction: float | None) -> None:
    said = vllm({}, version=version)
    assert said is not None
    assert said[1].memory_fraction == fraction


@pytest.mark.parametrize(
    "flags",
    [
        {"cpu_offload_gb": 4},
        {"hf_overrides": '{"num_hidden_layers": 1}'},
        {"load_format": "gguf"},
        {"decode_context_parallel_size": 2},
        {"kv_cache_memory_bytes": 1 << 30},
        {"num_gpu_blocks_override": 1000},
        {"runner": "pooling"},
        {"never_heard_of": 1},
        {"max_model_len": "auto"},
        {"max_model_len": -1},
        {"gpu_memory_utilization": 1.5},
        {"tensor_parallel_size": True},
    ],
    ids=str,
)
def test_a_flag_whose_effect_is_not_certain_leaves_nothing_said(flags: Mapping[str, Scalar]) -> None:
    assert vllm(flags) is None


def test_a_variable_of_the_engines_own_leaves_nothing_said() -> None:
    assert vllm({}, env={"HF_HUB_OFFLINE": "1"}) is not None
    assert vllm({}, env={"VLLM_CPU_KVCACHE_SPACE": "1"}) is None


def test_an_engine_without_a_memory_model_says_nothing() -> None:
    assert LlamaCpp(LlamaCpp.Options()).memory(Params()) is None
