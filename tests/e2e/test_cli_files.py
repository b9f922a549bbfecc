"""The installed command, as a process, on study files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

Done = subprocess.CompletedProcess[str]
OptunaTuner = Callable[..., Done]
PROGRAM = Path(sys.executable).parent / "optuna-tuner"
TASK = {
    "task_name": "older",
    "model": {"id_or_path": "llama-3-2-1b-instruct", "namespace": "autotuner"},
    "base_runtime": "sglang",
    "parameters": {"tp-size": [1, 2], "mem-frac": [0.7, 0.8]},
    "optimization": {"strategy": "grid_search", "objective": "minimize_latency", "max_iterations": 4},
    "benchmark": {
        "task": "text-to-text",
        "model_name": "llama-3-2-1b-instruct",
        "model_tokenizer": "meta-llama/Llama-3.2-1B-Instruct",
        "traffic_scenarios": ["D(100,100)"],
        "num_concurrency": [1, 4],
    },
}


@pytest.fixture
def optuna_tuner(tmp_path: Path) -> OptunaTuner:
    """Run the command with a home of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OPTUNA_TUNER_", "NO_COLOR"))}
    env["OPTUNA_TUNER_HOME"] = str(tmp_path / "home")

    def run(*args: str, **more: str) -> Done:
        return subprocess.run(
            [PROGRAM, *args], capture_output=True, text=True, check=False, cwd=tmp_path, env=env | more, timeout=100
        )

    return run


@pytest.fixture
def never_made(tmp_path: Path) -> Iterator[None]:
    """The database must not be touched."""
    yield
    assert not (tmp_path / "home" / "studies.db").exists()


@pytest.mark.usefixtures("never_made")
def test_every_preset_becomes_a_valid_study_file(optuna_tuner: OptunaTuner) -> None:
    names = [line.split()[0] for line in optuna_tuner("presets").stdout.splitlines()[1:]]
    assert {"embedded", "vllm", "sglang"} <= set(names)
    names = [name for name in names if name not in {"parallelism", "quantization"}]  # these are for --with
    for name in names:
        assert optuna_tuner("init", f"{name}.yaml", "--preset", name).returncode == 0
    checked = optuna_tuner("validate", *(f"{name}.yaml" for name in names))
    assert checked.returncode == 0, checked.stderr
    assert not checked.stdout


def test_init_never_overwrites_unless_it_is_told_to(optuna_tuner: OptunaTuner, tmp_path: Path) -> None:
    mine = tmp_path / "study.yaml"
    mine.write_text("mine")
    refused = optuna_tuner("init")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert mine.read_text() == "mine"
    assert optuna_tuner("init", "--force").returncode == 0
    assert mine.read_text() == optuna_tuner("presets", "embedded").stdout


def test_an_unknown_preset_names_the_known_ones(optuna_tuner: OptunaTuner) -> None:
    result = optuna_tuner("init", "--preset", "nope")
    assert result.returncode == 2
    assert "embedded" in result.stderr


def test_every_fault_is_said_with_its_place_before_anything_starts(optuna_tuner: OptunaTuner, tmp_path: Path) -> None:
    text = optuna_tuner("presets", "embedded").stdout
    file = tmp_path / "study.yaml"
    file.write_text(text.replace("concurrency:", "concurency:").replace("direction: maximize", "direction: up"))
    for command in ("validate", "plan", "run"):
        result = optuna_tuner(command, "study.yaml")
        assert result.returncode == 2
        assert 'did you mean "concurrency"' in result.stderr
        assert "direction" in result.stderr
        assert all(line.startswith("study.yaml:") for line in result.stderr.splitlines())
        assert not result.stdout


def test_a_plan_says_what_would_be_launched_and_launches_nothing(optuna_tuner: OptunaTuner) -> None:
    optuna_tuner("init")
    shown = optuna_tuner("plan", "study.yaml")
    assert shown.returncode == 0, shown.stderr
    assert "--alias tiny" in shown.stdout
    assert optuna_tuner("run", "study.yaml", "--dry-run").stdout == shown.stdout
    document = json.loads(optuna_tuner("plan", "study.yaml", "-o", "json").stdout)
    assert len(document["launches"]) == 3
    assert document["space_size"] == 5 * 4 * 4 * 4 * 2 * 2 * 3 * 2


