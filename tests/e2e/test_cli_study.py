"""The installed command drives whole studies on the fake server: run, resume, interrupt, steer, read."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from optuna_tuner.clock import Deadline, poll

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]
PROGRAM = str(Path(sys.executable).parent / "optuna-tuner")
PATIENCE_S = 90.0
STUDY: dict[str, object] = {
    "name": "fake study",
    "model": {"name": "fake", "path": "/nowhere"},
    "engine": {"kind": "fake", "flags": {"slots": 4}},
    "benchmark": {"kind": "http", "scenario": "D(16,8)", "concurrency": [2], "requests": 8},
    "space": {"ttft_ms": {"type": "int", "low": 1, "high": 20}, "itl_ms": {"type": "float", "low": 1.0, "high": 5.0}},
    "goals": {"objectives": [{"metric": "ttft_ms.mean", "direction": "minimize"}]},
    "sampler": {"kind": "random", "seed": 1},
    "budget": {"trials": 3},
    "limits": {"startup_s": 60, "benchmark_s": 60},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with study files, and a home of its own."""
    folder = tmp_path_factory.mktemp("studies")
    crash: dict[str, object] = {
        "engine": {"kind": "fake", "flags": {"misbehave": "out_of_memory"}},
        "budget": {"trials": 1},
    }
    long: dict[str, object] = {"budget": {"trials": 500}}
    ruled: dict[str, object] = {"rules": [{"forbid": "ttft_ms > 3", "because": "too slow"}]}
    hopeless: dict[str, object] = {"rules": [{"forbid": "ttft_ms > 0"}]}
    changes = {"fake": STUDY, "crash": crash, "long": long, "ruled": ruled, "hopeless": hopeless}
    for name, change in changes.items():
        study = STUDY | {"name": name} | change
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def env(place: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPTUNA_TUNER_", "NO_COLOR"))}
    return kept | {"OPTUNA_TUNER_HOME": str(place / "home"), "TERM": "xterm-256color"}


@pytest.fixture(scope="module")
def optuna_tuner(place: Path, env: dict[str, str]) -> Run:
    def run(*args: str) -> Done:
        return subprocess.run(
            [PROGRAM, *args], capture_output=True, text=True, check=False, cwd=place, env=env, timeout=PATIENCE_S
        )

    return run


@pytest.fixture(scope="module")
def first(optuna_tuner: Run) -> Done:
    """The study, run once."""
    return optuna_tuner("run", "fake.yaml")


@pytest.fixture
def interrupted(place: Path, env: dict[str, str], optuna_tuner: Run) -> Iterator[subprocess.Popen[str]]:
    """A long study in its own process, with a trial under way; cancelled at the end."""
    process = subprocess.Popen([PROGRAM, "run", "long.yaml"], cwd=place, env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert poll(lambda: _running(optuna_tuner) or None, Deadline.after(PATIENCE_S), every_s=0.5)
        yield process
    finally:
        optuna_tuner("cancel", "long")
        process.kill()
        process.communicate()


def _running(optuna_tuner: Run) -> bool:
    shown = optuna_tuner("trials", "long", "--state", "running", "-o", "value")
    return shown.returncode == 0 and bool(shown.stdout.strip())


def test_a_study_runs_to_its_end(first: Done) -> None:
    assert first.returncode == 0, first.stderr
    assert [line.split("]")[0] for line in first.stderr.splitlines() if line.startswith("[")][-1] == "[3/3"
    assert "default (trial 0)" in first.stdout
    assert "Next:" in first.stderr


def test_the_same_command_resumes_and_runs_nothing_twice(first: Done, optuna_tuner: Run) -> None:
    again = optuna_tuner("run", "fake.yaml")
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert optuna_tuner("trials", "fake study", "-o", "value").stdout.split() == ["0", "1", "2"]


@pytest.mark.usefixtures("first")
def test_a_changed_space_under_the_same_name_is_a_conflict(optuna_tuner: Run, place: Path) -> None:
    changed = STUDY | {"space": {"ttft_ms": {"type": "int", "low": 1, "high": 99}}}
    (place / "changed.yaml").write_text(yaml.safe_dump(changed))
    result = optuna_tuner("run", "changed.yaml")
    assert result.returncode == 2
    assert "fake study" in result.stderr


@pytest.mark.usefixtures("first")
def test_every_format_of_the_results_can_be_read(optuna_tuner: Run) -> None:
    study = json.loads(optuna_tuner("results", "fake study", "--format", "json").stdout)
    assert study["counts"]["feasible"] == 3
    assert yaml.safe_load(optuna_tuner("results", "fake study", "--format", "yaml").stdout)["name"] == "fake study"
    rows = list(csv.DictReader(io.StringIO(optuna_tuner("results", "fake study", "--format", "csv").stdout)))
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    task = json.loads(optuna_tuner("results", "fake study", "--format", "task").stdout)
    assert task["successful_experiments"] == 3
    best = float(optuna_tuner("best", "fake study", "-o", "value").stdout)
    assert best == min(trial["values"][0] for trial in study["trials"])


@pytest.mark.usefixtures("first")
def test_a_trial_is_shown_with_its_log_and_its_files(optuna_tuner: Run, place: Path) -> None:
    shown = optuna_tuner("show", "fake study", "1").stdout
    folder = next(line.split(maxsplit=1)[1] for line in shown.splitlines() if line.startswith("files:"))
    assert folder.startswith(str(place / "home"))
    assert Path(folder).is_dir()
    assert "fake: ready" in optuna_tuner("logs", "fake study", "1").stdout


def test_what_a_rule_forbids_costs_no_trial_and_is_told_with_the_trial_that_came_instead(optuna_tuner: Run) -> None:
    assert optuna_tuner("run", "ruled.yaml").returncode == 0
    study = json.loads(optuna_tuner("results", "ruled", "--format", "json").stdout)
    assert [trial["cause"] for trial in study["trials"]] == [None] * 3
    assert all(trial["params"]["ttft_ms"] <= 3 for trial in study["trials"][1:])
    told = next(trial for trial in study["trials"] if trial["choice"])
    assert told["choice"]["objections"] == ["rule: ttft_ms > 3 (too slow)"]
    shown = optuna_tuner("show", "ruled", str(told["number"])).stdout
    assert "known not to run: rule: ttft_ms > 3 (too slow)" in shown


def test_a_study_of_which_everything_is_forbidden_is_warned_of_and_ends_with_its_reason(optuna_tuner: Run) -> None:
    warning = "200 of 200 random configurations are known not to run"
    assert warning in optuna_tuner("validate", "hopeless.yaml").stderr.replace("\n", " ")
    assert warning in optuna_tuner("plan", "hopeless.yaml").stderr.replace("\n", " ")
    optuna_tuner("run", "hopeless.yaml")
    study = json.loads(optuna_tuner("results", "hopeless", "--format", "json").stdout)
    assert [trial["cause"] for trial in study["trials"]] == [None, "rejected", "rejected"]


def test_a_study_without_anything_feasible_ends_with_1_and_says_why(optuna_tuner: Run) -> None:
    result = optuna_tuner("run", "crash.yaml")
    assert result.returncode == 1, result.stderr
    assert "out_of_memory_pool" in result.stdout
    assert optuna_tuner("best", "crash").returncode == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; print('{\"m\": 1}'); sys.exit('no such metric server')", "code 1: no such metric server"),
        ("pass", "the command printed nothing"),
    ],
)
def test_a_script_that_fails_is_told_with_its_own_words(optuna_tuner: Run, place: Path, code: str, reason: str) -> None:
    script = {"kind": "script", "command": [sys.executable, "-c", code], "metrics": ["m"], "loads": [1]}
    goals = {"objectives": [{"metric": "m", "direction": "minimize"}]}
    ends = {"budget": {"trials": 1}, "limits": {"startup_s": 60, "tries": 1}}
    study = STUDY | {"name": f"script {len(code)}", "benchmark": script, "goals": goals} | ends
    (place / "script.yaml").write_text(yaml.safe_dump(study))
    result = optuna_tuner("run", "script.yaml")
    assert result.returncode == 1, result.stderr
    assert reason in result.stderr


