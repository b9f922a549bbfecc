from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.engines.sglang import Sglang, SglangOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.values import Model, Params, Scalar, Slot

MODEL = Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
CPU = Slot(name="cpu", host="here")
TWO_GPUS = Slot(name="gpus", host="here", gpus=("GPU-1", "GPU-2"))


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"max_num_batched_tokens": 32, "max_num_seqs": 64}, "max_num_batched_tokens (32) is below max_num_seqs (64)"),
        (
            {"enable_chunked_prefill": False, "max_num_batched_tokens": 1024, "max_model_len": 2048},
            "without chunked prefill, max_num_batched_tokens (1024) must reach max_model_len (2048)",
        ),
        ({"tp": 2, "pp": 2}, "needs 4 GPUs, the slot has 2"),
        ({"port": 80}, "port is set by the tuner itself"),
        ({"max_num_active_seqs": 9, "max_num_seqs": 8}, "max_num_active_seqs (9) is above max_num_seqs (8)"),
        ({"pcp": 2, "tp": 2}, "needs 4 GPUs, the slot has 2"),
        (
            {"long_prefill_token_threshold": 9, "max_model_len": 8},
            "long_prefill_token_threshold (9) is above max_model_len (8)",
        ),
    ],
)
def test_vllm_rejects(flags: Mapping[str, Scalar], reason: str) -> None:
    assert Vllm(VllmOptions(version="0.33.0")).reject(MODEL, Params(flags=flags), TWO_GPUS) == reason


def test_a_rule_sees_the_fixed_flags_too() -> None:
    engine = Vllm(VllmOptions(flags={"max-num-seqs": 64}))
    assert engine.reject(MODEL, Params(flags={"max_num_batched_tokens": 32}), CPU) is not None


def test_without_gpus_the_server_itself_decides_about_its_ranks() -> None:
    assert Vllm(VllmOptions()).reject(MODEL, Params(flags={"tp": 2}), CPU) is None


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (
            {"chunked_prefill_size": 1000, "page_size": 64},
            "chunked_prefill_size (1000) is no multiple of page_size (64)",
        ),
        (
            {"enable_hierarchical_cache": True, "disable_radix_cache": True},
            "enable_hierarchical_cache needs the radix cache",
        ),
        ({"tp": 2, "attn_dp_size": 4}, "tp_size (2) is no multiple of 4 attention groups"),
        ({"tp": 2, "dp": 2}, "needs 4 GPUs, the slot has 2"),
        ({"tp": 2, "dp": 2, "enable_dp_attention": True}, None),
        ({"chunked_prefill_size": -1, "page_size": 64}, None),
    ],
)
def test_sglang_rejects(flags: Mapping[str, Scalar], reason: str | None) -> None:
    assert Sglang(SglangOptions()).reject(MODEL, Params(flags=flags), TWO_GPUS) == reason


def test_llama_cpp_lets_the_server_refuse_for_itself() -> None:
    flags: Mapping[str, Scalar] = {"cache_type_v": "q8_0", "flash_attn": "off"}
    assert LlamaCpp(LlamaCppOptions()).reject(MODEL, Params(flags=flags), CPU) is None
    assert (
        LlamaCpp(LlamaCppOptions()).reject(MODEL, Params(flags={"m": "x"}), CPU) == "model is set by the tuner itself"
    )


def test_a_flag_given_twice_by_two_names_is_an_error() -> None:
    with pytest.raises(ValidationError, match="tp and --tensor-parallel-size are the same flag"):
        VllmOptions(flags={"--tensor-parallel-size": 1, "tp": 2})


def test_a_fixed_flag_that_the_tuner_sets_is_an_error() -> None:
    with pytest.raises(ValidationError, match="--api-key is set by the tuner itself"):
        VllmOptions(flags={"--api-key": "x"})


def test_a_command_is_never_empty() -> None:
    with pytest.raises(ValidationError, match="command"):
        LlamaCppOptions(command=())


def test_the_server_has_as_many_threads_as_its_slot_has_cores() -> None:
    def threads(cores: tuple[int, ...]) -> str | None:
        slot = Slot(name="cpu", host="here", cores=cores)
        engine = LlamaCpp(LlamaCppOptions())
        argv = engine.render(MODEL, Params(), slot).argv
        return argv[argv.index("--threads") + 1] if "--threads" in argv else None

    assert [threads(()), threads((0,)), threads((0, 1)), threads((0, 1, 2, 3))] == [None, "1", "2", "4"]
