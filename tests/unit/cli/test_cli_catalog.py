"""`optuna-tuner catalog` on the catalogues of a small engine of our own, and `validate --fix`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from optuna_tuner.catalog import shelf

Invoke = Callable[..., Result]
HELP = """\
#!/bin/sh
case "$*" in
*--version*) echo "0.99.0" ;;
*) cat <<'TEXT'
usage: abacus [-h] [--beads BEADS] [--fast]

options:
  -h, --help     show this help message and exit
  --beads BEADS  How many. (default: 10)
  --fast         Skip the zeros. (default: False)
TEXT
esac
"""


@pytest.mark.usefixtures("abacus")
def test_versions_are_listed_with_what_they_were_made_from(invoke: Invoke) -> None:
    lines = invoke("catalog", "list", "abacus").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["abacus", "1.0.0", "4"],
        ["abacus", "1.9.0", "5"],
        ["abacus", "1.10.0", "5"],
    ]
    assert "by hand" in lines[1]


@pytest.mark.usefixtures("abacus")
def test_a_flag_is_shown_with_its_default_and_choices(invoke: Invoke) -> None:
    shown = invoke("catalog", "show", "abacus", "1.10.0", "kv-dtype", "draft").stdout
    assert "--kv-dtype" in shown
    assert "auto fp8" in shown
    assert "changes the quality" in shown
    assert "by nothing" in shown
    (exact,) = json.loads(invoke("catalog", "show", "abacus", "1.10.0", "ms", "-o", "json").stdout)
    assert exact["spellings"] == ["--max-seqs", "-ms"]


@pytest.mark.usefixtures("abacus")
def test_a_flag_that_is_not_there_is_explained(invoke: Invoke) -> None:
    result = invoke("catalog", "show", "abacus", "1.10.0", "swap-space")
    assert result.exit_code == 2
    assert "swap-space is gone from abacus 1.10.0; the last with it was 1.9.0" in result.stderr


@pytest.mark.usefixtures("abacus")
def test_two_versions_are_compared(invoke: Invoke) -> None:
    lines = invoke("catalog", "diff", "abacus", "1.0.0", "1.10.0").stdout.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [["gone", "--swap-space"], ["new", "--chunked"], ["new", "--draft"]]


@pytest.mark.usefixtures("abacus")
def test_a_flag_is_followed_through_the_versions(invoke: Invoke) -> None:
    result = invoke("catalog", "history", "abacus", "swap-space")
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:]] == [
        ["1.0.0", "there"],
        ["1.9.0", "there"],
        ["1.10.0", "-"],
    ]
    assert "the last with it was 1.9.0" in result.stderr


@pytest.mark.parametrize("command", [("show", "sliderule", "1"), ("list", "sliderule"), ("history", "sliderule", "x")])
def test_an_unknown_engine_is_told_with_the_known_ones(invoke: Invoke, command: tuple[str, ...]) -> None:
    result = invoke("catalog", *command)
    assert result.exit_code == 2
    assert "llama_cpp, sglang, vllm" in result.stderr


def test_a_release_needs_its_version(invoke: Invoke) -> None:
    result = invoke("catalog", "refresh", "vllm")
    assert result.exit_code == 2
    assert "Write vllm==VERSION, or name a --wheel" in result.stderr


@pytest.mark.usefixtures("abacus")
def test_a_command_is_asked_for_its_flags(invoke: Invoke, tmp_path: Path) -> None:
    program = tmp_path / "abacus"
    program.write_text(HELP, encoding="utf-8")
    program.chmod(0o755)
    result = invoke("catalog", "from-command", "abacus", str(program))
    assert (result.exit_code, "0.99.0.json" in result.stderr) == (0, True)
    found = shelf.load("abacus", "0.99.0")
    assert list(found.names()) == ["beads", "fast"]


@pytest.mark.usefixtures("abacus")
def test_a_command_that_is_not_there_is_a_clear_error(invoke: Invoke) -> None:
    result = invoke("catalog", "from-command", "abacus", "/no/such/abacus")
    assert result.exit_code == 4
    assert "/no/such/abacus" in result.stderr


STUDY = """\
name: s
model: {name: m}
engine: {kind: sglang, version: 0.5.23, flags: {cuda-graph-max-bs: 8}}
benchmark: {kind: script, command: [x], metrics: [score]}
space: {max_running_requests: {type: int, low: 1, high: 9}}
goals: {objectives: [{metric: score, direction: maximize}]}
"""


def test_a_file_is_mended_only_when_that_is_asked_for(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(STUDY, encoding="utf-8")
    invoke("validate", str(file))
    assert file.read_text(encoding="utf-8") == STUDY
    result = invoke("validate", "--fix", str(file))
    assert "cuda-graph-max-bs is now cuda-graph-max-bs-decode" in result.stderr
    assert file.read_text(encoding="utf-8") == STUDY.replace("max-bs", "max-bs-decode")


def test_a_file_that_cannot_be_written_is_said_to_be_so(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("validate", "--fix", str(tmp_path / "bad-no-such.yaml"))
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
