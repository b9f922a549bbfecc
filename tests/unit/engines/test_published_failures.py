"""What others' servers printed before they ended is read as what it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from optuna_tuner.contracts import Engine
from optuna_tuner.engines.sglang import Sglang, SglangOptions
from optuna_tuner.engines.vllm import Vllm, VllmOptions

MATERIAL = Path(__file__).parents[2] / "material" / "engines" / "published.yaml"
PUBLISHED = yaml.safe_load(MATERIAL.read_text(encoding="utf-8"))
ENGINES: dict[str, Engine] = {"vllm": Vllm(VllmOptions()), "sglang": Sglang(SglangOptions())}


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: str(entry["what"]))
def test_a_published_failure_is_told_with_its_cause(entry: dict[str, str]) -> None:
    found = ENGINES[entry["engine"]].diagnose(entry["log"], 1)
    assert found.cause.value == entry["cause"]
    assert "core initialization failed" not in found.evidence


def test_every_failure_names_its_thread() -> None:
    assert all(entry["source"].startswith("https://github.com/") for entry in PUBLISHED)
