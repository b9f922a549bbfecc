"""What a study file may say of a search for the most load, and in which words it is refused."""

from __future__ import annotations

import pytest

from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.benchmarks.load_search import requests_of
from optuna_tuner.errors import SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.files import parse_study
from optuna_tuner.values import Load, LoadKind

SEARCH = "concurrency: {search: max, low: 1, high: 64}"
STUDY = """\
name: most
model: {name: tiny}
engine: {kind: fake}
benchmark: {kind: http, scenario: "D(8,6)", LOAD}
space: {slots: {type: int, low: 2, high: 8}}
goals:
  objectives: [{metric: sustained_concurrency, direction: maximize}]
  constraints: [{metric: ttft_ms.p99, at_most: 150}]
"""
NOT_SEARCHED = (
    '7:25: goals.objectives[0].metric: the benchmark http does not deliver "sustained_concurrency"; '
    "a search for it does: concurrency: {search: max, low: 1, high: 256}"
)
CONSTRAINTS = "  constraints: [{metric: ttft_ms.p99, at_most: 150}]\n"


def faults(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_study(text, "study.yaml", InstalledKinds())
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (
            "concurrency: {search: min, low: 1, high: 64}",
            '4:67: benchmark.concurrency.search: must be "max", not "min"',
        ),
        (
            "concurrency: {search: max, low: 64, high: 8}",
            "4:87: benchmark.concurrency.high: must be above low, which is 64",
        ),
        (
            "concurrency: {search: max, high: 8, hihg: 9}",
            '4:81: benchmark.concurrency.hihg: unknown key; did you mean "high"?',
        ),
        (
            "concurrency: {low: 1, high: 64}",
            "4:58: benchmark.concurrency.search: missing; this key is required",
        ),
        (
            "concurrency: {search: max, low: 1.5, high: 64}",
            "4:77: benchmark.concurrency.low: must be a whole number, not 1.5",
        ),
        (
            "concurrency: {search: max, high: 64, precision: 0}",
            "4:93: benchmark.concurrency.precision: must be at least 0.01, not 0",
        ),
        (
            "request_rate: {search: max, low: 0, high: 64}",
            "4:78: benchmark.request_rate.low: must be greater than 0, not 0",
        ),
        (f"{SEARCH}, request_rate: 4", "4:12: benchmark: give either concurrency or request_rate"),
        (
            "concurrency: 4",
            NOT_SEARCHED,
        ),
        (
            "request_rate: {search: max, low: 1, high: 64}",
            NOT_SEARCHED,
        ),
    ],
)
def test_a_wrong_search_is_refused_in_these_words(load: str, said: str) -> None:
    assert faults(STUDY.replace("LOAD", load)) == [f"study.yaml:{said}"]


def test_a_search_needs_an_slo_one_scenario_and_neither_a_mean_nor_a_pruner() -> None:
    text = STUDY.replace("LOAD", SEARCH).replace(CONSTRAINTS, "  level: mean\n") + "pruner: {kind: median}\n"
    no_slo, mean, pruner = faults(text)
    assert no_slo.startswith("study.yaml:7:3: goals: the benchmark looks for the most load, but within what?")
    assert mean.startswith("study.yaml:8:10: goals.level: ")
    assert pruner.startswith("study.yaml:9:16: pruner.kind: a pruner compares trials at equal load levels")
    several = STUDY.replace("LOAD", SEARCH).replace('"D(8,6)"', '["D(8,6)", "D(9,9)"]')
    (scenarios,) = faults(several)
    assert scenarios == (
        "study.yaml:4:35: benchmark.scenario: a search for the most load has one scenario: make a study for each"
    )


def test_a_constraint_on_the_load_itself_is_no_slo() -> None:
    constraint = "  constraints: [{metric: sustained_concurrency, at_least: 8}]\n"
    (no_slo,) = faults(STUDY.replace("LOAD", SEARCH).replace(CONSTRAINTS, constraint))
    assert "within what?" in no_slo


def test_a_good_search_is_read_and_its_metric_is_delivered() -> None:
    spec = parse_study(STUDY.replace("LOAD", SEARCH), "study.yaml", InstalledKinds())
    benchmark = Http(HttpOptions.model_validate(dict(spec.benchmark.options)))
    sought = benchmark.searched()
    assert sought is not None
    assert (sought.low.value, sought.high.value, sought.precision, sought.probes) == (1, 64, 0.1, 12)
    assert "sustained_concurrency" in benchmark.metrics()
    assert benchmark.loads() == ()


@pytest.mark.parametrize(("arrival", "kind"), [("poisson", "request_rate"), ("constant", "constant_rate")])
def test_rates_are_searched_in_the_way_in_which_requests_arrive(arrival: str, kind: str) -> None:
    rate = {"search": "max", "low": 0.5, "high": 8}
    options = HttpOptions.model_validate({"scenario": "D(8,4)", "request_rate": rate, "arrival": arrival})
    sought = options.searched()
    assert sought is not None
    assert (sought.low.kind, sought.metric) == (LoadKind(kind), "sustained_rate_req_s")


def test_a_probe_has_so_many_requests_that_the_load_is_really_there() -> None:
    assert requests_of(Load(value=4), 100) == 100
    assert requests_of(Load(value=64), 100) == 256
    assert requests_of(Load(kind=LoadKind.REQUEST_RATE, value=12.5), 100, hold_s=20) == 250


def test_only_a_search_has_a_range() -> None:
    assert HttpOptions.model_validate({"scenario": "D(8,4)", "concurrency": [1]}).searched() is None
    assert GenaiBenchOptions.model_validate({"scenario": "D(8,4)", "concurrency": [1]}).concurrency == (1,)
