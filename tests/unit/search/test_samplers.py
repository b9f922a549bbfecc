from __future__ import annotations

import optuna
import pytest

from optuna_tuner.search.grid import trials_of
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.redrawing import Redrawing
from optuna_tuner.search.samplers import Repeated, make_pruner, make_sampler
from optuna_tuner.spec.space import named_in, suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Params, Scalar


def spec(kind: str = "tpe", seed: int | None = 1) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "s",
            "model": {"name": "m"},
            "engine": {"kind": "fake"},
            "benchmark": {"kind": "http"},
            "space": {
                "a": {"type": "int", "low": 0, "high": 1000},
                "b": {"type": "switch"},
                "c": {"type": "choice", "choices": ["x", "y"], "when": {"b": True}},
            },
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "sampler": {"kind": kind, "seed": seed, "startup_trials": 3},
        }
    )


def first_choice(study_spec: StudySpec, number: int) -> Params:
    study = optuna.create_study(sampler=make_sampler(Problem.of(study_spec), number), direction="maximize")
    return suggest(study_spec.space, study.ask())


def test_a_seed_repeats_a_trial_but_never_gives_two_trials_one_stream() -> None:
    chosen = [first_choice(spec(), number).key for number in range(20)]
    assert chosen == [first_choice(spec(), number).key for number in range(20)]
    assert len(set(chosen)) > 15


@pytest.mark.parametrize("kind", ["serving", "tpe", "random", "qmc", "grid", "nsga2"])
def test_every_sampler_learns_beside_a_baseline_without_parameters(kind: str) -> None:
    study_spec = spec(kind, seed=None)
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 1.0)
    for number in range(1, 12):
        study.sampler = make_sampler(Problem.of(study_spec), number)
        trial = study.ask()
        params = suggest(study_spec.space, trial)
        assert ("c" in params.flags) == bool(params.flags["b"])
        study.tell(trial, float(params.flags["a"]))


def test_the_grid_visits_every_configuration_once_and_outlives_its_end() -> None:
    small = {
        "a": {"type": "float", "low": 0.9, "high": 0.92, "step": 0.01},
        "b": {"type": "switch"},
        "c": {"type": "choice", "choices": ["x", "y"], "when": {"b": True}},
    }
    study_spec = spec("grid").model_copy(
        update={"space": StudySpec.model_validate(spec().model_dump() | {"space": small}).space}
    )
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 1.0)
    seen = []
    for number in range(1, 12):
        study.sampler = make_sampler(Problem.of(study_spec), number)
        trial = study.ask()
        seen.append(suggest(study_spec.space, trial).key)
        study.tell(trial, 1.0)
    assert len(set(seen[:9])) == 9
    assert set(seen[9:]) == {seen[0]}
    assert trials_of(study_spec) == 10


def test_tpe_still_learns_jointly_though_the_baseline_and_conditions_leave_parameters_out() -> None:
    study_spec = spec()
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 0.0)
    for number in range(1, 40):
        study.sampler = make_sampler(Problem.of(study_spec), number)
        trial = study.ask()
        study.tell(trial, -abs(float(suggest(study_spec.space, trial).flags["a"]) - 700))
    late = [abs(trial.params["a"] - 700) for trial in study.trials[-10:]]
    assert sum(late) / len(late) < 150  # random choices are 290 away on average


def test_tpe_draws_jointly_though_some_trials_have_few_parameters() -> None:
    study_spec = spec()
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 0.0)
    several: list[dict[str, Scalar]] = [{"a": 5}, {"b": True, "c": "x"}, {"b": False}]
    for few in several:
        study.sampler = Repeated(Params(flags=few))
        trial = study.ask()
        study.tell(trial, 1.0 if suggest(named_in(study_spec.space, Params(flags=few)), trial).flags == few else -1.0)
    sampler = make_sampler(Problem.of(study_spec), 4)
    assert isinstance(sampler, Redrawing)
    study.sampler = sampler._base
    drawn = study.ask()
    assert drawn.relative_params.keys() == {"a", "b", "c"}
    assert suggest(study_spec.space, drawn).flags["a"] == drawn.relative_params["a"]
    assert study.best_value == 1.0


def test_qmc_goes_on_in_one_sequence_whoever_asks() -> None:
    """It spreads better than chance: of every eight points in a row each lies in another eighth of the range."""
    study_spec = spec("qmc")
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 1.0)  # the baseline has no parameters
    asked = []
    for number in range(1, 17):
        study.sampler = make_sampler(Problem.of(study_spec), number)  # a worker of its own for each trial
        asked.append(int(suggest(study_spec.space, study.ask()).flags["a"]))
    for eight in (asked[:8], asked[8:]):
        assert {value * 8 // 1001 for value in eight} == set(range(8))


def test_a_grid_counts_what_is_tried_first_beside_its_own() -> None:
    small = {"a": {"type": "int", "low": 1, "high": 3}, "b": {"type": "switch"}}
    given = spec("grid").model_dump() | {"space": small, "first": [{"a": 2}, {"a": 3, "b": True}]}
    assert trials_of(StudySpec.model_validate(given)) == 1 + 2 + 5  # the baseline, these two, what is left of six


def test_each_pruner_is_optunas_own() -> None:
    kinds = {kind: type(make_pruner(spec().pruner.model_copy(update={"kind": kind}))).__name__ for kind in PRUNERS}
    assert kinds == PRUNERS


PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
}
