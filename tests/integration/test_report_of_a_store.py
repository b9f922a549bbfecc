"""The report of a study in a real database."""

from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner import Tuner

STUDIES = Path(__file__).parents[2] / "studies"


def test_a_study_that_was_only_made_has_a_report_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path))
    tuner = Tuner(f"sqlite:///{tmp_path / 'studies.db'}")
    study = tuner.create(tuner.validate(STUDIES / "simulated-vllm.yaml"))
    made = tuner.report(study.name)
    tuner.hang(study.name, "<!doctype html>")
    tuner.close()
    assert made.summary.decision == "rehearsal"
    assert "No trial has been measured yet." in made.summary.text
    assert made.plots == ()
    (hung,) = (tmp_path / "artifacts" / "dashboard").iterdir()
    assert hung.read_text(encoding="utf-8") == "<!doctype html>"
