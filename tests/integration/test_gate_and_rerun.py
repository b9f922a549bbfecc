"""A gate and a rerun as whole studies on the fake server; the rerun from a bundle alone, in a storage of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gates import CASES, METRIC, confirmed
from runs import home, tuner

from optuna_tuner import Tuner
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.rechecks import GateOrder, RerunOrder, gate_of
from optuna_tuner.results.rechecked import is_met, recheck_text, rows
from optuna_tuner.results.views import StudyState

__all__ = ["home", "tuner"]  # fixtures

LENIENT = GateOrder(study="paper", max_regression=0.95, pairs=2)  # two pairs on a busy machine tell little


def test_a_winner_is_gated_and_run_again_elsewhere(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = confirmed(CASES[0], np.random.default_rng(1), 3)
    gate = tuner.run(gate_of(older, LENIENT, {}, (), InstalledKinds()))
    assert (gate.state, gate.kind, gate.budget, gate.counts.again) == (StudyState.DONE, "gate", 2, 4)
    assert is_met(gate), recheck_text(gate)
    assert {(row.who, row.metric) for row in rows(gate)} == {("winner", METRIC), ("default", METRIC)}

    tuner.bundle(gate.name, tmp_path / "bundle", 1)
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "elsewhere"))
    other = Tuner()
    again = other.run(other.rerun_of(RerunOrder(source=str(tmp_path / "bundle"), times=2)))
    assert (again.name, again.kind, again.counts.again) == ("paper-gate-1-rerun-1", "rerun", 1)
    assert is_met(again) is not None
    assert [trial.params for trial in again.trials] == [gate.trial(1).params] * 2
    assert again.spec.rerun is not None
    assert again.spec.rerun.figures[METRIC] == gate.trial(1).values
    assert "host" not in {change.name for change in other.changed(again.name)}
    other.close()