def test_a_secret_that_is_not_set_is_told_before_it_costs_a_trial(optuna_tuner: Run, place: Path) -> None:
    engine = {"kind": "vllm", "secrets": {"HF_TOKEN": {"env": "NOBODY_SETS_THIS"}}}
    study = STUDY | {"name": "secret", "engine": engine, "space": {"max_num_seqs": {"type": "choice", "choices": [1]}}}
    (place / "secret.yaml").write_text(yaml.safe_dump(study))
    result = optuna_tuner("run", "secret.yaml")
    assert result.returncode == 4
    assert "HF_TOKEN from NOBODY_SETS_THIS" in result.stderr
    assert json.loads(optuna_tuner("trials", "secret", "-o", "json").stdout) == []


@pytest.mark.usefixtures("interrupted")
def test_a_slot_that_is_held_is_told_without_the_words_of_a_log(optuna_tuner: Run, place: Path) -> None:
    (place / "second.yaml").write_text(yaml.safe_dump(STUDY | {"name": "second"}))
    result = optuna_tuner("run", "second.yaml")
    assert result.returncode == 4
    assert "one said: core-" in result.stderr


@pytest.mark.usefixtures("first", "interrupted")
def test_a_study_that_is_done_needs_no_slot(first: Done, optuna_tuner: Run) -> None:
    again = optuna_tuner("run", "fake.yaml")
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout


