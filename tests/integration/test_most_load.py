"""The search for the most load on servers whose latency grows with it: the real client, whole studies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from recomputed import by_load, demand_found_again, mean
from runs import home, say, study, tuner

from optuna_tuner import Tuner
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Target
from optuna_tuner.errors import DegradedError
from optuna_tuner.results.report.files import Form, rendered
from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.values import Endpoint, Load, Measurement, Model, RequestSlo, Slot

__all__ = ["home", "tuner"]

REQUEST_MS = 60 + 2 * 5  # 60 to the first token, five more at 2 each
SLO_MS = 260
LOAD = {"kind": "http", "scenario": "D(8,6)", "concurrency": {"search": "max", "low": 1, "high": 64}, "requests": 12}
GOALS = {
    "objectives": [{"metric": "sustained_concurrency", "direction": "maximize"}],
    "constraints": [{"metric": "ttft_ms.p90", "at_most": SLO_MS}],
}
ENGINE = {"kind": "fake", "flags": {"ttft_ms": 60, "itl_ms": 2, "slots": 2}}


def most(slots: int) -> float:
    """Users at whom the last of a round gets its first token just in time: users / slots rounds, one request each."""
    return slots * (1 + (SLO_MS - 60) / REQUEST_MS)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(
        endpoint=Endpoint(url="http://127.0.0.1:9", model=MODEL),
        model=Model(name=MODEL, path="", tokenizer=""),
        folder=tmp_path,
        seed=1,
        slo=RequestSlo(),
        success_rate=0.9,
        slot=Slot(name="slot", host="here"),
    )


def test_each_load_is_asked_for_after_the_one_before_was_measured_and_failures_are_an_answer(target: Target) -> None:
    asked: list[str] = []

    def loads() -> Iterator[Load]:
        for value in (1.0, 12.0, 2.0):
            asked.append(f"asked {value:g}")
            yield Load(value=value, scenario="D(8,4)")

    options = {"scenario": "D(8,4)", "concurrency": LOAD["concurrency"], "requests": 4, "request_timeout_s": 0.7}
    with fake_server("--ttft-ms", "100", "--itl-ms", "1", "--slots", "1") as endpoint:
        here = replace(target, endpoint=endpoint)
        for measurement in Http(HttpOptions.model_validate(options)).probe(here, loads(), Deadline.after(60)):
            asked.append(f"measured {measurement.load.value:g}")
            assert (target.folder / measurement.report).exists()
            assert ("ttft_ms.p99" in measurement.metrics) == (measurement.load.value < 12)
            assert (measurement.metrics["error_rate"] > 0.1) == (measurement.load.value == 12)
    assert asked == ["asked 1", "measured 1", "asked 12", "measured 12", "asked 2", "measured 2"]


def test_a_server_that_does_not_come_back_after_a_load_has_failed(target: Target) -> None:
    options = HttpOptions.model_validate({"scenario": "D(8,4)", "concurrency": LOAD["concurrency"], "requests": 4})
    with fake_server("--misbehave", "exit_after=8") as endpoint:
        here = replace(target, endpoint=endpoint)
        with pytest.raises(DegradedError, match="and then it does not answer"):
            list(Http(options).probe(here, [Load(value=4, scenario="D(8,4)")], Deadline.after(60)))


def test_a_study_finds_the_most_load_of_each_server_and_keeps_every_probe(
    tuner: Tuner, home: Path, tmp_path: Path
) -> None:
    space = {"slots": {"type": "choice", "choices": [2, 6]}}
    grid = {"kind": "grid"}
    spec = study("most", engine=ENGINE, benchmark=LOAD, goals=GOALS, space=space, sampler=grid, baseline=False)
    view = tuner.run(spec)
    for trial, slots in zip(view.trials, (2, 6), strict=True):
        found, ttft = trial.metrics["sustained_concurrency"], [_ttft(level) for level in trial.measurements]
        assert (trial.values, trial.level) == ((found,), f"D(8,6) concurrency={found:g}")
        assert found <= 1.2 * most(slots)  # a busy machine makes a server slower, never faster
        assert trial.metrics["ttft_ms.p90"] <= SLO_MS
        too_much = min(load for load, p90 in ttft if load > found and p90 > SLO_MS)
        early = any(word in trial.load_search for word in ("behind the best so far", "no more are allowed"))
        assert too_much <= max(found + 1, 1.1 * found) or early  # on a busy machine repeats may use the probes up
        folder = home / "artifacts" / view.id / trial.attempt_id
        assert all((folder / level.report).exists() for level in trial.measurements)
    best = view.best.trial
    assert best is not None
    tuner.bundle("most", tmp_path / "bundle", best.number)
    lines = [json.loads(line) for line in (tmp_path / "bundle" / "requests.jsonl").read_text("utf-8").splitlines()]
    report = tuner.report("most")
    demand_found_again(json.loads(report.model_dump_json()), rendered(report, Form.MARKDOWN), lines)
    p90 = {name: mean(own)["ttft_ms.p90"] for name, own in by_load(lines).items()}
    assert best.metrics["ttft_ms.p90"] == pytest.approx(p90[best.level], rel=1e-12)
    told = optuna.load_study(study_name="most", storage=f"sqlite:///{home / 'studies.db'}").trials
    assert [max(trial.intermediate_values) for trial in told] == [len(trial.measurements) for trial in view.trials]
    assert [trial.intermediate_values[len(trial.intermediate_values)] for trial in told] == [
        trial.values[0] for trial in view.trials
    ]


def _ttft(level: Measurement) -> tuple[float, float]:
    return level.load.value, level.metrics["ttft_ms.p90"]


FILE = """\
name: bounds
model: {name: tiny}
engine: {kind: fake, flags: {itl_ms: 1}}
benchmark: {kind: http, scenario: "D(8,4)", concurrency: {search: max, low: 2, high: 4}, requests: 8}
space: {ttft_ms: {type: choice, choices: [5]}}
goals:
  objectives: [{metric: sustained_concurrency, direction: maximize}]
  constraints: [{metric: ttft_ms.p50, at_most: 1000}]
baseline: false
budget: {trials: 1}
"""


def test_the_command_line_says_that_the_range_was_too_narrow_and_shows_every_probe(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "bounds.yaml"
    file.write_text(FILE, encoding="utf-8")
    ran = say("run", str(file))
    assert ran.returncode == 0, ran.stderr
    told = " ".join(ran.stdout.split())
    assert "still kept at concurrency=4, the highest load of the range: raise `high`" in told
    shown = say("show", "bounds", "0").stdout
    assert "load search:" in shown
    loads = shown.partition("Loads in the order in which they were measured")[2]
    assert "D(8,4) concurrency=3" in loads
    assert home.exists()
