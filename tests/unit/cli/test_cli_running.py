"""Commands that make things run pass on what was asked, and show how it goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

from optuna_tuner.tuner import Check

if TYPE_CHECKING:
    from fake_tuner import FakeTuner

Invoke = Callable[..., Result]


def test_run_shows_a_line_for_each_trial_and_then_the_results(invoke: Invoke, tuner: FakeTuner, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.touch()
    result = invoke("run", str(file), "--workers", "2")
    assert result.exit_code == 0
    assert ("run", "sample", 2) in tuner.asked
    lines = [line for line in result.stderr.splitlines() if line.startswith("[")]
    assert len(lines) == 11
    assert "trial 0 feasible" in lines[0]
    assert "out_of_memory_pool" in lines[4]
    assert "best so far: trial 8" in lines[-1]
    assert "best (trial 8)" in result.stdout


def test_confirm_asks_for_pairs_and_shows_the_results(invoke: Invoke, tuner: FakeTuner) -> None:
    result = invoke("confirm", "sample", "--pairs", "7", "--simplify", "2", "--workers", "2")
    assert result.exit_code == 0
    assert ("confirm", "sample", 7, 2, 2) in tuner.asked
    assert "best (trial 8)" in result.stdout
    assert "optuna-tuner confirm sample" in result.stderr  # it is unconfirmed still: this tuner measures nothing


def test_a_plan_says_how_many_runs_are_measured_again(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.touch()
    said = invoke("plan", str(file)).stdout
    assert (
        "3 x each of the best, twice where they are close; 10 x winner and default, in pairs; after a win up to" in said
    )
    assert "1 x 10 x one with fewer flags and winner, in pairs: 13 to 26 runs" in said


def test_a_plan_says_where_what_is_tried_first_comes_from(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.touch()
    said = invoke("plan", str(file)).stdout
    assert '\nFrom an older study: study "may", trial 3: max_num_seqs=64\n' in said
    assert "\nFrom aiconfigurator: prediction 1: max_num_seqs=128\n" in said


def test_run_goes_on_with_a_study_by_its_name(invoke: Invoke, tuner: FakeTuner) -> None:
    assert invoke("run", "sample").exit_code == 0
    assert ("run", "sample", 1) in tuner.asked


def test_run_ends_with_1_when_nothing_is_feasible(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = replace(tuner.sample, attempts=tuner.sample.attempts[3:5])
    result = invoke("run", "sample")
    assert result.exit_code == 1
    assert "Nothing feasible" in result.stdout


def test_quiet_leaves_only_the_data(invoke: Invoke) -> None:
    result = invoke("-q", "run", "sample")
    assert not result.stderr
    assert "best (trial 8)" in result.stdout


def test_a_dry_run_is_the_plan(invoke: Invoke, tuner: FakeTuner, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.touch()
    dry = invoke("run", str(file), "--dry-run")
    assert dry.stdout == invoke("plan", str(file)).stdout
    assert ("run", "sample", 1) not in tuner.asked
    assert "infinitely many" in dry.stdout
    assert "vllm serve /models/tiny" in dry.stdout
    assert "Warning: genai-bench is missing" in dry.stderr


def test_a_plan_is_json_too(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.touch()
    document = json.loads(invoke("plan", str(file), "-o", "json").stdout)
    assert document["space_size"] is None
    assert len(document["launches"]) == 3


def test_a_worker_joins_with_its_slot(invoke: Invoke, tuner: FakeTuner) -> None:
    result = invoke("worker", "sample", "--slot", "cpu-1", "--max-trials", "4")
    assert ("work", "sample", "cpu-1", 4) in tuner.asked
    assert "3 trials run" in result.stderr


def test_a_worker_needs_no_name(invoke: Invoke, tuner: FakeTuner) -> None:
    assert invoke("worker").exit_code == 0
    assert ("work", None, None, None) in tuner.asked


@pytest.mark.parametrize("verb", ["resume", "pause", "stop", "cancel"])
def test_steering_says_where_the_study_stands(invoke: Invoke, tuner: FakeTuner, verb: str) -> None:
    result = invoke(verb, "sample")
    assert (verb, "sample") in tuner.asked
    assert 'Study "sample" is done' in result.stderr


def test_cancel_with_a_number_ends_one_trial(invoke: Invoke, tuner: FakeTuner) -> None:
    assert invoke("cancel", "sample", "3").exit_code == 0
    assert ("cancel_trial", "sample", 3) in tuner.asked
    assert ("cancel", "sample") not in tuner.asked


def test_watch_follows_until_the_end(invoke: Invoke, tuner: FakeTuner) -> None:
    result = invoke("watch", "sample", "--every", "0.5")
    assert ("watch", "sample", 0.5) in tuner.asked
    assert sum(line.startswith("[") for line in result.stderr.splitlines()) == 11


@pytest.mark.parametrize(
    "args", [("--storage", "sqlite:///x.db", "studies"), ("studies", "--storage", "sqlite:///x.db")]
)
def test_global_options_may_stand_before_or_behind_the_command(
    invoke: Invoke, tuner: FakeTuner, args: tuple[str, ...]
) -> None:
    assert invoke(*args).exit_code == 0
    assert ("open", "sqlite:///x.db") in tuner.asked


def test_the_dashboard_listens_on_loopback(invoke: Invoke, tuner: FakeTuner) -> None:
    result = invoke("dashboard")
    assert ("dashboard", "127.0.0.1", 8080, False) in tuner.asked
    assert "http://127.0.0.1:8080/" in result.stderr


def test_doctor_fails_only_for_what_every_study_needs(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.checks = (Check(name="genai-bench", ok=False, found="not found", how_to_get="optuna-tuner doctor --install"),)
    result = invoke("doctor")
    assert result.exit_code == 0
    assert "optuna-tuner doctor --install" in result.stdout
    tuner.checks = (replace(tuner.checks[0], needed=True),)
    assert invoke("doctor").exit_code == 4


def test_an_interrupted_run_says_how_to_go_on(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.raises = KeyboardInterrupt()
    result = invoke("run", "sample")
    assert result.exit_code == 130
    assert "Go on with: optuna-tuner run sample" in result.stderr


def test_an_interrupted_benchmark_says_how_to_begin_again_and_to_see_what_it_measured(
    invoke: Invoke, tuner: FakeTuner
) -> None:
    tuner.raises = KeyboardInterrupt()
    result = invoke("bench", "--url", "http://127.0.0.1:9/v1", "--model", "tiny")
    assert result.exit_code == 130
    assert "The same command begins it again; its name is bench-tiny." in result.stderr
    assert "optuna-tuner report bench-tiny -o report" in result.stderr


def test_a_run_that_was_killed_does_not_claim_that_its_trials_went_back(invoke: Invoke, tuner: FakeTuner) -> None:
    second = KeyboardInterrupt()
    second.__context__ = KeyboardInterrupt()
    tuner.raises = second
    assert "The next run puts the trials that ran back into the queue" in invoke("run", "sample").stderr


def test_a_plan_shows_the_environment_as_a_shell_takes_it(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.touch()
    said = invoke("plan", str(file)).stdout
    assert """  PYTHONUNBUFFERED=1 MODE='a b' HF_TOKEN="$MY_TOKEN" \\\n  vllm serve /models/tiny\n""" in said


def test_the_end_of_an_ended_trial_is_not_asked_for(invoke: Invoke) -> None:
    assert "Trial 3 has ended already: it is infeasible." in invoke("cancel", "sample", "3").stderr


def test_resume_of_a_study_whose_budget_is_spent_says_what_helps(invoke: Invoke) -> None:
    said = invoke("resume", "sample").stderr
    assert "raise budget.trials" in said
    assert "No worker is there" not in said
