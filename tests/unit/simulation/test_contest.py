"""The contest of tuners: what is kept of it, and what other libraries are told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from search.contest import Run, kept, metrics, share_of
from search.landscapes import OWN, TWO_OBJECTIVES, vllm_dense
from search.others import Axes, Losses

from optuna_tuner.spec.space import Choice, Switch
from optuna_tuner.values import Cause

RUN = Run(regrets=(1.0, 0.25), failed=0.5, ask_s=0.1, trials_s=600.0)


def test_a_run_that_is_kept_is_not_played_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "run.json"
    assert kept(file, lambda: RUN) == RUN
    assert kept(file, lambda: pytest.fail("was played again")) == RUN
    assert list(file.parent.iterdir()) == [file]


def test_a_library_is_told_numbers_in_order_and_gives_a_configuration_with_conditions() -> None:
    axes = Axes(
        {
            "gpus": Choice(type="choice", choices=(8, 1, 4)),
            "draft": Switch(type="switch"),
            "kind": Choice(type="choice", choices=("b", "a"), when={"draft": True}),
        }
    )
    assert [axes.is_ordered(name) for name in axes.values] == [True, False, False]
    assert axes.configuration({"gpus": 1, "draft": 1, "kind": 1}) == {"gpus": 4, "draft": True, "kind": "a"}
    assert axes.configuration({"gpus": 2, "draft": 0, "kind": 1}) == {"gpus": 8, "draft": False}


def test_what_did_not_run_is_told_as_the_worst_that_did_and_waits_for_one() -> None:
    landscape = OWN[0]
    ran = landscape.truth(landscape.default)
    failed = type(ran)(cause=Cause.CRASHED, cost_s=1.0)
    losses = Losses(landscape)
    assert losses.of(0, failed) == []
    assert ran.objective is not None
    loss = -math.log(ran.objective)
    assert losses.of(1, ran) == [(1, ran, loss), (0, failed, loss)]
    assert losses.of(2, failed) == [(2, failed, loss)]


def test_with_two_objectives_a_run_is_judged_by_the_share_of_the_fronts_hypervolume() -> None:
    """The reference is a tenth below the worst of the front (0, 1) and (1, 0), which dominates 0.1 x 1.1 x 2 - 0.01."""
    front, whole = np.array([[0.0, 1.0], [1.0, 0.0]]), 0.21
    assert share_of(front, front) == pytest.approx(1)
    assert share_of(front, front[:1]) == pytest.approx(0.11 / whole)
    assert share_of(front, np.array([[0.0, 0.0], [-0.2, 1.0]])) == pytest.approx(0.01 / whole)
    assert share_of(front, np.empty((0, 2))) == 0


def test_one_promise_becomes_an_objective_and_the_others_stay() -> None:
    plain, traded = vllm_dense(), TWO_OBJECTIVES[0]
    assert (plain.front, traded.constraint_names) == (None, ("ttft_ms.p99",))
    truth = traded.truth(plain.default)
    levels = vllm_dense().outcome(plain.default).levels
    kept = [each for each in levels if each.metrics["ttft_ms.p99"] <= plain.goal.at_most["ttft_ms.p99"]]
    best = max(kept, key=lambda each: each.metrics["output_throughput_tok_s"])
    assert truth.traded == best.metrics["itl_ms.p99"]
    seen = traded.observe(plain.default, np.random.default_rng(0))
    assert metrics(traded, seen) == {
        "objective": seen.objective,
        "traded": seen.traded,
        "ttft_ms.p99": pytest.approx(math.exp(seen.constraints[0])),
    }
    assert seen.traded != truth.traded
