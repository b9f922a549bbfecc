"""What each engine renders, argument by argument, and whether its server knows every one of these flags."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from optuna_tuner.catalog.catalogue import FlagType
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.llama_cpp import LlamaCpp, LlamaCppOptions
from optuna_tuner.engines.sglang import Sglang, SglangOptions
from optuna_tuner.engines.sglang import spelling as spelling_of_sglang
from optuna_tuner.engines.simulated import Simulated, SimulatedOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.engines.vllm import spelling as spelling_of_vllm
from optuna_tuner.values import Model, Params, Scalar, Slot

MATERIAL = Path(__file__).parents[1] / "material" / "engines"
MODEL = Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
CPU = Slot(name="cpu", host="here", cores=(0, 1))
TWO_GPUS = Slot(name="gpus", host="here", gpus=("GPU-1", "GPU-2"))
ADDRESS = ("--host", "{host}", "--port", "{port}")


def vllm(sampled: Mapping[str, Scalar], **options: JsonValue) -> tuple[str, ...]:
    return rendered(Vllm(VllmOptions.model_validate(options)), sampled)


def sglang(sampled: Mapping[str, Scalar], **options: JsonValue) -> tuple[str, ...]:
    return rendered(Sglang(SglangOptions.model_validate(options)), sampled)


def llama_cpp(sampled: Mapping[str, Scalar], **options: JsonValue) -> tuple[str, ...]:
    return rendered(LlamaCpp(LlamaCppOptions.model_validate(options)), sampled)


def rendered(engine: Engine, flags: Mapping[str, Scalar]) -> tuple[str, ...]:
    return engine.render(MODEL, Params(flags=flags), CPU).argv


VLLM_START = ("vllm", "serve", "/models/tiny", *ADDRESS, "--served-model-name", "tiny")
SGLANG_START = (
    *("python3", "-m", "sglang.launch_server", "--model-path", "/models/tiny"),
    *(*ADDRESS, "--served-model-name", "tiny"),
)
EMBEDDED_START = (
    *(sys.executable, "-m", "optuna_tuner.engines.embedded.launcher"),
    *("--model", "/models/tiny/model.gguf", "--alias", "tiny", *ADDRESS),
)


@pytest.mark.parametrize(
    ("flags", "end"),
    [
        ({}, ()),
        ({"max_num_seqs": 64, "tp": 2}, ("--max-num-seqs", "64", "--tensor-parallel-size", "2")),
        ({"--gpu-memory-utilization": 0.9}, ("--gpu-memory-utilization", "0.9")),
        ({"enable_prefix_caching": False}, ("--no-enable-prefix-caching",)),
        ({"enable_prefix_caching": True}, ("--enable-prefix-caching",)),
        ({"enable-chunked-prefill": False, "-q": "fp8"}, ("--no-enable-chunked-prefill", "--quantization", "fp8")),
        ({"disable_log_stats": False}, ()),
        ({"disable_log_stats": True}, ("--disable-log-stats",)),
        ({"long_prefill_token_threshold": -1}, ("--long-prefill-token-threshold=-1",)),
        ({"q": "x y; rm -rf /"}, ("--quantization", "x y; rm -rf /")),
    ],
)
def test_vllm_argv(flags: Mapping[str, Scalar], end: tuple[str, ...]) -> None:
    assert vllm(flags) == (*VLLM_START, *end)


@pytest.mark.parametrize(
    ("flags", "end"),
    [
        ({}, ()),
        ({"tensor_parallel_size": 4}, ("--tp-size", "4")),
        ({"enable_mixed_chunk": False, "disable_radix_cache": True}, ("--disable-radix-cache",)),
        ({"enable_mixed_chunk": True}, ("--enable-mixed-chunk",)),
        ({"enable_fused_qk_norm_rope": False}, ("--no-enable-fused-qk-norm-rope",)),
        ({"chunked_prefill_size": -1}, ("--chunked-prefill-size=-1",)),
        (
            {"schedule_policy": "lpm", "mem-fraction-static": 0.85, "-dp": 2},
            ("--dp-size", "2", "--mem-fraction-static", "0.85", "--schedule-policy", "lpm"),
        ),
    ],
)
def test_sglang_argv(flags: Mapping[str, Scalar], end: tuple[str, ...]) -> None:
    assert sglang(flags) == (*SGLANG_START, *end)


@pytest.mark.parametrize(("like", "true"), [("vllm", VLLM_START), ("sglang", SGLANG_START)])
def test_a_simulated_server_gets_the_true_ones_arguments_behind_what_it_is_to_simulate(
    like: str, true: tuple[str, ...]
) -> None:
    options = {"like": like, "version": "1.2.3", "gpu": "L4", "gpus": 2, "startup_s": 0.25, "config": None}
    setting = f'{{"like":"{like}","version":"1.2.3","gpu":"L4","gpus":2,"startup_s":0.25}}'
    launch = Simulated(SimulatedOptions.model_validate(options)).render(MODEL, Params(), TWO_GPUS)
    assert launch.argv[:4] == (sys.executable, "-m", "optuna_tuner.simulation.serve", setting)
    assert launch.argv[4:] == true[true.index("serve") + 1 :] if like == "vllm" else true[3:]
    assert launch.gpus == 0


@pytest.mark.parametrize(
    ("flags", "end"),
    [
        ({}, ("--threads", "2")),
        ({"-t": 2, "np": 8}, ("--parallel", "8", "--threads", "2")),
        ({"flash_attn": True, "t": 1}, ("--flash-attn", "on", "--threads", "1")),
        ({"flash_attn": False, "t": 1}, ("--flash-attn", "off", "--threads", "1")),
        ({"flash_attn": "auto", "t": 1}, ("--flash-attn", "auto", "--threads", "1")),
        ({"cont_batching": False, "t": 1}, ("--no-cont-batching", "--threads", "1")),
        ({"cache_ram": -1, "t": 1}, ("--cache-ram", "-1", "--threads", "1")),
        (
            {"ctk": "q8_0", "ctv": "q8_0", "ub": 64, "b": 256, "c": 4096, "t": 1},
            (
                *("--batch-size", "256", "--cache-type-k", "q8_0", "--cache-type-v", "q8_0"),
                *("--ctx-size", "4096", "--threads", "1", "--ubatch-size", "64"),
            ),
        ),
    ],
)
def test_embedded_argv(flags: Mapping[str, Scalar], end: tuple[str, ...]) -> None:
    assert llama_cpp(flags) == (*EMBEDDED_START, *end)


def test_a_real_llama_server_gets_the_same_flags_and_its_endpoints_on() -> None:
    assert llama_cpp({"parallel": 2}, command=["/opt/llama-server"]) == (
        *("/opt/llama-server", "--model", "/models/tiny/model.gguf", "--alias", "tiny", *ADDRESS),
        *("--metrics", "--props", "--slots", "--parallel", "2"),
    )


def test_a_command_takes_the_place_of_the_engines_own() -> None:
    assert vllm({}, command=["/venv/bin/vllm", "serve"])[:3] == ("/venv/bin/vllm", "serve", "/models/tiny")


def test_sampled_flags_override_fixed_ones_by_any_spelling() -> None:
    argv = vllm({"tensor_parallel_size": 2}, flags={"-tp": 4, "max-model-len": 2048})
    assert argv == (*VLLM_START, "--max-model-len", "2048", "--tensor-parallel-size", "2")


def test_structured_values_are_json_and_lists_are_several_arguments() -> None:
    fixed: JsonValue = {"speculative-config": {"method": "ngram", "k": 3}, "cudagraph-capture-sizes": [1, 2]}
    argv = vllm({}, flags=fixed)
    assert argv == (
        *(*VLLM_START, "--cudagraph-capture-sizes", "1", "2"),
        *("--speculative-config", '{"k":3,"method":"ngram"}'),
    )


def test_a_tokenizer_of_its_own_is_named() -> None:
    model = Model(name="tiny", path="/models/tiny", tokenizer="/tokenizers/tiny")
    assert "--tokenizer" in Vllm(VllmOptions()).render(model, Params(), CPU).argv
    assert "--tokenizer-path" in Sglang(SglangOptions()).render(model, Params(), CPU).argv


def test_secrets_are_named_and_never_told() -> None:
    options = VllmOptions.model_validate({"env": {"A": 1}, "secrets": {"HF_TOKEN": {"env": "MY_TOKEN"}}})
    launch = Vllm(options).render(MODEL, Params(env={"A": "2"}), CPU)
    assert (launch.env, launch.secrets) == ({"A": "2"}, {"HF_TOKEN": "MY_TOKEN"})


@pytest.mark.parametrize(("flags", "gpus"), [({}, 1), ({"tp": 2}, 2), ({"tp": 2, "pp": 2}, 4), ({"dp": 2}, 2)])
def test_a_launch_asks_for_as_many_gpus_as_its_ranks(flags: Mapping[str, Scalar], gpus: int) -> None:
    assert Vllm(VllmOptions()).render(MODEL, Params(flags=flags), TWO_GPUS).gpus == gpus
    assert Sglang(SglangOptions()).render(MODEL, Params(flags=flags), TWO_GPUS).gpus == gpus


def definitions(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MATERIAL / f"{name}-flags.json").read_text(encoding="utf-8"))
    return found


SPELLINGS = {"vllm": spelling_of_vllm("0.32.0"), "sglang": spelling_of_sglang("0.5.23")}


@pytest.mark.parametrize("name", SPELLINGS)
def test_switches_and_their_no_forms_are_those_of_the_engines_own_parser(name: str) -> None:
    flags = {flag.name: flag for flag in SPELLINGS[name].catalogue.flags if flag.type is FlagType.SWITCH}
    defined = definitions(name)
    assert {flag for flag in flags if flags[flag].negatable} == {*defined["two_way"]}
    assert {flag for flag in flags if not flags[flag].negatable} == {*defined["switches"]} - {"help"}


@pytest.mark.parametrize("name", SPELLINGS)
def test_aliases_are_those_of_the_engines_own_parser(name: str) -> None:
    aliases = {alias: flag for alias, flag in definitions(name)["aliases"].items() if flag != "help"}
    assert {alias: SPELLINGS[name].canonical(alias) for alias in aliases} == aliases


@pytest.mark.parametrize("name", SPELLINGS)
def test_names_of_our_own_mean_flags_of_the_engine_and_hide_none(name: str) -> None:
    spelling = SPELLINGS[name]
    assert all(spelling.catalogue.find(flag) for flag in spelling.aliases.values())
    assert not any(spelling.catalogue.find(alias) for alias in spelling.aliases)


def test_a_flag_is_written_as_its_parser_has_it_even_where_its_setting_has_another_name() -> None:
    start = SGLANG_START
    assert sglang({"fp8_gemm_backend": "triton"}, version="0.5.23") == (*start, "--fp8-gemm-backend", "triton")
    assert sglang({"fp8_gemm_runner_backend": "triton"}, version="0.5.23") == (*start, "--fp8-gemm-backend", "triton")


def test_a_switch_is_denied_only_in_versions_that_can_deny_it() -> None:
    old, new = (sglang({"enable_tf32_matmul": False}, version=version) for version in ("0.5.15", "0.5.23"))
    assert (old, new) == (SGLANG_START, (*SGLANG_START, "--no-enable-tf32-matmul"))
