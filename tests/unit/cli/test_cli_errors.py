"""Every error becomes a message and an exit code, never a traceback."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

from optuna_tuner.cli.faults import _report_thread, describe_bug
from optuna_tuner.errors import ConflictError, EnvironmentFaultError, StoppedError, StoreError, TunerError
from optuna_tuner.presets.shelf import preset_text

if TYPE_CHECKING:
    from fake_tuner import FakeTuner

Invoke = Callable[..., Result]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConflictError("the space has changed"), 2),
        (StoreError("the database is away"), 4),
        (EnvironmentFaultError("genai-bench is missing; get it with: optuna-tuner doctor"), 4),
        (StoppedError("asked to stop"), 130),
        (TunerError("it failed"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_said_on_stderr_and_sets_the_exit_code(
    invoke: Invoke, tuner: FakeTuner, error: BaseException, code: int
) -> None:
    tuner.raises = error
    result = invoke("show", "sample")
    assert result.exit_code == code
    assert not result.stdout
    assert (str(error) or "Interrupted.") in result.stderr
    assert "Traceback" not in result.stderr


def test_each_fault_of_a_file_has_a_line_of_its_own(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.touch()
    result = invoke("run", str(file))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"{file}:2:1: name: bad", f"{file}:6:5: space.x.hgh: unknown key"]


def test_validate_looks_at_every_file_before_it_complains(invoke: Invoke, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    good.write_text(preset_text("embedded"), encoding="utf-8")
    bad.write_text(preset_text("embedded").replace("goals:", "gaols:"), encoding="utf-8")
    result = invoke("validate", str(bad), str(good))
    assert result.exit_code == 2
    assert f'{good}: a good study, "embedded"' in result.stderr
    assert f"{bad}:" in result.stderr
    assert "gaols: unknown key" in result.stderr


def test_an_unknown_study_is_a_usage_error(invoke: Invoke) -> None:
    result = invoke("trials", "smaple")
    assert result.exit_code == 2
    assert 'there is no study "smaple"' in result.stderr


@pytest.mark.parametrize(("written", "meant"), [("studis", "studies"), ("runn", "run"), ("result", "results")])
def test_a_misspelt_command_is_guessed(invoke: Invoke, written: str, meant: str) -> None:
    result = invoke(written)
    assert result.exit_code == 2
    assert f'Did you mean "{meant}"?' in result.stderr


def test_a_command_that_resembles_nothing_points_at_the_help(invoke: Invoke) -> None:
    assert "optuna-tuner --help" in invoke("qqqqqq").stderr


@pytest.mark.parametrize("name", ["missing.yaml", "missing.json", "folder/missing"])
def test_a_file_that_is_not_there_is_not_taken_for_a_study(invoke: Invoke, tuner: FakeTuner, name: str) -> None:
    result = invoke("run", name)
    assert result.exit_code == 2
    assert f'there is no file "{name}"' in result.stderr
    assert not tuner.asked


def test_a_folder_that_refuses_is_the_machines_matter_and_no_bug(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.raises = PermissionError(errno.EACCES, "Permission denied", "/srv/artifacts")
    result = invoke("show", "sample")
    assert result.exit_code == 4
    assert result.stderr == "Error: /srv/artifacts: Permission denied\n"
    tuner.raises = OSError(errno.EBADF, "Bad file descriptor")
    assert invoke("show", "sample").exception is tuner.raises


def test_a_bug_is_told_with_a_file_that_holds_the_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / int("0")
    said, log = describe_bug(caught.value)
    content = log.read_text()
    log.unlink()
    assert "bug" in said
    assert str(log) in said
    assert "Traceback" in content
    assert "division by zero" in content


def test_a_bug_in_a_thread_is_told_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    error = ZeroDivisionError("in a thread")
    _report_thread(threading.ExceptHookArgs((ZeroDivisionError, error, None, None)))
    said = capsys.readouterr().err
    Path(said.split()[-1]).unlink()
    assert "This is a bug in optuna-tuner: ZeroDivisionError: in a thread" in said
    assert "Traceback" not in said
