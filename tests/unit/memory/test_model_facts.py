"""Facts of a model: what its config says is what it weighs and what it remembers."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory import facts
from optuna_tuner.memory.checkpoint import weights
from optuna_tuner.memory.families import family
from optuna_tuner.memory.model import Divide, Memory
from optuna_tuner.memory.quantization import left_alone, scheme_of

MATERIAL = Path(__file__).parents[2] / "material" / "memory"
MODELS: Mapping[str, Any] = yaml.safe_load((MATERIAL / "models.yaml").read_text(encoding="utf-8"))
LLAMA = MODELS["Llama-3.1-8B"]["config"]


def memories(name: str) -> Counter[Memory]:
    return Counter(layer.memory for layer in facts.of(MODELS[name]["config"]).layers)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_as_published(name: str) -> None:
    model = MODELS[name]
    tolerance = 0.01 if model.get("rounded") else 0.0001
    assert facts.of(model["config"]).parameters == pytest.approx(model["published"], rel=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_every_shape_of_a_known_model_is_understood(name: str) -> None:
    assert facts.of(MODELS[name]["config"]).doubts == ()


def test_an_unknown_architecture_is_said_aloud() -> None:
    found = facts.of({**LLAMA, "model_type": "never_heard_of"})
    assert found.parameters == facts.of(LLAMA).parameters
    assert "never_heard_of" in found.doubts[0]


def test_the_families_are_read_with_their_types() -> None:
    assert family("qwen2").qkv_bias is True
    assert family("gemma2").norms == 4
    assert not family("nothing").known


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Llama-3.1-8B", {Memory.FULL: 32}),
        ("Mistral-7B-v0.1", {Memory.WINDOW: 32}),
        ("Mixtral-8x7B", {Memory.FULL: 32}),
        ("Qwen2-1.5B", {Memory.FULL: 28}),
        ("Gemma-2-9B", {Memory.WINDOW: 21, Memory.FULL: 21}),
        ("Gemma-3-1B", {Memory.WINDOW: 22, Memory.FULL: 4}),
        ("gpt-oss-20b", {Memory.WINDOW: 12, Memory.FULL: 12}),
        ("gpt-oss-120b", {Memory.WINDOW: 18, Memory.FULL: 18}),
        ("Jamba-v0.1", {Memory.STATE: 28, Memory.FULL: 4}),
        ("Qwen3-Next-80B-A3B", {Memory.STATE: 36, Memory.FULL: 12}),
    ],
)
def test_layers_remember_what_their_kind_does(name: str, kept: Mapping[Memory, int]) -> None:
    assert memories(name) == kept


def test_llama_4_looks_at_chunks_in_three_layers_of_four() -> None:
    config = {**LLAMA, "model_type": "llama4_text", "attention_chunk_size": 8192, "num_local_experts": 16}
    found = Counter((layer.memory, layer.window) for layer in facts.of(config).layers)
    assert found == {(Memory.CHUNK, 8192): 24, (Memory.FULL, 0): 8}


def test_nemotron_h_has_one_thing_in_each_layer() -> None:
    config = {
        **{name: LLAMA[name] for name in ("hidden_size", "intermediate_size", "vocab_size", "tie_word_embeddings")},
        "model_type": "nemotron_h",
        "num_hidden_layers": 4,
        "hybrid_override_pattern": "M-*E",
        "head_dim": 128,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "n_routed_experts": 8,
        "moe_intermediate_size": 64,
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
        "conv_kernel": 4,
    }
    layers = facts.of(config).layers
    assert [layer.memory for layer in layers] == [Memory.STATE, Memory.NOTHING, Memory.FULL, Memory.NOTHING]
    assert layers[0].state is not None
    assert layers[0].state.recurrent == 128 * 64 * 128
    assert layers[0].state.convolution == (128 * 64 + 2 * 8 * 128) * 3


def test_the_language_model_inside_a_multimodal_one_is_found() -> None:
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096}
    config: dict[str, Any] = {"model_type": "mistral3", "text_config": LLAMA, "vision_config": vision}
    found = facts.of(config)
    tower = found.parameters - facts.of(LLAMA).parameters
    assert found.doubts == ()
    assert tower == pytest.approx(24 * (4 * 1024**2 + 2 * 1024 * 4096), rel=0.02)


def test_mla_keeps_one_latent_vector() -> None:
    found = facts.of(MODELS["DeepSeek-V3"]["config"])
    assert found.is_mla
    assert {layer.latent for layer in found.layers} == {512 + 64}


def test_only_experts_of_gpt_oss_are_quantized() -> None:
    parts = facts.of(MODELS["gpt-oss-20b"]["config"]).layers[0].parts
    assert {part.divide for part in parts if part.quantized} == {Divide.EXPERT}


@pytest.mark.parametrize(
    ("said", "bits"),
    [
        ({"quant_method": "fp8"}, 8.0),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 8.0),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.5),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8.0),
        ({"quant_method": "mxfp4"}, 4.25),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 4.5),
        ({"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 8}}}}, 8.0),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"a": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
            },
            4.5,
        ),
        ({"quant_method": "invented"}, 0.0),
    ],
)
def test_bits_of_a_weight_hold_their_scales(said: Mapping[str, Any], bits: float) -> None:
    scheme = scheme_of({"quantization_config": dict(said)})
    assert scheme is not None
    assert scheme.bits == pytest.approx(bits)


def test_a_quantization_of_unknown_size_is_said_aloud() -> None:
    found = facts.of({**LLAMA, "quantization_config": {"quant_method": "invented"}})
    assert "invented" in found.doubts[0]


@pytest.mark.parametrize(
    ("pattern", "module", "alone"),
    [
        ("lm_head", "layers.0.self_attn.q_proj", False),
        ("model.layers.0.self_attn.q_proj", "layers.0.self_attn.q_proj", True),
        ("model.layers.1.self_attn", "layers.1.self_attn.q_proj", True),
        ("model.layers.1", "layers.11.self_attn.q_proj", False),
        ("self_attn", "layers.7.self_attn.q_proj", True),
        ("model.layers.*.self_attn*", "layers.7.self_attn.q_proj", True),
        ("re:.*self_attn.*", "layers.7.self_attn.q_proj", True),
        ("re:(unclosed", "layers.7.self_attn.q_proj", False),
    ],
)
def test_modules_that_the_checkpoint_leaves_alone_are_found(pattern: str, module: str, *, alone: bool) -> None:
    said: dict[str, Any] = {"quantization_config": {"quant_method": "fp8", "ignore": [pattern]}}
    assert left_alone(said)(module) is alone


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "num_hidden_layers"),
        ({**LLAMA, "hidden_size": "wide"}, "hidden_size"),
        ({**LLAMA, "layer_types": ["full_attention", "telepathy"]}, "telepathy"),
        ({**LLAMA, "layer_types": ["linear_attention"] * 32}, "recurrent layers"),
    ],
)
def test_a_config_that_lacks_something_says_what(config: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        facts.of(config)


def write_tensors(file: Path, tensors: Mapping[str, tuple[str, list[int]]]) -> None:
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, (dtype, shape) in tensors.items()
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)


def test_weights_are_measured_from_the_headers_without_drafts(tmp_path: Path) -> None:
    write_tensors(
        tmp_path / "model.safetensors",
        {
            "model.layers.0.w": ("BF16", [10, 10]),
            "model.layers.1.w": ("F8_E4M3", [10, 10]),
            "model.layers.2.w": ("BF16", [1000]),
            "mtp.fc": ("BF16", [1000]),
        },
    )
    assert weights(tmp_path, 2) == 200 + 100


def test_without_the_files_the_index_gives_the_size(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 123}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights(tmp_path, 2) == 123


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, struct.pack("<Q", 1 << 40)])
def test_a_broken_weights_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert weights(tmp_path, 2) == 0


def test_a_model_is_read_from_its_folder_and_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert facts.read(tmp_path) == facts.read(str(tmp_path / "config.json")) == facts.of(LLAMA)


def test_a_model_is_found_in_the_cache_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models--meta-llama--Llama-3.1-8B"
    for name, config in (("abc", LLAMA), ("old", {**LLAMA, "num_hidden_layers": 1})):
        (folder / "snapshots" / name).mkdir(parents=True)
        (folder / "snapshots" / name / "config.json").write_text(json.dumps(config))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert len(facts.read("meta-llama/Llama-3.1-8B").layers) == 32


@pytest.mark.parametrize("name", ["meta-llama/Nothing", "../../etc", "a b", ""])
def test_a_model_that_is_not_here_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentFaultError, match=r"hf download"):
        facts.read(name)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_type": "llama"}'])
def test_a_file_that_is_no_config_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(EnvironmentFaultError, match=r"cannot be used as a model's config"):
        facts.read(tmp_path)


def test_modelopts_own_file_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    said = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(said))
    scheme = facts.read(tmp_path).scheme
    assert scheme is not None
    assert (scheme.bits, scheme.kv_dtype) == (8.0, "fp8")


@pytest.mark.parametrize(("layers", "pipeline", "sizes"), [(32, 4, [8] * 4), (61, 4, [15, 15, 16, 15]), (7, 2, [4, 3])])
def test_stages_share_the_layers_as_vllm_does(layers: int, pipeline: int, sizes: list[int]) -> None:
    found = facts.of({**LLAMA, "num_hidden_layers": layers}).stages(pipeline)
    assert [sum(count for _, count in stage) for stage in found] == sizes


def test_a_model_on_the_disk_is_no_other_model() -> None:
    found = facts.of(LLAMA)
    assert replace(found, file_bytes=1).parameters == found.parameters
