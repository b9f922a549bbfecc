from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import optuna
import pytest

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.search.grid import left_out, trials_of
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.samplers import make_sampler
from optuna_tuner.spec.space import suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.foreseen import anywhere, random_configurations, refusal_warnings
from optuna_tuner.tuning.plan import plan
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Model, Slot

FEW: Mapping[str, object] = {
    "max_num_seqs": {"type": "choice", "choices": [32, 64, 128]},
    "max_num_batched_tokens": {"type": "choice", "choices": [48, 96]},
}
MODEL = Model(name="m", path="m", tokenizer="m")
SLOT = Slot(name="s", host="h")


def spec(kind: str, space: Mapping[str, object] = FEW, trials: int = 100) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "s",
            "model": {"name": "m"},
            "engine": {"kind": "vllm", "version": "0.33.0"},
            "benchmark": {"kind": "script", "command": ["x"], "metrics": ["score"]},
            "space": dict(space),
            "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
            "sampler": {"kind": kind, "seed": 1},
            "budget": {"trials": trials},
        }
    )


def test_a_grid_leaves_out_what_cannot_run_and_trials_plan_and_sampler_agree() -> None:
    study_spec = spec("grid")
    objection = anywhere(study_spec, InstalledKinds())
    assert (trials_of(study_spec, objection), left_out(study_spec, objection)) == (4, 3)  # the baseline among them
    study, given = optuna.create_study(direction="maximize"), []
    study.tell(study.ask(), 0.0)
    for number in range(1, 5):
        study.sampler = make_sampler(Problem.of(study_spec), number, objection)
        trial = study.ask()
        given.append(tuple(suggest(study_spec.space, trial).flags.values()))
        study.tell(trial, 1.0)
    assert given == [(32, 48), (32, 96), (64, 96), (64, 48)]  # what is left then is refused with its reason
    planned = plan(study_spec, assemble(study_spec, InstalledKinds()), MODEL, [SLOT])
    assert (planned.trials, planned.left_out) == (4, 3)


@pytest.mark.parametrize("kind", ["tpe", "grid"])
def test_where_all_is_refused_a_grid_has_one_trial_to_say_so_and_other_samplers_their_budget(kind: str) -> None:
    study_spec = spec(kind, {**FEW, "max_num_seqs": {"type": "choice", "choices": [128, 256]}})
    objection = anywhere(study_spec, InstalledKinds())
    assert trials_of(study_spec, objection) == (2 if kind == "grid" else 100)
    [warning] = refusal_warnings(study_spec, objection)
    assert warning.startswith(
        "200 of 200 random configurations are known not to run, 200 of them for the same reason: "
    )
    assert "is below max_num_seqs" in warning


def test_a_study_of_which_most_can_run_is_not_warned_of() -> None:
    assert list(refusal_warnings(spec("tpe"), anywhere(spec("tpe"), InstalledKinds()))) == []


def test_the_examples_of_a_plan_are_configurations_that_may_run() -> None:
    study_spec = spec("tpe")
    objection = anywhere(study_spec, InstalledKinds())
    assert all(objection(each) is None for each in islice(random_configurations(study_spec, objection), 10))
    assert not all(objection(each) is None for each in islice(random_configurations(study_spec), 10))


def test_a_grid_that_is_larger_than_the_budget_is_counted_no_further() -> None:
    wide = {"max_num_seqs": {"type": "int", "low": 1, "high": 10**9}}
    assert trials_of(spec("grid", wide, trials=30), anywhere(spec("grid", wide), InstalledKinds())) == 30
