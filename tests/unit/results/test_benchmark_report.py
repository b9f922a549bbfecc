"""The report of a benchmark: one configuration, whole, or as far as it came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from reported import SIZES, bench_study, report_on

from optuna_tuner.results.report.benchmark import as_measured
from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.markdown import markdown
from optuna_tuner.results.views import StudyView
from optuna_tuner.store.artifacts import LEVELS_FILE
from optuna_tuner.store.codec import encode

NOWHERE = Path("/nowhere")


def reported(study: StudyView, folder: Path = NOWHERE) -> Report:
    return report_on(as_measured(study, folder))


def test_a_whole_benchmark_says_what_was_measured_and_nothing_of_a_search() -> None:
    found = reported(bench_study())
    assert (found.summary.decision, found.warnings, found.summary.gains) == ("measured", (), ())
    assert [curve.scenario for curve in found.curves] == list(SIZES)
    assert {row.times for curve in found.curves for row in curve.rows} == {2}
    assert found.curves[0].sustained == 16
    assert found.summary.text == (
        "output_throughput_tok_s 800 tok/s at D(128,64) concurrency=16. "
        "A load's figures are the means of 2 rounds on one server."
    )
    assert "Figures by GPU, and a cost: how many GPUs the server has is not known here." in found.missing
    page = markdown(found, frozenset())
    assert "| SLO | rounds |" in page
    assert "| kept | 2 |" in page
    assert all(f"**Best (trial 0, {size}), load by load**" in page for size in SIZES)
    for word in (" gain", "the default first", "fanova", "recommended flags", "against the default", "confirm"):
        assert word not in page.lower(), word


def test_an_interrupted_benchmark_gives_what_it_measured_and_names_what_is_missing() -> None:
    found = reported(bench_study(measured=8))
    assert found.warnings == ("It was not measured to its end: stopped: asked to stop. 8 loads were measured.",)
    assert [len(curve.rows) for curve in found.curves] == [6, 2]
    assert found.curves[0].sustained == 16
    missing = found.missing[0]
    assert missing.startswith("These loads, which were not measured to their end: D(128,64) concurrency=1, ")
    assert "D(512,64) concurrency=4 (2 times)" in missing
    assert "optuna-tuner run bench-tiny" in missing
    page = markdown(found, frozenset())
    assert "most load within the SLO" in page
    assert "No load keeps the promise" not in page


@pytest.mark.parametrize("cut", [0, 20])
def test_of_a_killed_worker_the_levels_are_read_from_its_folder(tmp_path: Path, cut: int) -> None:
    study = bench_study(measured=3)
    levels = study.trials[0].measurements
    lost = replace(study, trials=tuple(replace(trial, measurements=()) for trial in study.trials))
    file = tmp_path / study.id / "attempt-0" / LEVELS_FILE
    file.parent.mkdir(parents=True)
    text = "".join(f"{encode(level)}\n" for level in levels)
    file.write_text(text[: len(text) - cut])
    found = as_measured(lost, tmp_path)
    assert found.baseline is not None
    assert found.baseline.measurements == levels[: 2 if cut else 3]
    assert as_measured(lost, NOWHERE).baseline is not None
