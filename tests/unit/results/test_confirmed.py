"""What people are told of a gain that was measured again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from paper_study import BEGAN, DEFAULT, PaperStudy, gave, paper_spec

from optuna_tuner.errors import ConflictError
from optuna_tuner.results.confirmable import demand_gain
from optuna_tuner.results.figures import history
from optuna_tuner.results.machine_drift import machine_drift
from optuna_tuner.results.tables import best_document
from optuna_tuner.results.views import StudyState, StudyView, study_view
from optuna_tuner.store.records import AttemptKind, Desired, Extra, Outcome, StudyRecord
from optuna_tuner.values import Params

FAST, FASTER = Params(flags={"x": 1}), Params(flags={"x": 2})


def speeds(params: Params) -> Outcome:
    """Without noise."""
    return gave({DEFAULT.key: 100.0, FAST.key: 118.0, FASTER.key: 125.0}[params.key])


def view(made: PaperStudy, *, desired: Desired = Desired.RUN, budget: int = 3) -> StudyView:
    record = StudyRecord(
        id="paper",
        name="paper",
        spec_json="",
        space_hash="",
        budget=budget,
        reserved=3,
        desired=desired,
        created_at=BEGAN,
    )
    return study_view(record, made.spec, made.attempts, made.workers, BEGAN + timedelta(hours=1))


@pytest.fixture
def searched() -> PaperStudy:
    made = PaperStudy(paper_spec(confirm={"pairs": 2}), speeds)
    made.search([FAST, FASTER])
    return made


def test_a_study_is_not_done_before_it_is_confirmed(searched: PaperStudy) -> None:
    assert view(searched).state is StudyState.RUNNING
    assert "not confirmed by repeats" in view(searched).comparison.text
    searched.confirm()
    assert view(searched).state is StudyState.DONE


def test_one_that_was_stopped_before_says_so_and_is_unconfirmed(searched: PaperStudy) -> None:
    stopped = view(searched, desired=Desired.STOP)
    assert stopped.state is StudyState.STOPPED
    assert stopped.is_unconfirmed
    demand_gain(stopped)


def test_the_verdict_its_interval_and_its_pairs_are_told(searched: PaperStudy) -> None:
    searched.confirm()
    seen = view(searched)
    verdict = "Verdict: win (the gain holds). output_throughput_tok_s +25.0 % (95 % CI +25.0 to +25.0 %); 2 pairs"
    assert verdict in seen.comparison.text
    assert verdict in seen.best.text
    assert not seen.is_unconfirmed
    document = best_document(seen)
    assert document["confirmation"]["verdicts"] == {"output_throughput_tok_s": "win"}  # type: ignore[index, call-overload]


def test_what_was_measured_again_is_counted_apart_and_is_never_the_best(searched: PaperStudy) -> None:
    searched.confirm()
    seen = view(searched)
    assert (seen.counts.complete, seen.counts.feasible, seen.counts.again) == (3, 3, 6)
    assert (seen.spent, seen.budget) == (3, 3)
    assert seen.best.trial is not None
    assert seen.best.trial.number == 2
    best_line = next(trace for trace in history(seen).data if trace.name == "best so far")
    assert len(best_line.x) == 3


def test_drift_of_the_machine_is_told_from_every_run_of_the_default(searched: PaperStudy) -> None:
    objectives = searched.spec.goals.objectives
    assert machine_drift(view(searched).trials, objectives) == ""
    late = searched.begin(Extra(kind=AttemptKind.CONTROL, params=DEFAULT))
    searched.end(late, gave(90.0))
    said = machine_drift(view(searched).trials, objectives)
    assert said.startswith("The default was measured 2 times: output_throughput_tok_s 90 tok/s to 100 tok/s")
    assert said.endswith("the last was -10.0 % against the first.")


def test_a_promise_that_was_broken_on_the_way_is_told() -> None:
    runs = iter([gave(100.0), gave(125.0), gave(100.0), gave(125.0), gave(125.0, slo=0.5), gave(100.0)])
    made = PaperStudy(paper_spec(confirm={"pairs": 2}), lambda _: next(runs))
    made.search([FAST])
    made.confirm()
    said = view(made).comparison.text
    assert "Verdict: inconclusive" in said
    assert "It kept every constraint in 1 of 2 runs." in said


def test_a_study_that_runs_or_found_nothing_is_not_to_be_confirmed(searched: PaperStudy) -> None:
    with pytest.raises(ConflictError, match="optuna-tuner stop"):
        demand_gain(view(searched))
    nothing = PaperStudy(paper_spec(), speeds)
    nothing.search([DEFAULT])
    with pytest.raises(ConflictError, match="nothing to confirm"):
        demand_gain(view(nothing, desired=Desired.STOP))
