"""The commands of the README do what it says, from a folder of their own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAM = Path(sys.executable).parent / "optuna-tuner"
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]
Done = subprocess.CompletedProcess[str]


def block_with(text: str) -> list[str]:
    return next(block for block in BLOCKS if any(text in line for line in block))


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str, float], Done]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPTUNA_TUNER_")}
    env = kept | {"OPTUNA_TUNER_HOME": str(tmp_path / "home")}

    def in_folder(line: str, patience_s: float) -> Done:
        words = [str(PROGRAM), *shlex.split(line)[1:]]
        return subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=patience_s
        )

    return in_folder


def test_the_first_command_names_extras_that_exist() -> None:
    (line,) = [line for line in block_with("pip install") if line.startswith("pip")]
    extras = re.search(r"\[(.*)\]", line)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= project["optional-dependencies"].keys()
    assert "optuna-tuner demo" in block_with("pip install")


def test_the_test_command_exists() -> None:
    (line,) = block_with("make ")
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_a_study_of_ones_own_up_to_its_plan(run: Callable[[str, float], Done]) -> None:
    needs_a_gpu = ("run", "results", "why", "report", "export", "bundle", "dashboard")
    lines = [line for line in block_with("init study.yaml") if line.split()[1] not in needs_a_gpu]
    assert [line.split()[1] for line in lines] == ["presets", "init", "doctor", "validate", "plan"]
    for line in lines:
        done = run(line, 100)
        assert done.returncode == 0, (line, done.stderr)
    assert "vllm serve" in done.stdout
