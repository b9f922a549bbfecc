"""Doctor says what is true of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.doctor import Check, checks
from optuna_tuner.home import HOME_VARIABLE


def check(name: str, storage: str) -> Check:
    return next(each for each in checks(storage) if each.name == name)


def test_a_home_that_is_a_file_is_found_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/studies.db"
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "not" / "made" / "yet"))
    assert check("home folder", storage).ok
    (tmp_path / "file").touch()
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file"))
    found = check("home folder", storage)
    assert not found.ok
    assert found.needed
    assert HOME_VARIABLE in found.how_to_get


def test_the_genai_bench_that_would_run_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_GENAI_BENCH", "/bin/true")
    assert check("genai-bench", f"sqlite:///{tmp_path}/studies.db").found == "/bin/true"


def test_a_docker_daemon_that_is_away_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    found = check("Docker daemon", f"sqlite:///{tmp_path}/studies.db")
    assert not found.ok
    assert not found.needed
    assert f"{tmp_path}/none.sock cannot be reached" in found.found
