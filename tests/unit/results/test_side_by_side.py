"""Two trials side by side: what differs, how much of it is noise, and what makes figures incomparable."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from pydantic import JsonValue
from scipy.stats import t
from take_home import TWO_CORES, TWO_GPUS, ended_study

from optuna_tuner.errors import NotFoundError
from optuna_tuner.results.side_by_side import Difference, Setting
from optuna_tuner.results.side_by_side.changes import change_of
from optuna_tuner.results.side_by_side.finding import difference_of
from optuna_tuner.results.side_by_side.sides import side, side_of
from optuna_tuner.results.side_by_side.writing import document, html, markdown, sections
from optuna_tuner.results.views import StudyView
from optuna_tuner.values import Params

VLLM: Mapping[str, JsonValue] = {"kind": "vllm", "version": "0.32.0", "flags": {"dtype": "float16"}}
THROUGHPUT = "output_throughput_tok_s"


def vllm(**changes: object) -> StudyView:
    """Three configurations, each measured once."""
    found = ended_study(VLLM, Params(flags={"max_num_seqs": 256}), TWO_GPUS, **changes)  # type: ignore[arg-type]  # a study's sections
    default, broken, best = found.trials
    return replace(found, trials=(default, replace(broken, params={"max_num_seqs": 512}), best))


def between(one: str, other: str, study: StudyView | None = None, *, everything: bool = False) -> Difference:
    found = study or vllm()
    return difference_of(side_of(found, one), side_of(found, other), everything=everything)


def test_a_side_is_the_best_the_baseline_or_a_number() -> None:
    study = vllm()
    assert side("my study", lambda _: study).trial.number == 2
    assert side("my study/baseline", lambda _: study).trial.number == 0
    assert side("my study/1", lambda _: study).trial.number == 1


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("winner", '"winner" is no trial; write STUDY, STUDY/best, STUDY/baseline or STUDY/NUMBER'),
        ("17", "has no trial 17"),
        ("-1", '"-1" is no trial'),
    ],
)
def test_another_side_is_refused(which: str, said: str) -> None:
    with pytest.raises(NotFoundError, match=said):
        side_of(vllm(), which)


def test_a_trial_without_figures_has_nothing_to_compare(study: StudyView) -> None:
    with pytest.raises(NotFoundError, match='trial 4 of study "sample" has no figures to compare: '):
        side_of(study, "4")


def test_flags_that_differ_are_told_and_what_is_fixed_on_both_sides_only_on_demand() -> None:
    assert between("baseline", "best").flags == (Setting(name="max_num_seqs", first=None, second=256),)
    assert [row.name for row in between("baseline", "best", everything=True).flags] == ["dtype", "max_num_seqs"]


def test_a_change_is_a_share_of_the_first_and_says_which_way_is_better() -> None:
    change, latency = between("baseline", "best").metrics
    assert (change.metric, change.first, change.second) == (THROUGHPUT, 500, 800)
    assert change.share == pytest.approx(0.6)
    assert change.meaning == "better, if it is no noise"
    assert (latency.metric, latency.meaning) == ("ttft_ms.p99", "worse, if it is no noise")


def test_repeats_give_an_interval_that_is_welchs() -> None:
    first, second = [100.0, 102.0, 98.0], [110.0, 113.0]
    found = change_of(THROUGHPUT, first, second)
    logs = np.log(first), np.log(second)
    spread = [values.var(ddof=1) / len(values) for values in logs]
    freedom = sum(spread) ** 2 / sum(each**2 / (len(values) - 1) for each, values in zip(spread, logs, strict=True))
    half = t.ppf(0.975, freedom) * math.sqrt(sum(spread))
    middle = logs[1].mean() - logs[0].mean()
    assert (found.low, found.high) == pytest.approx((math.expm1(middle - half), math.expm1(middle + half)))
    assert found.meaning == "better"


def test_what_noise_explains_is_no_difference() -> None:
    assert change_of(THROUGHPUT, [100, 90, 110], [101, 93, 108]).meaning == "no difference shown"


@pytest.mark.parametrize(("first", "second"), [([1.0], [2.0, 3.0]), ([0.0, 1.0], [2.0, 3.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_without_noise_to_judge_by_there_is_no_interval(first: list[float], second: list[float]) -> None:
    found = change_of("error_rate", first, second)
    assert (found.low, found.high) == (None, None)


def test_a_change_from_zero_has_no_share() -> None:
    assert change_of("error_rate", [0.0], [0.5]).share is None


def test_all_runs_of_the_same_configuration_at_the_same_load_count() -> None:
    study = vllm()
    again = replace(study.trials[2], number=3, metrics={**study.trials[2].metrics, THROUGHPUT: 820.0})
    elsewhere = replace(again, number=4, level="concurrency=1")
    study = replace(study, trials=(*study.trials, again, elsewhere))
    best = side_of(study, "best")
    assert [run.number for run in best.runs] == [2, 3]
    assert between("baseline", "best", study).metrics[0].second == 810


def test_what_makes_figures_incomparable_is_told() -> None:
    other = ended_study(
        {**VLLM, "version": "0.33.0"},
        Params(flags={"max_num_seqs": 64}),
        TWO_CORES,
        name="other",
        model={"name": "large"},
        benchmark={"kind": "http", "concurrency": [64]},
    )
    found = difference_of(side_of(vllm(), "best"), side_of(other, "best"))
    assert found.warnings[:2] == (
        "They serve different models: tiny and large.",
        "They were measured by different benchmarks or loads: their figures do not compare.",
    )
    told = {row.name: (row.first, row.second) for row in found.circumstances}
    assert told["engine.version"] == ("0.32.0", "0.33.0")
    assert told["machine.gpus"] == (2, 0)
    assert "deployer.kind" not in told


def test_a_trial_that_breaks_its_promise_and_a_single_run_are_told() -> None:
    assert between("1", "best").warnings == (
        "my study/1 is infeasible: it is nothing to deploy.",
        "One run on a side: without repeats nobody knows how much of a change is noise.",
    )


def test_true_is_not_one() -> None:
    assert Setting(name="x", first=True, second=1).differs
    assert not Setting(name="x", first=1, second=1.0).differs


def test_the_same_trial_differs_in_nothing() -> None:
    found = between("best", "best")
    assert (found.flags, found.resolved, found.circumstances) == ((), (), ())
    assert [change.meaning for change in found.metrics] == ["", ""]


def test_data_has_it_all() -> None:
    told = json.loads(json.dumps(document(between("baseline", "best"))))
    assert told["first"] == {"study": "my study", "trial": 0, "runs": [0]}
    assert told["flags"] == [{"name": "max_num_seqs", "first": None, "second": 256}]
    assert told["metrics"][0]["share"] == pytest.approx(0.6)


def test_nothing_that_a_study_says_can_leave_its_cell() -> None:
    hostile = "<script>alert(1)</script> | **b** [a](http://x)\n# c"
    study = ended_study(
        {"kind": "vllm", "version": "0.32.0"}, Params(flags={"chat_template": hostile}), TWO_CORES, description="x"
    )
    found = between("baseline", "best", study)
    page = html(found)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    text = markdown(found)
    assert "\\<script\\>" in text
    assert r"\| \*\*b\*\* \[a\](http://x) \# c" in text
    assert all(
        line.count(" | ") == len(sections(found)[1].columns) - 1 for line in text.splitlines() if "script" in line
    )
