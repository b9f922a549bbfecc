"""Where other programs are looked for, and what is said when one cannot be made."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.other_programs import GENAI_BENCH, GUIDELLM, VLLM


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    for program in (GENAI_BENCH.executable(), GUIDELLM.executable(), VLLM):
        monkeypatch.delenv(program.variable, raising=False)


def test_it_is_found_as_chosen_then_by_variable_then_installed_then_beside_python_then_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert GENAI_BENCH.executable().find(None) is None
    on_path = _program(tmp_path / "path" / "genai-bench")
    assert GENAI_BENCH.executable().find(None) == on_path
    beside = _program(tmp_path / "venv" / "bin" / "genai-bench")
    assert GENAI_BENCH.executable().find(None) == beside
    installed = _program(tmp_path / "home" / "tools" / "genai-bench-0.0.5" / "bin" / "genai-bench")
    assert GENAI_BENCH.executable().find(None) == installed
    named = _program(tmp_path / "named")
    monkeypatch.setenv("OPTUNA_TUNER_GENAI_BENCH", str(named))
    assert GENAI_BENCH.executable().find(None) == named
    chosen = _program(tmp_path / "chosen")
    assert GENAI_BENCH.executable().find(str(chosen)) == chosen


def test_a_chosen_program_that_is_not_there_is_not_replaced_by_another(tmp_path: Path) -> None:
    _program(tmp_path / "path" / "genai-bench")
    assert GENAI_BENCH.executable().find(str(tmp_path / "nowhere")) is None


def test_a_python_too_new_for_genai_bench_is_said_with_the_way_out() -> None:
    kit = replace(GENAI_BENCH, pythons=("3.1", "3.0"))
    with pytest.raises(EnvironmentFaultError, match=r"needs Python 3\.0 to 3\.1; .*install one of them"):
        kit.install(lambda _: None)


def test_a_step_that_fails_is_told_with_its_reason_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    kit = replace(GENAI_BENCH, pythons=(f"{sys.version_info.major}.{sys.version_info.minor}",))
    with pytest.raises(EnvironmentFaultError, match="/nowhere/python"):
        kit.install(lambda _: None)
    assert not list(kit.folder().parent.iterdir())


def test_what_is_installed_is_not_installed_again() -> None:
    program = _program(GUIDELLM.folder() / "bin" / "guidellm")
    steps: list[str] = []
    assert GUIDELLM.install(steps.append) == program
    assert steps == []
    assert GUIDELLM.executable().missing(None) is None


def test_the_vllm_that_loads_is_the_one_that_would_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert VLLM.missing(None) == "vllm is not here: install vLLM, or let benchmark.executable name the program"
    on_path = _program(tmp_path / "path" / "vllm")
    assert VLLM.find(None) == on_path
    named = _program(tmp_path / "named")
    monkeypatch.setenv("OPTUNA_TUNER_VLLM", str(named))
    assert VLLM.find(None) == named