@pytest.mark.usefixtures("never_made")
def test_a_task_file_is_read_and_converted_to_a_study_that_means_the_same(
    optuna_tuner: OptunaTuner, tmp_path: Path
) -> None:
    (tmp_path / "task.json").write_text(json.dumps(TASK))
    assert optuna_tuner("validate", "task.json").returncode == 0
    assert optuna_tuner("convert", "task.json", "-o", "study.yaml").returncode == 0
    assert optuna_tuner("convert", "study.yaml").stdout == (tmp_path / "study.yaml").read_text()
    study = yaml.safe_load((tmp_path / "study.yaml").read_text())
    assert study["name"] == "older"
    assert study["engine"]["kind"] == "sglang"
    assert study["budget"]["trials"] == 4


def test_the_schema_is_json_and_knows_every_kind(optuna_tuner: OptunaTuner, tmp_path: Path) -> None:
    schema = optuna_tuner("schema").stdout
    optuna_tuner("schema", "study.schema.json")
    assert (tmp_path / "study.schema.json").read_text() == schema
    names = json.dumps(json.loads(schema)["$defs"])
    for plugin in json.loads(optuna_tuner("plugins", "-o", "json").stdout):
        assert not plugin["broken"]
        assert f'"{plugin["kind"]}"' in names


def test_plugins_explain_every_option(optuna_tuner: OptunaTuner) -> None:
    for plugin in json.loads(optuna_tuner("plugins", "-o", "json").stdout):
        assert plugin["summary"]
        assert all(option["description"] and option["type"] for option in plugin["options"]), plugin["kind"]


def test_an_unknown_plugin_names_the_known_ones(optuna_tuner: OptunaTuner) -> None:
    result = optuna_tuner("plugins", "nope")
    assert result.returncode == 2
    assert "llama_cpp" in result.stderr


def test_a_broken_pipe_is_quiet(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = subprocess.run([PROGRAM, "schema"], stdout=writer, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    os.close(writer)
    assert command.returncode == 0
    assert not command.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--version",), 0),
        (("nonsense",), 2),
        (("run",), 2),
        (("run", "missing.yaml"), 2),
        (("show", "no-such-study"), 2),
        (("--storage", "nonsense", "studies"), 4),
        (("--storage", "sqlite:///none.db", "db", "check"), 4),
    ],
)
def test_exit_codes(optuna_tuner: OptunaTuner, args: tuple[str, ...], code: int) -> None:
    result = optuna_tuner(*args)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert bool(result.stderr) == (code != 0)


def test_a_bug_is_told_without_a_traceback(optuna_tuner: OptunaTuner, tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "yaml"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ZeroDivisionError('nobody foresaw this')\n")
    result = optuna_tuner("validate", "study.yaml", PYTHONPATH=str(broken.parent), TMPDIR=str(tmp_path))
    assert result.returncode == 1
    assert "This is a bug in optuna-tuner: ZeroDivisionError: nobody foresaw this" in result.stderr
    assert "Traceback" not in result.stderr
    (log,) = tmp_path.glob("optuna-tuner-bug-*.log")
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text()


def loaded_modules(folder: Path, *arguments: str) -> set[str]:
    """What a command imports. Modules instead of seconds: a loaded machine is slow, but it imports no more."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return {line.rsplit("|", 1)[-1].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}


def test_the_help_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("optuna.", "sqlalchemy", "pydantic", "rich", "yaml", "httpx", "plotly", "alembic", "numpy")
    loaded = loaded_modules(tmp_path, "--help")
    assert "optuna_tuner.cli.app" in loaded
    assert not {name for name in loaded if name.startswith(heavy)}


def test_checking_the_largest_study_loads_neither_optuna_nor_a_database_nor_a_client(tmp_path: Path) -> None:
    heavy = ("optuna.", "sqlalchemy", "rich", "httpx", "aiohttp", "plotly", "alembic", "numpy", "filelock", "psutil")
    study = max((Path(__file__).parents[2] / "studies").glob("*.yaml"), key=lambda file: file.stat().st_size)
    loaded = loaded_modules(tmp_path, "validate", str(study))
    assert {"optuna_tuner.spec.files", "optuna_tuner.catalog.shelf"} <= loaded
    assert not {name for name in loaded if name.startswith(heavy)}
