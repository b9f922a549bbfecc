"""`optuna-tuner fit`: an answer for people and for programs, and errors that say what to do."""

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
def llama(tmp_path: Path) -> str:
    config = yaml.safe_load(MODELS.read_text(encoding="utf-8"))["Llama-3.1-70B"]["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_a_model_that_fits_is_told_with_its_tokens_and_requests(invoke: Invoke, llama: str) -> None:
    result = invoke("fit", llama, "--gpu", "h200", "--tp", "2")
    assert result.exit_code == 0
    assert result.stdout.startswith("Fits: ")
    assert "2 x H200" in result.stdout
    assert "70.55 billion parameters" in result.stdout
    assert "requests" in result.stdout
    assert "Doubt: the weights are counted from the config" in result.stderr


def test_a_model_that_does_not_fit_ends_with_1(invoke: Invoke, llama: str) -> None:
    result = invoke("fit", llama, "--gpu", "H100", "--engine", "sglang")
    assert result.exit_code == 1
    assert result.stdout.startswith("Does not fit: ")


def test_what_is_not_known_is_no_failure(invoke: Invoke, llama: str) -> None:
    result = invoke("fit", llama, "--gpu", "H200", "--tp", "2", "--kv-cache-dtype", "fp1")
    assert result.exit_code == 0
    assert result.stdout.startswith("Does not know: ")
    assert "fp1" in result.stdout


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_programs_get_every_number(invoke: Invoke, llama: str, output: str) -> None:
    words = ("--gpu", "H200", "--tp", "4", "--max-model-len", "8192", "--mem-fraction-static", "0.8", "-o", output)
    result = invoke("fit", llama, "--engine", "sglang", *words)
    found = yaml.safe_load(result.stdout)
    assert found["verdict"] == "fits"
    assert found["parameters"] == 70_553_706_496
    assert found["settings"]["memory_fraction"] == 0.8
    assert found["kv_bytes_per_token"] == 2 * 80 * 2 * 128 * 2
    assert found["largest_concurrency"] == found["kv_tokens"] // 8192
    assert found["layout"]["tp"] == 4


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("fit", "no/model", "--gpu", "H200"), 4, "hf download no/model config.json"),
        (("fit", ".", "--gpu", "abacus"), 2, "H200"),
        (("fit", ".", "--gpu", "H200", "--tp", "0"), 2, "--tp"),
        (("fit", "."), 2, "--gpu"),
    ],
)
def test_an_error_says_what_to_do(invoke: Invoke, words: tuple[str, ...], code: int, said: str) -> None:
    result = invoke(*words)
    assert result.exit_code == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr
