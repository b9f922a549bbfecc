"""A gate and a rerun as whole studies on the fake server: durable as any, the rerun from its bundle alone elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import home, study, tuner

from optuna_tuner import Tuner
from optuna_tuner.rechecks import GateOrder, RerunOrder
from optuna_tuner.results.rechecked import is_met, recheck_text, rows
from optuna_tuner.results.views import StudyState, StudyView
from optuna_tuner.store.records import AttemptKind

__all__ = ["home", "tuner"]  # fixtures

METRIC = "output_throughput_tok_s"
LENIENT = 0.95  # two pairs on a busy machine tell little


def stop_amid_a_pair(view: StudyView) -> None:
    if any(trial.kind is AttemptKind.CONFIRM for trial in view.trials):
        raise KeyboardInterrupt


def test_a_winner_is_gated_across_an_interruption_and_run_again_elsewhere(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"itl_ms": {"type": "choice", "choices": [2.0]}}
    tuner.run(study("old", space=one, sampler={"kind": "grid"}, confirm={"top": 1, "pairs": 2}))
    order = GateOrder(study="old", max_regression=LENIENT, pairs=2)
    with pytest.raises(KeyboardInterrupt):
        tuner.run(tuner.gate_of(order), progress=stop_amid_a_pair)
    spec = tuner.gate_of(order)
    assert spec.name == "old-gate-1"
    gate = tuner.run(spec)
    assert (gate.state, gate.kind, gate.budget) == (StudyState.DONE, "gate", 2)
    assert is_met(gate), recheck_text(gate)
    assert {(row.who, row.metric) for row in rows(gate)} == {("winner", METRIC), ("default", METRIC)}
    assert tuner.gate_of(order).name == "old-gate-2"

    tuner.bundle("old", tmp_path / "bundle", 1)
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "elsewhere"))
    other = Tuner()
    again = other.run(other.rerun_of(RerunOrder(source=str(tmp_path / "bundle"), times=2)))
    assert (again.name, again.kind, again.counts.again) == ("old-rerun-1", "rerun", 1)
    assert is_met(again) is not None
    assert [trial.params for trial in again.trials] == [{"itl_ms": 2.0}] * 2
    assert again.spec.rerun is not None
    assert again.spec.rerun.figures[METRIC] == tuner.trial("old", 1).values
    assert "host" not in {change.name for change in other.changed(again.name)}
    other.close()
