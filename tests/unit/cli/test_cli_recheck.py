"""Gate and rerun pass on what was asked, and end with an exit code that a pipeline understands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from click.testing import Result
from gates import CASES, Case, Session, confirmed
from paper_study import DEFAULT, PaperStudy

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.rechecks import GateOrder, RerunOrder, gate_of
from optuna_tuner.spec.deriving import NewEngine
from optuna_tuner.store.records import AttemptKind, Extra
from optuna_tuner.testing.sample_study import SampleStudy, sample_study

if TYPE_CHECKING:
    from fake_tuner import FakeTuner

Invoke = Callable[..., Result]
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
HELD, SLOWER, BOTH = CASES[0], replace(CASES[0], winner=-0.3), replace(CASES[0], winner=-0.3, default=-0.3)


def gate_on_paper(case: Case) -> SampleStudy:
    rng = np.random.default_rng(1)
    spec = gate_of(confirmed(case, rng, 5), GateOrder(study="paper"), {}, (), InstalledKinds())
    study = PaperStudy(spec, Session(case, rng, now=True).measure)
    study.run(Extra(kind=AttemptKind.BASELINE, params=DEFAULT))
    study.run(Extra(kind=AttemptKind.FIRST, params=spec.first_params[0]))
    study.confirm()
    record = replace(sample_study().record, name=spec.name, budget=2, reserved=2)
    return SampleStudy(spec=spec, record=record, attempts=tuple(study.attempts), workers=tuple(study.workers))


@pytest.mark.parametrize(
    ("case", "code", "says"),
    [
        (HELD, 0, "Gate held: the winner lost no more than it may."),
        (SLOWER, 3, "Gate regressed: the winner lost more than it may."),
        (BOTH, 1, "Gate cannot tell: the winner lost too much, and the default as much"),
    ],
)
def test_a_gate_ends_with_its_verdict(invoke: Invoke, tuner: FakeTuner, case: Case, code: int, says: str) -> None:
    tuner.sample = gate_on_paper(case)
    result = invoke("gate", "paper")
    assert result.exit_code == code
    assert says in result.stdout
    rows = [line.split()[0] for line in result.stdout.splitlines() if "output_throughput_tok_s  " in line]
    assert rows == ["winner", "default"]
    assert ["engine.version", "0.11.0", "0.12.0"] in [line.split() for line in result.stdout.splitlines()]
    assert "A GATE, no search" in result.stdout
    assert "optuna-tuner why" not in result.stderr


def test_a_gate_is_told_what_is_new(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = gate_on_paper(HELD)
    options = ("--max-regression", "3%", "--pairs", "8", "--engine-version", "0.34.0", "--name", "weekly")
    invoke("gate", "old", *options, "--command", "/venv/bin/vllm serve", "--image", "x:1", "--workers", "2")
    engine = NewEngine(version="0.34.0", image="x:1", command=("/venv/bin/vllm", "serve"))
    order = GateOrder(study="old", max_regression=0.03, pairs=8, engine=engine, name="weekly")
    assert ("gate", order) in tuner.asked
    assert ("run", tuner.sample.spec.name, 2) in tuner.asked


def test_a_gate_is_data_too(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = gate_on_paper(SLOWER)
    result = invoke("gate", "paper", "-o", "json")
    assert result.exit_code == 3
    found = json.loads(result.stdout)
    assert (found["kind"], found["verdict"], found["reason"], found["met"]) == ("gate", "regressed", "slower", False)
    (objective,) = found["objectives"]
    assert (objective["metric"], objective["verdict"]) == ("output_throughput_tok_s", "regressed")
    assert objective["against_default"]["high"] < -0.05
    assert found["changed"] == [{"name": "engine.version", "then": "0.11.0", "now": "0.12.0"}]
    assert json.loads(invoke("results", "paper-gate-1", "--format", "json").stdout)["recheck"]["verdict"] == "regressed"


def test_a_gate_of_two_objectives_fails_by_the_one_that_regressed_and_names_it(
    invoke: Invoke, tuner: FakeTuner
) -> None:
    tuner.sample = gate_on_paper(replace(HELD, ttft=0.3))
    result = invoke("gate", "paper")
    assert result.exit_code == 3
    assert "Gate regressed: the winner lost more than it may." in result.stdout
    assert "output_throughput_tok_s: held: " in result.stdout
    assert "ttft_ms.p99: regressed: " in result.stdout


@pytest.mark.parametrize(
    ("case", "says"),
    [(HELD, "Held: "), (SLOWER, "Regressed: "), (BOTH, "Cannot tell: ")],
    ids=["held", "slower", "both"],
)
def test_the_report_of_a_gate_says_its_verdict_first_and_never_to_deploy(
    invoke: Invoke, tuner: FakeTuner, case: Case, says: str
) -> None:
    tuner.sample = gate_on_paper(case)
    page = invoke("report", "paper-gate-1").stdout
    assert f"**{says}" in page
    assert "Deploy" not in page.partition("## ")[0]
    rows = [
        line for line in page.partition("## Then and now")[2].splitlines() if line.startswith(("| winner", "| default"))
    ]
    assert [row.split(" | ")[0] for row in rows] == ["| winner", "| default"]


def test_a_gate_fails_by_a_promise_that_is_not_kept_any_more_and_names_it(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = gate_on_paper(replace(HELD, late=(0.0, 1.0)))
    result = invoke("gate", "paper")
    assert result.exit_code == 3
    assert "Gate regressed: the winner breaks the promise, and more often than then." in result.stdout
    assert "The winner kept every constraint in 0 of 4 pairs; then in 5 of 5. Broken: promise (4 x)." in result.stdout


def test_a_list_of_studies_says_what_each_is(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.sample = gate_on_paper(HELD)
    assert json.loads(invoke("studies", "-o", "json").stdout)[0]["kind"] == "gate"
    tuner.sample = sample_study()
    assert json.loads(invoke("studies", "-o", "json").stdout)[0]["kind"] == "search"


def test_a_rerun_is_told_of_what_and_how_often(invoke: Invoke, tuner: FakeTuner) -> None:
    assert invoke("rerun", "sample/8", "--times", "5").exit_code == 0
    assert ("rerun", RerunOrder(source="sample/8", times=5)) in tuner.asked


@pytest.mark.parametrize("command", ["gate", "rerun"])
def test_a_dry_run_only_shows_what_would_be_launched(invoke: Invoke, tuner: FakeTuner, command: str) -> None:
    result = invoke(command, "sample", "--dry-run")
    assert "vllm serve" in result.stdout
    assert not [each for each in tuner.asked if each[0] == "run"]


@pytest.mark.parametrize("share", ["5", "0", "100%", "-3%", "nan", "x"])
def test_what_is_no_share_is_said_with_what_would_be_one(invoke: Invoke, share: str) -> None:
    result = invoke("gate", "sample", f"--max-regression={share}")
    assert result.exit_code == 2
    assert "write 5% or 0.05" in result.stderr


@pytest.mark.parametrize("program", ["", "'unclosed"])
def test_a_program_that_is_none_is_refused(invoke: Invoke, program: str) -> None:
    result = invoke("gate", "sample", "--command", program)
    assert result.exit_code == 2
    assert "--command" in result.stderr


def lines_of(value: object) -> list[str]:
    """Every line of text in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [line for each in value for line in lines_of(each)]
    return str(value).splitlines()


@pytest.mark.parametrize("name", ["gate.github.yml", "gate.gitlab.yml"])
def test_the_jobs_for_pipelines_are_yaml_and_call_a_gate_that_exists(invoke: Invoke, name: str) -> None:
    document = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    calls = [line.strip() for line in lines_of(document) if line.strip().startswith("optuna-tuner ")]
    assert len(calls) == 1
    words = calls[0].partition(" > ")[0].replace('"', "").split()[1:]
    assert invoke(*words, "--dry-run").exit_code == 0
