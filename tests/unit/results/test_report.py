"""The report's document: each figure, and what is said where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from paper_study import PaperStudy, gave, paper_spec
from reported import report_on, sweep_study

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.efficiency import Price
from optuna_tuner.results.report.markdown import markdown
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.results.why import Why
from optuna_tuner.spec.files import load_study
from optuna_tuner.store.records import AttemptState, Desired, Outcome, StudyRecord
from optuna_tuner.testing.sample_study import BEGAN, SampleStudy, failed, measured
from optuna_tuner.values import Cause, Params

jsonschema = pytest.importorskip("jsonschema")
Ended = Callable[[dict[int, Outcome]], StudyView]
ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "docs" / "reference" / "report.schema.json"


@pytest.fixture(scope="module")
def swept() -> Report:
    return report_on(sweep_study(), Price(gpu_hour=3.6, currency="EUR"))


def test_it_is_a_document_under_its_schema(swept: Report) -> None:
    text = swept.model_dump_json()
    jsonschema.validate(json.loads(text), json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert Report.model_validate_json(text) == swept


def test_the_most_load_within_the_slo_its_knee_and_its_peak_are_found(swept: Report) -> None:
    best, default = swept.curves
    assert (best.trial, best.role, best.sustained, best.broken_at) == (8, "best", 16, 32)
    assert (best.knee, best.latency_knee) == (8, 16)
    assert best.peak is not None
    assert (best.peak.value, best.peak_load, best.peak.unit) == (810, 32, "tok/s")
    assert (default.trial, default.role) == (0, "default")
    assert [row.keeps_slo for row in best.rows] == [True, True, True, True, True, False]
    assert "Knee at 8 requests in flight" in best.text
    assert "16 requests in flight keep ttft_ms.p99 <= 200; 32 did not." in best.text


def test_a_limit_that_was_not_reached_is_said_to_be_at_least_that(study: StudyView) -> None:
    best = report_on(study).curves[0]
    assert (best.sustained, best.broken_at, best.knee) == (8, None, None)
    assert best.text.startswith("At least 8 requests in flight keep ttft_ms.p99 <= 200")
    assert "too few to see a knee" in best.text
    assert "at least 8" in markdown(report_on(study))


def test_a_low_load_that_broke_what_a_higher_one_kept_is_pointed_out() -> None:
    study = sweep_study()
    best = study.best.trial
    assert best is not None
    cold = replace(best.measurements[0], metrics={**best.measurements[0].metrics, "ttft_ms.p99": 201.0})
    trial = replace(best, measurements=(cold, *best.measurements[1:]))
    curve = report_on(replace(study, best=replace(study.best, trials=(trial,)))).curves[0]
    assert curve.sustained == 16
    assert curve.rows[0].keeps_slo is False
    assert "But 1 broke it, though more load did not" in curve.text


def test_efficiency_is_by_gpu_and_tokens_have_a_price_and_an_energy(swept: Report) -> None:
    found = {figure.name: (figure.value, figure.unit) for figure in swept.summary.efficiency}
    assert found == {  # vLLM without tensor_parallel_size takes one of the two GPUs
        "output throughput of a GPU": (800, "tok/s/GPU"),
        "speed for one user": (50, "tok/s/user"),
        "energy of an output token": (1.25, "J/token"),  # 1000 W at 800 tok/s
        "cost of a million output tokens": (pytest.approx(1.25), "EUR per million tokens"),
    }
    assert swept.pareto_per == "GPU"


def test_an_energy_that_nvml_did_not_tell_is_missing_and_so_is_a_cost_without_a_price() -> None:
    study = sweep_study()
    best = study.best.trial
    assert best is not None
    unseen = replace(best, measurements=tuple(replace(each, seen={}) for each in best.measurements))
    made = report_on(replace(study, best=replace(study.best, trials=(unseen,))))
    assert {figure.unit for figure in made.summary.efficiency} == {"tok/s/GPU", "tok/s/user"}
    assert any(each.startswith("The energy of a token: NVML did not tell") for each in made.missing)
    assert "The cost of a million tokens: give the price of a GPU with --gpu-price." in made.missing


def test_the_front_holds_what_nothing_within_the_slo_beats(swept: Report) -> None:
    front = {(point.trial, point.load) for point in swept.pareto if point.front}
    assert front == {(8, "concurrency=4"), (8, "concurrency=8"), (8, "concurrency=16")}
    broke = [point for point in swept.pareto if not point.keeps_slo]
    assert {(3, "concurrency=8"), (8, "concurrency=32")} <= {(point.trial, point.load) for point in broke}


def test_without_a_gpu_nothing_is_by_gpu_and_that_is_said(study: StudyView) -> None:
    made = report_on(study, Price(gpu_hour=3.6))
    assert made.pareto_per == "server"
    assert [figure.unit for figure in made.summary.efficiency] == ["tok/s/user"]
    assert "Figures by GPU, and a cost: the server used no GPU." in made.missing


def test_one_run_each_is_said_first_and_how_to_confirm_it(study: StudyView) -> None:
    made = report_on(study)
    assert made.summary.decision == "not confirmed"
    assert made.warnings[0].startswith("Not confirmed")
    assert any("optuna-tuner confirm sample" in each for each in made.missing)
    (gain,) = made.summary.gains
    assert gain.share == pytest.approx(0.6)
    assert (gain.low, gain.high, gain.verdict) == (None, None, None)


def test_a_confirmed_gain_has_its_interval_verdict_and_pairs() -> None:
    fast = Params(flags={"x": 1})
    paper = PaperStudy(paper_spec(confirm={"pairs": 2}), lambda params: gave(125.0 if params == fast else 100.0))
    paper.search([fast])
    paper.confirm()
    record = StudyRecord(
        id="paper",
        name="paper",
        spec_json="",
        space_hash="",
        budget=2,
        reserved=2,
        desired=Desired.RUN,
        created_at=BEGAN,
    )
    made = report_on(study_view(record, paper.spec, paper.attempts, paper.workers, BEGAN + timedelta(days=1)))
    (gain,) = made.summary.gains
    assert made.summary.decision == "deploy"
    assert (gain.verdict, made.summary.pairs, made.summary.confidence) == ("win", 2, 0.95)
    assert [gain.low, gain.high] == pytest.approx([0.25, 0.25])
    assert [(pair.default, pair.winner) for pair in made.pairs] == [(100, 125), (100, 125)]
    assert len(made.default_runs) == 3
    assert made.warnings == ()


def test_a_simulated_study_is_a_rehearsal_and_says_so_first(sample: SampleStudy) -> None:
    spec = load_study(ROOT / "studies" / "simulated-vllm.yaml", InstalledKinds())
    made = report_on(study_view(sample.record, spec, (), (), BEGAN))
    assert made.summary.decision == "rehearsal"
    assert made.warnings[0].startswith("SIMULATED")


def test_only_failures_leave_their_causes_evidence_and_place(ended: Ended, sample: SampleStudy) -> None:
    goals = sample.spec.goals
    memory = failed(goals, Cause.OUT_OF_MEMORY_POOL, "CUDA out of memory")
    made = report_on(ended({0: memory, 1: memory, 4: memory, 5: failed(goals, Cause.CRASHED, "signal 11")}))
    assert made.summary.decision == "nothing to deploy"
    assert made.summary.trial is None
    assert [(issue.what, issue.trials) for issue in made.summary.issues] == [("out_of_memory_pool", 3), ("crashed", 1)]
    assert made.summary.issues[1].evidence == "trial 5: signal 11"
    caching = {cell.values: cell.causes for cell in made.failures if cell.flag == "enable_prefix_caching"}
    assert caching == {"false": {"out_of_memory_pool": 1, "crashed": 1}, "true": {"out_of_memory_pool": 1}}
    assert any(each.startswith("No trial is feasible") for each in made.warnings)
    assert "Nothing to deploy" in markdown(made)


def test_a_default_that_breaks_the_promise_is_pointed_out(ended: Ended, sample: SampleStudy) -> None:
    goals = sample.spec.goals
    made = report_on(ended({0: measured(goals, 500, 300), 1: measured(goals, 450, 100)}))
    assert "The engine's default itself does not keep ttft_ms.p99 <= 200." in made.warnings


def test_a_default_that_nothing_beats_is_kept_without_a_table_of_no_changes(ended: Ended, sample: SampleStudy) -> None:
    goals = sample.spec.goals
    words = markdown(report_on(ended({0: measured(goals, 500, 100), 1: measured(goals, 450, 100)})))
    assert "Keep the default" in words
    assert "Flags against the default" not in words
    assert "Flags against the default" in markdown(
        report_on(ended({0: measured(goals, 500, 100), 1: measured(goals, 550, 100)}))
    )


def test_a_study_with_nothing_in_it_has_a_report(ended: Ended) -> None:
    made = report_on(ended({}))
    assert made.summary.decision == "nothing to deploy"
    assert (made.trials, made.plots, made.curves, made.pareto) == ((), (), (), ())
    assert "No trial has been measured yet." in markdown(made)


def test_a_study_that_runs_says_that_all_may_change(sample: SampleStudy) -> None:
    running = replace(sample.attempts[2], state=AttemptState.RUNNING, outcome=None, ended_at=None)
    made = report_on(study_view(sample.record, sample.spec, [*sample.attempts[:2], running], sample.workers, BEGAN))
    assert any(each.startswith("The study is running") for each in made.warnings)
    assert [row.state for row in made.trials] == ["feasible", "feasible", "running"]


def test_several_goals_have_a_gain_and_a_history_each(two_objectives: StudyView) -> None:
    made = report_on(two_objectives)
    assert [gain.metric for gain in made.summary.gains] == ["output_throughput_tok_s", "e2e_latency_ms.mean"]
    assert {"history-0", "history-1", "history-hypervolume"} <= {plot.id for plot in made.plots}


def test_importance_is_by_fanova(study: StudyView, sample: SampleStudy) -> None:
    told = sample.tell(optuna.storages.InMemoryStorage()).trials
    made = report_on(study, told=told)
    assert {row.flag for row in made.importance} == set(sample.spec.space)
    assert sum(row.share for row in made.importance) == pytest.approx(1)
    assert "importance-0" in {plot.id for plot in made.plots}


def test_a_flag_that_the_server_rewrote_is_the_first_issue(study: StudyView) -> None:
    first = report_on(study).summary.issues[0]
    assert (first.what, first.advice) == ("max_num_seqs", "asked for 256, the server took 128.")


def test_what_is_only_predicted_stands_on_the_first_page_as_such(study: StudyView) -> None:
    made = report_on(study, why=Why(number=8, worths=None, trials=10, outlook=0.03))
    assert made.summary.predicted == "10 more trials could bring about 3.0 %."
    assert made.summary.predicted in markdown(made)
