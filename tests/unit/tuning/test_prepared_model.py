from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from optuna_tuner.engines.vllm import Vllm, VllmOptions
from optuna_tuner.spec.study import ModelSpec
from optuna_tuner.tuning.model import model_paths
from optuna_tuner.values import Json, Model, Params, Slot

LLAMA: Mapping[str, Json] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def model(folder: Path, config: Mapping[str, Json]) -> Model:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model_paths(ModelSpec(name="m", path=str(folder)))


def test_a_models_config_tells_what_rules_ask(tmp_path: Path) -> None:
    assert model(tmp_path, LLAMA).facts == {
        "model_heads": 32,
        "model_kv_heads": 8,
        "model_experts": 0,
        "model_uses_mla": False,
    }


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_ranks_that_divide_the_heads_are_taken(tmp_path: Path, ranks: int) -> None:
    assert reason(model(tmp_path, LLAMA), ranks) is None


def test_ranks_that_do_not_divide_the_heads_are_refused_before_any_launch(tmp_path: Path) -> None:
    assert reason(model(tmp_path, LLAMA), 3) == (
        "the model's 32 attention heads cannot be divided by tensor_parallel_size (3)"
    )


@pytest.mark.parametrize("config", [{}, {**LLAMA, "model_type": "unheard-of"}, {"hidden_size": "many"}])
def test_nothing_is_claimed_of_a_model_that_is_not_understood(tmp_path: Path, config: Mapping[str, Json]) -> None:
    assert model(tmp_path, config).facts == {}
    assert reason(model(tmp_path, config), 3) is None


def test_nothing_is_claimed_of_a_model_that_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert model_paths(ModelSpec(name="nobody/nothing")).facts == {}


def reason(served: Model, ranks: int) -> str | None:
    slot = Slot(name="s", host="h", gpus=tuple(map(str, range(8))))
    return Vllm(VllmOptions(version="0.33.0")).reject(served, Params(flags={"tp": ranks}), slot)
