"""Corrupted benchmark reports: none becomes a score, and no honest one is refused."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import genai_lies
import liar
import lies
import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some

from optuna_tuner import Tuner
from optuna_tuner.benchmarks import report_check
from optuna_tuner.results.trials import TrialState
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Cause

SEEDS = range(3)
WAYS = [
    *((0, way) for way in lies.ScriptRig.ways),
    *((1, way) for way in lies.GenaiRig.ways),
    *((2, way) for way in lies.HttpRig.ways),
    *((3, way) for way in lies.GuidellmRig.ways),
    *((4, way) for way in lies.VllmRig.ways),
]
NO_NUMBER = some.one_of(
    some.none(),
    some.booleans(),
    some.text(),
    some.lists(some.floats(), max_size=2),
    some.dictionaries(some.text(), some.integers(), max_size=2),
    some.floats(max_value=0, exclude_max=True),
    some.floats(min_value=report_check.LARGEST_VALUE, exclude_min=True),
    some.just(math.nan),
    some.integers(max_value=-1),
    some.integers(min_value=10**13, max_value=10**500),
)


@pytest.fixture(scope="module")
def rigs() -> Iterator[Sequence[lies.Rig]]:
    with lies.rigs() as opened:
        yield opened


def test_there_are_at_least_three_hundred_of_them() -> None:
    assert len(WAYS) * len(SEEDS) >= 300


@pytest.mark.parametrize(("place", "way"), WAYS, ids=lambda value: str(value).replace(" ", "-"))
def test_no_lie_becomes_a_score(rigs: Sequence[lies.Rig], place: int, way: str) -> None:
    assert [lies.verdict(rigs[place], way, seed) for seed in SEEDS] == ["refused"] * len(SEEDS)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("seed", range(4))
def test_the_honest_report_is_believed(rigs: Sequence[lies.Rig], place: int, seed: int) -> None:
    assert lies.verdict(rigs[place], lies.HONEST, seed).startswith("accepted")


@settings(derandomize=True, database=None, max_examples=150)
@given(
    name=some.sampled_from(sorted(json.loads((lies.MATERIAL / "script/ok/metrics.json").read_text()))), value=NO_NUMBER
)
def test_no_metric_of_a_script_can_be_what_no_metric_is(name: str, value: object) -> None:
    assert lies.verdict(lies.ScriptRig(), lies.HONEST, 1, lambda report: {**report, name: value}) == "refused"


@settings(derandomize=True, database=None, max_examples=150)
@given(
    where=some.integers(min_value=0),
    which=some.integers(min_value=0),
    value=NO_NUMBER | some.floats(min_value=0) | some.integers(min_value=0, max_value=1000),
)
def test_no_figure_of_genai_bench_can_be_another_than_was_measured(where: int, which: int, value: object) -> None:
    def change(report: lies.Report) -> lies.Report:
        places = [report["aggregated_metrics"], *report["individual_request_metrics"]]
        place = places[where % len(places)]
        names = genai_lies.SUMMED if place is places[0] else genai_lies.FIGURES
        assume(not _same(place[names[which % len(names)]], value))
        place[names[which % len(names)]] = value
        return report

    assert lies.verdict(lies.GenaiRig(), lies.HONEST, 1, change) == "refused"


@settings(derandomize=True, database=None, max_examples=100)
@given(
    rig=some.sampled_from([lies.GuidellmRig(), lies.VllmRig()]),
    where=some.integers(min_value=0),
    value=NO_NUMBER | some.floats(min_value=0) | some.integers(min_value=0, max_value=1000),
)
def test_no_figure_of_a_client_of_one_level_can_be_another_than_was_measured(
    rig: lies.LevelRig, where: int, value: object
) -> None:
    def change(report: lies.Report) -> lies.Report:
        figures = rig.book.figures(report)
        holder, key = figures[where % len(figures)]
        assume(not _same(holder[key], value))
        holder[key] = value
        return report

    assert lies.verdict(rig, lies.HONEST, 1, change) == "refused"


@pytest.mark.parametrize("name", genai_lies.FIGURES)
def test_an_integer_without_end_is_refused_wherever_it_stands(name: str) -> None:
    def change(report: lies.Report) -> lies.Report:
        report["individual_request_metrics"][0][name] = 10**400
        return report

    assert lies.verdict(lies.GenaiRig(), lies.HONEST, 1, change) == "refused"


def _same(true: float, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < report_check.LARGEST_VALUE and math.isclose(true, value, rel_tol=1e-5)


def test_the_lane_finds_a_gate_that_believes_everything(
    monkeypatch: pytest.MonkeyPatch, rigs: Sequence[lies.Rig]
) -> None:
    for check in ("check_values", "check_metrics", "check_requests"):
        monkeypatch.setattr(report_check, check, lambda *_: None)
    assert lies.verdict(rigs[0], "negative", 1).startswith("accepted")
    assert lies.verdict(rigs[0], "percentiles fall", 1).startswith("accepted")
    assert lies.verdict(rigs[1], "half failed", 1).startswith("accepted")
    assert lies.verdict(rigs[2], "more tokens than asked for", 1).startswith("accepted")
    assert lies.verdict(rigs[3], "half failed", 1).startswith("accepted")
    assert lies.verdict(rigs[4], "half failed", 1).startswith("accepted")


TOLD = (
    *("all failed", "half failed", "not a number", "negative", "a text", "a metric is missing", "percentiles fall"),
    *("too long, all rates with it", "cut off", "empty", "no file", "a link", "a file of an earlier attempt"),
    *("a file of gigabytes", "a pipe that nobody writes to", liar.EXIT_CODE),
)


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_a_study_whose_benchmark_lies_in_every_second_trial_scores_the_others_rightly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPTUNA_TUNER_STORAGE", raising=False)
    (tmp_path / "turns").mkdir()
    tuner = Tuner()
    trials = tuner.run(StudySpec.model_validate(_study(tmp_path / "turns"))).trials
    told = optuna.load_study(study_name="lies", storage=tuner._store.optuna_storage(reading=True)).trials
    tuner.close()
    assert [trial.number for trial in trials] == list(range(2 * len(TOLD)))
    for trial, frozen in zip(trials[::2], told[::2], strict=True):
        assert trial.cause in {Cause.BENCHMARK_FAILED, Cause.DEGRADED}, trial
        assert (trial.values, frozen.values) == ((), None)
        assert frozen.state is not optuna.trial.TrialState.COMPLETE
    for trial, frozen in zip(trials[1::2], told[1::2], strict=True):
        true = json.loads((tmp_path / "turns" / f"{trial.number}.json").read_text())
        assert trial.state is TrialState.FEASIBLE, trial.reason
        assert (trial.values, frozen.values) == ((true["score"],), [true["score"]])
        assert trial.metrics == true


def _study(turns: Path) -> dict[str, object]:
    program = Path(liar.__file__)
    command = [sys.executable, "-I", "-S", str(program), "--url", "{url}", "--model", "{model}", "--seed", "{seed}"]
    report = json.loads((lies.MATERIAL / "script" / "ok" / "metrics.json").read_text())
    return {
        "name": "lies",
        "model": {"name": "tiny"},
        "engine": {"kind": "fake", "flags": {"ttft_ms": 5}},
        "benchmark": {
            "kind": "script",
            "command": [*command, *("--folder", "{folder}", "--users", "{load}"), *_turns(turns)],
            "metrics": sorted(report),
            "output": "file",
            "loads": [2],
        },
        "space": {"itl_ms": {"type": "float", "low": 1.0, "high": 10.0}},
        "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
        "sampler": {"kind": "random"},
        "budget": {"trials": 2 * len(TOLD)},
        "limits": {"tries": 1, "same_fault": 1000},
    }


def _turns(turns: Path) -> tuple[str, ...]:
    return ("--turns", str(turns), "--ways", ";".join(TOLD))
