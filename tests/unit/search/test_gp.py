"""Optuna's Gaussian process: what it is told, and that it can be asked in spaces and histories like ours."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
import pytest
from optuna.trial import TrialState

from optuna_tuner import Search
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.search import gp
from optuna_tuner.search.evidence import Evidence
from optuna_tuner.search.flat import FlatSpace
from optuna_tuner.search.gp import Gp
from optuna_tuner.search.verdict import SERVER_RUNS
from optuna_tuner.spec.space import Choice, Float, Int, Parameter, Switch
from optuna_tuner.values import Cause, Scalar

SPACE: Mapping[str, Parameter] = {
    "tp": Choice(type="choice", choices=(4, 1, 2)),
    "backend": Choice(type="choice", choices=("a", "b", "c")),
    "share": Float(type="float", low=0.5, high=0.9, step=0.1),
    "draft": Switch(type="switch"),
    "drafted": Int(type="int", low=1, high=8, when={"draft": True}),
    "fixed": Int(type="int", low=3, high=3),
}
PLAIN: dict[str, Scalar] = {"tp": 2, "backend": "b", "share": 0.7, "draft": False, "fixed": 3}
GOALS = {
    "objectives": [{"metric": "speed", "direction": "maximize"}],
    "constraints": [{"metric": "ttft_ms.p99", "at_most": 500}],
}


def test_in_a_flat_space_numbers_of_a_list_are_in_order_and_every_parameter_has_a_value() -> None:
    flat = FlatSpace(SPACE)
    inside = flat.inside(PLAIN)
    assert inside == {"tp": 1, "backend": "b", "share": 0.7, "draft": False, "drafted": 1}
    assert flat.applying(flat.outside(inside)) == PLAIN
    assert flat.inside({**PLAIN, "tp": 8}) is None


def test_all_that_was_tried_is_told_with_all_constraints_also_what_failed_and_what_runs() -> None:
    ran = Evidence(configuration=PLAIN, ran=True, values=(5.0,), excesses={SERVER_RUNS: 0.0, "slo": 1e9})
    slow = Evidence(configuration={**PLAIN, "tp": 1}, ran=True, values=(2.0,), excesses={SERVER_RUNS: 0.0, "slo": -0.5})
    failed = Evidence(configuration={**PLAIN, "tp": 4}, ran=False, values=None, excesses={})
    strange = Evidence(configuration={**PLAIN, "tp": 8}, ran=True, values=(9.0,), excesses={SERVER_RUNS: 0.0, "slo": 0})
    sampler = Gp(SPACE, seed=1, default={})
    view = sampler._view([ran, slow, failed, strange], [{**PLAIN, "backend": "c"}])
    told = [each for each in view.trials if each.state is TrialState.COMPLETE]
    assert [each.params["tp"] for each in told] == [1, 0, 2]
    assert [each.value for each in told] == [5.0, 2.0, pytest.approx(16 / 3)]
    assert [each.constraints[SERVER_RUNS] > 0 for each in told] == [False, False, True]
    assert [each.constraints["slo"] > 0 for each in told[:2]] == [True, False]
    assert all(abs(each.constraints["slo"]) < 3 for each in told)  # one without measure would drown all others
    assert [each.params["backend"] for each in view.trials if each.state is TrialState.RUNNING] == ["c"]


def test_a_constraint_that_was_never_broken_costs_no_model() -> None:
    ran = Evidence(configuration=PLAIN, ran=True, values=(5.0, 1.0), excesses={SERVER_RUNS: 0.0, "slo": -0.2})
    view = Gp(SPACE, seed=1, default={})._view([ran], [])
    assert [each.constraints for each in view.trials] == [{}]
    assert len(view.directions) == 2


def test_without_torch_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentFaultError, match=r"needs torch.*pip install 'optuna-tuner\[gp\]'"):
        Search(SPACE, GOALS, sampler="gp")
    Search(SPACE, GOALS, sampler="qmc")


def serve(params: Mapping[str, Scalar]) -> dict[str, float] | Cause:
    tp, share = int(params["tp"]), float(params["share"])
    if tp == 1 and share > 0.8:
        return Cause.OUT_OF_MEMORY_POOL
    return {"speed": tp * share * int(params.get("drafted", 1)), "ttft_ms.p99": 900 / tp}


def test_it_learns_beside_failures_conditions_rules_and_others_and_tries_nothing_twice() -> None:
    pytest.importorskip("torch", reason="torch is not installed: the extra gp")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    one = Search(
        SPACE, GOALS, seed=1, sampler="gp", startup_trials=2, default={**PLAIN, "tp": 8}, rules=["drafted > 6"]
    )
    seen = set()
    waiting = [one.ask()]
    for _ in range(8):
        waiting.append(one.ask())
        oldest = waiting.pop(0)
        seen.add(frozenset(oldest.params.items()))
        assert int(oldest.params.get("drafted", 0)) <= 6
        one.tell(oldest.number, serve(oldest.params))
    assert len(seen) == 8
    assert one.best()[0].values[0] > 5.6  # better than the default
