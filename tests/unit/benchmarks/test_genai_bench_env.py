"""Where genai-bench is looked for, and what is said when it cannot be made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from optuna_tuner.benchmarks import genai_bench_env
from optuna_tuner.errors import EnvironmentFaultError


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
    monkeypatch.delenv(genai_bench_env.VARIABLE, raising=False)


def test_it_is_found_as_chosen_then_by_variable_then_installed_then_beside_python_then_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert genai_bench_env.find(None) is None
    on_path = _program(tmp_path / "path" / "genai-bench")
    assert genai_bench_env.find(None) == on_path
    beside = _program(tmp_path / "venv" / "bin" / "genai-bench")
    assert genai_bench_env.find(None) == beside
    installed = _program(tmp_path / "home" / "tools" / "genai-bench-0.0.5" / "bin" / "genai-bench")
    assert genai_bench_env.find(None) == installed
    named = _program(tmp_path / "named")
    monkeypatch.setenv(genai_bench_env.VARIABLE, str(named))
    assert genai_bench_env.find(None) == named
    chosen = _program(tmp_path / "chosen")
    assert genai_bench_env.find(str(chosen)) == chosen


def test_a_chosen_program_that_is_not_there_is_not_replaced_by_another(tmp_path: Path) -> None:
    _program(tmp_path / "path" / "genai-bench")
    assert genai_bench_env.find(str(tmp_path / "nowhere")) is None


def test_a_python_too_new_for_genai_bench_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genai_bench_env, "PYTHONS", ("3.0",))
    with pytest.raises(EnvironmentFaultError, match=r"needs Python 3\.10 to 3\.12.*install one of them"):
        genai_bench_env.install(lambda _: None)


def test_a_step_that_fails_is_told_with_its_reason_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(genai_bench_env, "PYTHONS", (f"{sys.version_info.major}.{sys.version_info.minor}",))
    with pytest.raises(EnvironmentFaultError, match="/nowhere/python"):
        genai_bench_env.install(lambda _: None)
    assert not list(genai_bench_env.folder().parent.iterdir())


def test_what_is_installed_is_not_installed_again() -> None:
    program = _program(genai_bench_env.folder() / "bin" / "genai-bench")
    steps: list[str] = []
    assert genai_bench_env.install(steps.append) == program
    assert steps == []
