"""Whole studies whose candidates must answer like the default, on the fake server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from runs import process, wait_for

from optuna_tuner import Tuner
from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.tables import trial_document, trial_table
from optuna_tuner.results.trials import TrialState, TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.spec.writing import to_yaml
from optuna_tuner.store.records import AttemptKind, Desired
from optuna_tuner.values import Cause, Drift, Phase

PROMPTS = ["Why is it so?", "And what of it?"]


def study(name: str, ways: Sequence[str], **changes: object) -> StudySpec:
    """The baseline, and then each way to misbehave once; misbehaviour is what changes the answers."""
    quality: Mapping[str, object] = {"prompts": PROMPTS, "max_tokens": 10, "flags": ["misbehave"]}
    document: dict[str, object] = {
        "name": name,
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "flags": {"ttft_ms": 1, "itl_ms": 1}},
        "benchmark": {"kind": "http", "scenario": "D(8,4)", "concurrency": [1], "requests": 2, "warm_up_requests": 1},
        "space": {"misbehave": {"type": "choice", "choices": list(ways)}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "sampler": {"kind": "grid"},
        "quality": quality | dict(changes.pop("quality", {})),  # type: ignore[call-overload]
        "budget": {"trials": 1 + len(ways)},
        "limits": {"teardown_s": 5, "tries": 2, "same_fault": 9},
    }
    return StudySpec.model_validate(document | changes)


def by_way(view: StudyView) -> Mapping[str, TrialView]:
    return {str(trial.params.get("misbehave", "default")): trial for trial in view.trials}


def test_who_answers_like_the_default_is_measured_and_who_drifts_is_not(tuner: Tuner, home: Path) -> None:
    silent = ["html", "http_500", "hang_after=1"]
    ways = ["drift=0.2", "drift=0.8", "unsure", "exit_after=3", *silent]
    view = tuner.run(study("drift", ways, limits={"quality_s": 3, "teardown_s": 5}), workers=2)
    found = by_way(view)
    check_judged(found)
    assert found["exit_after=3"].cause is Cause.CRASHED
    assert [found[way].cause for way in silent] == [Cause.DEGRADED] * 3
    assert "prompt 1 of 2 got no answer: it is no chat completion: <html>" in found["html"].reason
    assert "HTTP 500" in found["http_500"].reason
    assert "the time is over, see limits.quality_s" in found["hang_after=1"].reason
    assert all(Phase.BENCHMARK not in found[way].phases_s for way in ways if way != "drift=0.2")
    check_shown(view, home)
    check_shared(view)


def check_judged(found: Mapping[str, TrialView]) -> None:
    like, far, unsure = found["drift=0.2"], found["drift=0.8"], found["unsure"]
    assert (like.state, like.drift and like.drift.by_prompt) == (TrialState.FEASIBLE, (0.8, 0.8))
    assert like.constraints["quality"] == pytest.approx(-0.6)
    assert (far.state, far.cause, far.metrics) == (TrialState.INFEASIBLE, Cause.QUALITY, {})
    assert (
        "the answers agree to 0.20 with the default's (at least 0.5), 0 nats a token apart (at most 0.1)" in far.reason
    )
    assert far.constraints == {"server runs": 0.0, "quality": pytest.approx(0.6)}
    assert unsure.cause is Cause.QUALITY
    assert unsure.constraints["quality"] == pytest.approx(4.0)
    assert all("quality" in trial.constraints for trial in found.values())


def check_shown(view: StudyView, home: Path) -> None:
    baseline, like = by_way(view)["default"], by_way(view)["drift=0.2"]
    assert "asked twice, they agree with themselves 1.00" in beyond_speed(view, baseline)
    assert beyond_speed(view, like) == (
        "changes the answers: misbehave=drift=0.2 (agreement with the default 0.80 and 0 nats a "
        "token, over 2 prompts; the default with itself 1.00 and 0 nats a token)"
    )
    assert trial_document(like)["quality"] == {
        "quality_agreement": 0.8,
        "quality_logprob_drift": 0.0,
        "by_prompt": [0.8, 0.8],
    }
    assert trial_table(view).columns[-3:] == ("quality_agreement", "quality_logprob_drift", "params.misbehave")
    assert beyond_speed(view, by_way(view)["html"]).endswith("misbehave=html (asked, it gave no answers)")
    kept = json.loads(next(home.rglob(f"{like.attempt_id}/answers.json")).read_text(encoding="utf-8"))
    assert kept["prompts"] == PROMPTS
    assert [len(answer["tokens"]) for answer in kept["answers"]] == [10, 10]


def check_shared(view: StudyView) -> None:
    """Two workers, one reference: nothing was begun before it was there."""
    (baseline,) = (trial for trial in view.trials if trial.kind is AttemptKind.BASELINE)
    assert baseline.ended is not None
    assert all(trial.started and trial.started >= baseline.ended for trial in view.trials if trial is not baseline)
    assert len({trial.worker for trial in view.trials}) == 2


def test_words_are_enough_noise_is_shown_and_who_changes_no_answers_is_not_asked(tuner: Tuner) -> None:
    """The fake's own time between tokens is 5 ms, as its baseline says. It refuses to give log-probabilities."""
    spec = study(
        "noise",
        [],
        engine={"kind": "fake", "flags": {"misbehave": "waver=0.25", "logprobs": "refuse"}},
        space={"itl_ms": {"type": "choice", "choices": [4, 5]}, "ttft_ms": {"type": "choice", "choices": [2]}},
        quality={"flags": ["itl_ms"], "agreement_at_least": 0.1},
        budget={"trials": 3},
    )
    view = tuner.run(spec)
    trials = {trial.params.get("itl_ms"): trial for trial in view.trials}
    baseline, plain = trials[None], trials[5]
    assert baseline.drift == Drift(by_prompt=(1.0, 0.0), logprob_drift=None)
    assert baseline.state is TrialState.FEASIBLE
    assert (plain.drift, plain.constraints["quality"], plain.state) == (None, 0.0, TrialState.FEASIBLE)
    assert Phase.QUALITY not in plain.phases_s
    assert "changes nothing" in beyond_speed(view, plain)
    assert beyond_speed(view, trials[4]) == (
        "changes the answers: itl_ms=4 (agreement with the default 1.00, over 2 prompts; the default with itself 0.50)"
    )


