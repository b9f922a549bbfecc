"""Which configurations are one server for certain, before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from optuna_tuner.contracts import Engine
from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.engines.sglang import Sglang, SglangOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.testing.fake_engine import FakeEngine, FakeOptions
from optuna_tuner.values import Model, Params, Scalar, Slot

MODEL = Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
SLOT = Slot(name="s", host="here", cores=(0, 1))
VLLM = Vllm(VllmOptions(version="0.33.0"))
SGLANG = Sglang(SglangOptions(version="0.5.23"))
LLAMA = LlamaCpp(LlamaCppOptions())


def identity(engine: Engine, /, slot: Slot = SLOT, **flags: Scalar) -> Mapping[str, Scalar]:
    return engine.identity(MODEL, Params(flags=flags), slot)


@pytest.mark.parametrize(
    ("engine", "flags"),
    [
        (VLLM, {"kv_cache_dtype": "auto", "gpu_memory_utilization": 0.92, "enforce_eager": False, "seed": 0}),
        (VLLM, {"gpu_memory_utilization": "0.92", "seed": "0"}),
        (SGLANG, {"schedule_policy": "fcfs", "enable_mixed_chunk": False, "schedule_conservativeness": 1}),
        (FakeEngine(FakeOptions()), {"itl_ms": 5, "slots": 0, "misbehave": "none"}),
    ],
    ids=["vllm", "vllm-text", "sglang", "fake"],
)
def test_a_flag_that_is_given_its_plain_default_is_as_good_as_left_out(
    engine: Engine, flags: Mapping[str, Scalar]
) -> None:
    assert engine.identity(MODEL, Params(flags=flags), SLOT) == identity(engine) == {}


def test_what_an_engine_chooses_by_the_machine_is_no_plain_default() -> None:
    assert identity(VLLM, max_num_seqs=256) == {"max_num_seqs": 256}
    assert identity(SGLANG, chunked_prefill_size=8192) == {"chunked_prefill_size": 8192}
    assert identity(VLLM, enable_chunked_prefill=True) == {"enable_chunked_prefill": True}


def test_the_defaults_are_those_of_exactly_the_version_or_none() -> None:
    assert identity(Vllm(VllmOptions(version="0.19.1")), gpu_memory_utilization=0.92) != {}
    assert identity(Vllm(VllmOptions(version="0.19.1")), gpu_memory_utilization=0.9) == {}
    assert identity(Vllm(VllmOptions()), gpu_memory_utilization=0.92) == {"gpu_memory_utilization": 0.92}


def test_1_is_1_0_where_a_number_is_read_and_true_is_on_where_a_word_is() -> None:
    assert identity(VLLM, gpu_memory_utilization=1) == identity(VLLM, gpu_memory_utilization=1.0)
    assert identity(LLAMA, flash_attn=True) == identity(LLAMA, flash_attn="on")


def test_sampled_flags_go_before_fixed_ones_and_fixed_ones_count() -> None:
    fixed = Vllm(VllmOptions(version="0.33.0", flags={"max-num-seqs": 64, "compilation_config": {"b": 1, "a": 2}}))
    assert identity(fixed) == {"max_num_seqs": 64, "compilation_config": '{"a":2,"b":1}'}
    assert identity(fixed, max_num_seqs=32)["max_num_seqs"] == 32


def test_a_number_with_a_unit_and_one_that_is_none_are_kept_as_they_were_asked_for() -> None:
    assert identity(VLLM, max_num_seqs="8k", gpu_memory_utilization="nan") == {
        "max_num_seqs": "8k",
        "gpu_memory_utilization": "nan",
    }


def test_without_flags_for_them_the_embedded_server_has_as_many_threads_as_the_slot_has_cores() -> None:
    assert identity(LLAMA, threads=2) == identity(LLAMA)
    assert identity(LLAMA, slot=Slot(name="s", host="here", cores=(0,))) != identity(LLAMA)


def test_a_known_rewrite_is_told_to_people() -> None:
    said = LLAMA.remarks(MODEL, Params(flags={"ubatch_size": 512, "batch_size": 256}), SLOT)
    assert said == ("ubatch_size (512) is cut to batch_size (256)",)
    assert LLAMA.remarks(MODEL, Params(flags={"ubatch_size": 256, "batch_size": 256}), SLOT) == ()


def test_a_read_back_settles_no_flag_that_it_only_repeats() -> None:
    told: dict[str, Scalar] = {"max_num_batched_tokens": 8192, "max_num_seqs": 64, "version": "0.33.0"}
    assert VLLM.settled(told) == {"max_num_batched_tokens"}
    assert LlamaCpp(LlamaCppOptions(command=("llama-server",))).settled({"parallel": 4, "ctx_size": 4096}) == set()
    assert LLAMA.settled({"parallel": 4, "batch_size": 64, "build_info": "b1"}) == {"parallel", "batch_size"}