def test_an_interrupt_gives_the_trial_back_and_ends_with_130(
    interrupted: subprocess.Popen[str], optuna_tuner: Run
) -> None:
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=PATIENCE_S)
    assert interrupted.returncode == 130, said
    assert "Traceback" not in said
    study = json.loads(optuna_tuner("show", "long", "-o", "json").stdout)
    assert study["counts"]["running"] == 0
    assert study["workers"] == 0


def test_stop_from_another_shell_ends_the_run(interrupted: subprocess.Popen[str], optuna_tuner: Run) -> None:
    assert optuna_tuner("stop", "long").returncode == 0
    interrupted.communicate(timeout=PATIENCE_S)
    assert interrupted.returncode == 0
    states = {each["name"]: each["state"] for each in json.loads(optuna_tuner("studies", "-o", "json").stdout)}
    assert states["long"] == "stopped"


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("no_color", [False, True])
def test_colours_are_for_terminals_and_never_with_no_color(place: Path, env: dict[str, str], *, no_color: bool) -> None:
    terminal, theirs = pty.openpty()
    settings = env | ({"NO_COLOR": "1"} if no_color else {})
    subprocess.run(
        [PROGRAM, "results", "fake study"], check=True, cwd=place, env=settings, stdin=theirs, stdout=theirs, timeout=60
    )
    os.close(theirs)
    said = os.read(terminal, 1 << 16)
    os.close(terminal)
    assert b"feasible" in said
    assert (b"\x1b[" in said) is not no_color


def test_the_script_that_is_exported_starts_the_best_server(
    first: Done, optuna_tuner: Run, place: Path, env: dict[str, str]
) -> None:
    assert first.returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = optuna_tuner("export", "fake study", "--to", "shell", "--port", str(port), "-o", "serve.sh")
    assert done.returncode == 0, done.stderr
    with subprocess.Popen(["bash", place / "serve.sh"], env=env, stderr=subprocess.DEVNULL) as server:
        try:
            assert poll(lambda: models(port) or None, Deadline.after(PATIENCE_S)) == ["fake"]
        finally:
            server.kill()


def models(port: int) -> list[str]:
    """Those that a server lists; none while it does not answer."""
    with suppress(httpx.HTTPError):
        return [each["id"] for each in httpx.get(f"http://127.0.0.1:{port}/v1/models").json()["data"]]
    return []
