"""Every example runs, as its reader would run it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAM = Path(sys.executable).parent / "optuna-tuner"
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPTUNA_TUNER_")}
    return (
        kept
        | {"OPTUNA_TUNER_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
        | {"HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis")}
    )


@pytest.fixture
def with_my_engine(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What `pip install examples/my_engine` leaves behind: the module, and the entry points of its pyproject."""
    project = tomllib.loads((EXAMPLES / "my_engine" / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / "my_engine-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return env | {"PYTHONPATH": f"{tmp_path / 'site'}:{EXAMPLES / 'my_engine'}"}


def run(*argv: str | Path, env: dict[str, str], cwd: Path) -> Done:
    return subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=110)


def test_a_study_in_ten_lines_of_python(env: dict[str, str], tmp_path: Path) -> None:
    done = run(sys.executable, EXAMPLES / "run_a_study.py", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [[str(number), "feasible"] for number in range(4)]
    assert "not confirmed by repeats" in lines[4]


def test_the_search_alone(env: dict[str, str], tmp_path: Path) -> None:
    done = run(sys.executable, EXAMPLES / "search_only.py", env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "{'tensor_parallel_size': 4, 'max_num_seqs': 512, 'enable_chunked_prefill': True}" in done.stdout


def test_a_metric_of_ones_own(env: dict[str, str]) -> None:
    done = run(PROGRAM, "run", "own_metric.yaml", env=env, cwd=EXAMPLES)
    assert done.returncode == 0, done.stderr
    assert "model_list_ms" in done.stdout


def test_a_strangers_engine_keeps_the_promises(env: dict[str, str]) -> None:
    argv = (sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", ".")
    done = run(*argv, env=env, cwd=EXAMPLES / "my_engine")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_a_strangers_engine_is_found_by_its_entry_point(with_my_engine: dict[str, str], tmp_path: Path) -> None:
    listed = run(PROGRAM, "plugins", "my_engine", env=with_my_engine, cwd=tmp_path)
    assert "an example of an engine of one's own" in listed.stdout, listed.stderr
    done = run(PROGRAM, "run", EXAMPLES / "my_engine" / "study.yaml", env=with_my_engine, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 feasible" in done.stdout
