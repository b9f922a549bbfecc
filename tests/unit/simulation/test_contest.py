"""The contest of tuners: what is kept of it, and what other libraries are told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from search.contest import Run, kept
from search.landscapes import OWN
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