def test_a_default_without_answers_ends_the_study_and_a_new_start_tries_it_again(tuner: Tuner) -> None:
    engine = {"kind": "fake", "flags": {"misbehave": "out_of_memory"}}
    space = {"itl_ms": {"type": "int", "low": 1, "high": 2}}
    spec = study("dead", ["x"], engine=engine, space=space, quality={"flags": ["itl_ms"]})
    for starts in (1, 2):
        view = tuner.run(spec)
        assert [trial.kind for trial in view.trials] == [AttemptKind.BASELINE] * starts
        assert view.desired is Desired.STOP
        assert view.ended_because == (
            "the engine's default gave no answers to hold the others against: "
            "out_of_memory_pool: the server ended with exit code 1: fake: out of memory"
        )


def test_a_cancel_ends_a_server_that_never_answers(tuner: Tuner, tmp_path: Path) -> None:
    spec = study("stuck", ["hang_after=1"])
    file = tmp_path / "stuck.yaml"
    file.write_text(to_yaml(spec))
    with process("run", str(file)) as run:
        wait_for(lambda: any(trial.phase is Phase.QUALITY and trial.params for trial in _trials(tuner, "stuck")))
        tuner.cancel("stuck")
        run.wait(60)
    assert [trial.cause for trial in tuner.trials("stuck")] == [None, Cause.CANCELLED]


def _trials(tuner: Tuner, name: str) -> Sequence[TrialView]:
    known = {view.name for view in tuner.studies()}
    return tuner.trials(name) if name in known else ()
