"""What a worker writes down of where a trial ran."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import fake_gpus
import pytest
from fake_gpus import Host

from optuna_tuner.tuning.surroundings import surroundings


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return fake_gpus.host(tmp_path / "gpus", monkeypatch)


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """Asked anew in each test."""
    surroundings.cache_clear()


def git(folder: Path, *words: str) -> str:
    author = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_gpus_are_named_with_their_memory_and_driver(host: Host) -> None:
    known = surroundings((host.uuids[1],))
    assert known["gpus"] == [{"uuid": host.uuids[1], "name": "Fake GPU", "memory_mib": 81920}]
    assert known["driver"] == "0.0"


def test_a_gpu_that_does_not_answer_is_named_alone(host: Host) -> None:
    host.ill(host.uuids[0], "lost")
    assert surroundings((host.uuids[0],))["gpus"] == [{"uuid": host.uuids[0]}]


def test_the_commit_of_the_working_folder_is_told_and_whether_files_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "git_commit" not in surroundings(())
    git(tmp_path, "init", "-q")
    (tmp_path / "study.yaml").write_text("name: a\n")
    git(tmp_path, "add", "study.yaml")
    git(tmp_path, "commit", "-q", "-m", "a study")
    commit = git(tmp_path, "rev-parse", "HEAD").strip()
    surroundings.cache_clear()
    assert surroundings(())["git_commit"] == commit
    (tmp_path / "study.yaml").write_text("name: b\n")
    surroundings.cache_clear()
    assert surroundings(())["git_commit"] == f"{commit}-dirty"


def test_machine_and_versions_are_told_and_of_the_environment_nothing_but_the_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("OPTUNA_TUNER_STORAGE", "postgresql://me:a secret@host/db")
    known = surroundings(())
    assert known["job"] == {"SLURM_JOB_ID": "4711"}
    assert isinstance(known["memory_bytes"], int)
    assert "a secret" not in str(known)
    assert "gpus" not in known


def test_the_versions_are_those_of_every_package_that_this_python_could_import() -> None:
    versions = surroundings(())["versions"]
    assert isinstance(versions, dict)
    told = dict(versions)
    assert str(told.pop("python")) in sys.version
    installed = {
        each.name.replace("_", "-").replace(".", "-").lower(): each.version for each in metadata.distributions()
    }
    assert {name.replace(".", "-"): version for name, version in told.items()} == installed
