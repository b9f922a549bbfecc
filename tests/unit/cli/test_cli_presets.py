"""`init` and `presets`: what is asked for is what the file says, and what cannot be is said in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

Invoke = Callable[..., Result]
MODELS = Path(__file__).parents[2] / "material" / "memory" / "models.yaml"


@pytest.fixture
def mixtral(tmp_path: Path) -> Path:
    models = yaml.safe_load(MODELS.read_text(encoding="utf-8"))
    config = next(each["config"] for name, each in models.items() if "Mixtral" in name or "Qwen3-30B" in name)
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_the_file_is_made_for_what_was_asked_for_and_says_how(invoke: Invoke, tmp_path: Path) -> None:
    words = ("--preset", "vllm", "--tier", "2", "--engine-version", "0.14.0", "--gpus", "4", "--with", "quantization")
    file = tmp_path / "study.yaml"
    assert invoke("init", str(file), *words).exit_code == 0
    text = file.read_text(encoding="utf-8")
    assert f"optuna-tuner init {' '.join(words)}\n" in text
    study = yaml.safe_load(text)
    assert study["engine"]["version"] == "0.14.0"
    assert study["space"]["tensor_parallel_size"]["choices"] == [1, 2, 4]
    assert study["space"]["kv_cache_dtype"]["choices"] == ["auto", "fp8"]
    assert invoke("presets", "vllm", *words[2:]).stdout == text


def test_a_model_with_experts_gets_their_flags(invoke: Invoke, mixtral: Path) -> None:
    words = ("presets", "parallelism", "--engine", "sglang", "--engine-version", "0.5.23", "--gpus", "8")
    assert "# Not here: ep_size: for models with experts; --model says which it is" in invoke(*words).stdout
    given = yaml.safe_load(invoke(*words, "--model", str(mixtral)).stdout)
    assert given["space"]["ep_size"] == {"type": "choice", "choices": [1, 2, 4, 8], "when": {"tp_size": 8}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("presets", "embedded", "--gpus", "2"), "the preset embedded comes as it is, without --gpus"),
        (("presets", "vllm", "--engine-version", "0.14.7"), "no catalogue of vllm 0.14.7; the nearest are 0.14.1"),
        (("presets", "parallelism"), "parallelism is no study by itself: name its engine, one of llama_cpp, sglang"),
        (("init", "-", "--preset", "quantization"), "or use --with quantization"),
        (("presets", "vllm", "--tier", "4"), "is not in the range 1<=x<=3"),
    ],
)
def test_what_cannot_be_made_is_said_in_words(invoke: Invoke, words: tuple[str, ...], said: str) -> None:
    result = invoke(*words)
    assert result.exit_code != 0
    assert said in result.stderr + str(result.exception)
