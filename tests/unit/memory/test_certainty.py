"""What certainly does not fit: refused with what is needed and what there is, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from optuna_tuner.memory import facts
from optuna_tuner.memory.certainty import refusal
from optuna_tuner.memory.estimate import Verdict, estimate
from optuna_tuner.memory.gpus import GIB, gpu
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.memory.model import Memory, ModelFacts
from optuna_tuner.memory.weights import least_bytes, stage_bytes

MATERIAL = Path(__file__).parents[2] / "material" / "memory"
MODELS: Mapping[str, Any] = yaml.safe_load((MATERIAL / "models.yaml").read_text(encoding="utf-8"))
LOGS: list[dict[str, Any]] = yaml.safe_load((MATERIAL / "logs.yaml").read_text(encoding="utf-8"))


def clear(name: str) -> ModelFacts:
    """The model as if its config named its architecture and its files were here."""
    found = facts.of(MODELS[name]["config"])
    return replace(found, architecture="AnyForCausalLM", file_bytes=1 << 60)


LLAMA = clear("Llama-3.1-8B")


def test_weights_that_are_above_the_share_are_refused_with_what_is_needed_and_what_there_is() -> None:
    assert refusal(LLAMA, 16 * GIB, Layout(), Settings(memory_fraction=0.85)) == (
        "weights of 15.0 GiB a GPU do not fit into 0.85 of 16.0 GiB: "
        "more GPUs (tensor_parallel_size), a larger gpu_memory_utilization, or quantization"
    )
    assert refusal(LLAMA, 12 * GIB, Layout(), Settings(engine="sglang")) == (
        "weights of 15.0 GiB a GPU do not fit into 12.0 GiB: more GPUs (tp_size) or quantization"
    )
    for enough in (Settings(memory_fraction=0.95), Settings(memory_fraction=0.85, quantization="fp8")):
        assert refusal(LLAMA, 16 * GIB, Layout(), enough) is None
    assert refusal(LLAMA, 16 * GIB, Layout(tp=2), Settings(memory_fraction=0.85)) is None


def test_vllm_needs_room_for_one_sequence_and_sglang_does_not() -> None:
    asked = Settings(memory_fraction=0.95, max_model_len=8192)
    assert refusal(LLAMA, 16 * GIB, Layout(), asked) == (
        "one sequence of 8192 tokens (max_model_len) needs 1.0 GiB of KV cache a GPU; beside weights of 15.0 GiB there "
        "are 0.2 GiB in 0.95 of 16.0 GiB: more GPUs (tensor_parallel_size), a larger gpu_memory_utilization, "
        "a smaller max_model_len, or an fp8 kv_cache_dtype"
    )
    for fits in (
        replace(asked, max_model_len=4096),
        replace(asked, kv_cache_dtype="fp8"),
        replace(asked, engine="sglang"),
    ):
        assert refusal(LLAMA, 16 * GIB, Layout(), fits) is None


def test_weights_that_may_fit_by_the_models_stated_error_are_not_refused() -> None:
    weights = least_bytes(LLAMA, Layout(), Settings())
    assert refusal(LLAMA, int(0.97 * weights), Layout(), Settings())
    assert refusal(LLAMA, int(0.985 * weights), Layout(), Settings()) is None


@pytest.mark.parametrize(
    "known",
    [
        replace(LLAMA, doubts=("something",)),
        replace(LLAMA, architecture="LlamaForSequenceClassification"),
        replace(clear("Qwen3-235B-A22B-FP8"), file_bytes=0),
    ],
    ids=["doubts", "no head", "quantized, and its files are not here"],
)
def test_a_model_that_is_not_wholly_known_is_never_refused(known: ModelFacts) -> None:
    assert refusal(known, GIB, Layout(), Settings(memory_fraction=0.5)) is None


@pytest.mark.parametrize(
    "asked",
    [
        Settings(engine="tgi"),
        Settings(dtype="int3"),
        Settings(quantization="awq"),
        Settings(quantization="bitsandbytes"),
        Settings(kv_cache_dtype="fp1"),
    ],
    ids=str,
)
def test_settings_that_are_not_known_are_never_refused(asked: Settings) -> None:
    assert refusal(LLAMA, GIB, Layout(), asked) is None


def test_a_checkpoint_of_32_bits_is_served_in_16() -> None:
    saved = facts.of({**MODELS["Llama-3.1-8B"]["config"], "torch_dtype": "float32"})
    assert least_bytes(saved, Layout(), Settings()) == least_bytes(LLAMA, Layout(), Settings())
    assert sum(stage_bytes(saved, Layout(), Settings(dtype="float32"))) == 2 * sum(
        stage_bytes(saved, Layout(), Settings())
    )


def test_files_that_are_smaller_than_the_config_tells_count() -> None:
    counted = least_bytes(LLAMA, Layout(), Settings())
    assert least_bytes(replace(LLAMA, file_bytes=int(counted / 2)), Layout(), Settings()) == pytest.approx(counted / 2)


def test_an_embedding_model_is_not_wholly_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODELS["Llama-3.1-8B"]["config"]))
    assert facts.read(tmp_path).doubts == ()
    (tmp_path / "modules.json").write_text("[]")
    assert "embedding model" in facts.read(tmp_path).doubts[0]


@pytest.mark.parametrize("log", [log for log in LOGS if log.get("pool", 0) > 0], ids=lambda log: log["model"])
def test_no_server_that_others_saw_running_is_refused(log: Mapping[str, Any]) -> None:
    names = {"engine", "version", "max_model_len", "memory_fraction"} - set(log.get("assumed", ()))
    settings = Settings(**{name: log[name] for name in names if name in log})
    card = gpu("H200" if log["gpu"] == "unknown" else log["gpu"])
    assert refusal(clear(log["model"]), card.memory, Layout(tp=log["tp"]), settings) is None


@given(
    st.sampled_from(sorted(MODELS)),
    st.sampled_from(["vllm", "sglang"]),
    st.builds(Layout, tp=st.sampled_from([1, 2, 4, 8]), pp=st.integers(1, 4), dp=st.integers(1, 2)),
    st.floats(0.1, 1.0),
    st.integers(1, 200_000),
)
def test_what_is_refused_is_not_said_to_fit(
    name: str, engine: str, layout: Layout, fraction: float, length: int
) -> None:
    settings = Settings(engine=engine, memory_fraction=fraction, max_model_len=length)
    known = replace(clear(name), file_bytes=0, scheme=None)
    if refusal(known, gpu("H100").memory, layout, settings):
        assert estimate(known, gpu("H100"), layout, settings).verdict is not Verdict.FITS


@pytest.mark.parametrize("memory", [Memory.WINDOW, Memory.CHUNK, Memory.STATE])
def test_layers_that_forget_need_no_room_for_a_long_sequence(memory: Memory) -> None:
    settings = Settings(max_model_len=1 << 20)
    forgetful = tuple(replace(layer, memory=memory, window=4096) for layer in LLAMA.layers)
    assert refusal(LLAMA, 80 * GIB, Layout(), settings)
    assert refusal(replace(LLAMA, layers=forgetful), 80 * GIB, Layout(), settings) is None


def test_stages_are_held_against_their_mean_wherever_they_are_cut() -> None:
    assert refusal(LLAMA, int(7.2 * GIB), Layout(pp=2), Settings())
    assert refusal(LLAMA, int(7.5 * GIB), Layout(pp=2), Settings()) is None
