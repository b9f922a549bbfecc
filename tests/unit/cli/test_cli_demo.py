"""The demo's study is the embedded preset under two loads."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
from click.testing import Result

from optuna_tuner.cli.demo import demo_study

Invoke = Callable[..., Result]


def test_the_demo_is_a_study_of_a_dozen_trials_through_genai_bench() -> None:
    spec = demo_study(quick=False)
    assert (spec.engine.kind, spec.benchmark.kind) == ("llama_cpp", "genai_bench")
    assert spec.budget.trials >= 12
    assert spec.baseline


def test_the_quick_demo_is_shorter_and_needs_no_genai_bench() -> None:
    spec = demo_study(quick=True)
    assert spec.benchmark.kind == "http"
    assert spec.budget.trials < demo_study(quick=False).budget.trials
    assert spec.name != demo_study(quick=False).name


def test_the_demo_without_the_embedded_server_says_how_to_get_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    result = invoke("demo", "--quick")
    assert result.exit_code == 4
    assert "pip install 'optuna-tuner[embedded]'" in result.stderr
