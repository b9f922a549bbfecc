"""The command `report`: one file, a folder, or stdout; nothing is overwritten unasked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from fake_tuner import FakeTuner

Invoke = Callable[..., Result]


def test_without_a_place_the_markdown_goes_to_stdout(invoke: Invoke) -> None:
    done = invoke("report", "sample")
    assert done.exit_code == 0
    assert done.stdout.startswith("# sample\n")
    assert done.stderr == ""


@pytest.mark.parametrize(("name", "begins"), [("r.md", "# sample"), ("r.html", "<!doctype html>"), ("r.json", "{")])
def test_a_file_is_what_its_name_ends_with(invoke: Invoke, tmp_path: Path, name: str, begins: str) -> None:
    file = tmp_path / name
    assert invoke("report", "sample", "-o", str(file)).exit_code == 0
    assert file.read_text(encoding="utf-8").startswith(begins)


def test_what_is_written_hangs_in_the_dashboard_and_what_is_printed_does_not(
    invoke: Invoke, tuner: FakeTuner, tmp_path: Path
) -> None:
    assert invoke("report", "sample").exit_code == 0
    hung = [each for each in tuner.asked if each[0] == "hang"]
    assert hung == []
    assert invoke("report", "sample", "-o", str(tmp_path / "r.json")).exit_code == 0
    assert [each for each in tuner.asked if each[0] == "hang"] == [("hang", "sample", "<!doctype html>")]


def test_a_folder_gets_every_form_and_is_not_overwritten_unasked(invoke: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "report"
    words = ("report", "sample", "-o", str(folder), "--no-plots")
    assert invoke(*words).exit_code == 0
    assert {each.name for each in folder.iterdir()} == {"report.html", "report.md", "report.json"}
    again = invoke(*words)
    assert again.exit_code == 2
    assert "is there already; --force overwrites it" in again.stderr
    assert invoke(*words, "--force").exit_code == 0


def test_without_a_browser_the_plots_are_said_to_be_missing(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = invoke("report", "sample", "-o", str(tmp_path / "report"))
    assert done.exit_code == 0
    assert "No plots/*.png: they need Chromium or Chrome" in done.stderr
    assert not (tmp_path / "report" / "plots").exists()


def test_a_browser_that_does_not_draw_is_no_error(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("no program of this machine\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    done = invoke("report", "sample", "-o", str(tmp_path / "report"))
    assert done.exit_code == 0
    assert f"{broken} did not draw them" in done.stderr


def test_the_price_is_part_of_the_method(invoke: Invoke) -> None:
    words = ("report", "sample", "--gpu-price", "2.5", "--currency", "EUR")
    assert "2.5 EUR for a GPU and hour, as given" in invoke(*words).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "report.pdf"), "no file that ends with .html, .md, .json"),
        (("--gpu-price", "0"), "0.0 is not in the range x>0"),
        (("-o", "/proc/report"), "/proc/report cannot be written"),
    ],
)
def test_what_cannot_be_is_told(invoke: Invoke, words: tuple[str, ...], said: str) -> None:
    done = invoke("report", "sample", *words, *(["--no-plots"] if "/proc/report" in words else []))
    assert done.exit_code == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_another_study_is_not_found(invoke: Invoke) -> None:
    done = invoke("report", "other")
    assert done.exit_code == 2
    assert 'there is no study "other"' in done.stderr


def test_the_json_is_the_document(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    invoke("report", "sample", "-o", str(file))
    made = json.loads(file.read_text(encoding="utf-8"))
    assert (made["format"], made["study"], made["summary"]["trial"]) == ("optuna-tuner report 1", "sample", 8)
