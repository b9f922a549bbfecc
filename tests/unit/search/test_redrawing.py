from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import optuna
import pytest

from optuna_tuner.search.objection import first_of, study_rules
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.redrawing import DRAWS, Redrawing
from optuna_tuner.search.samplers import make_sampler
from optuna_tuner.spec.space import suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import Choice
from optuna_tuner.values import Params, Scalar

KINDS = ["tpe", "random", "qmc", "nsga2"]
SPACE: Mapping[str, object] = {
    "tokens": {"type": "choice", "choices": [32, 64, 128, 256]},
    "sequences": {"type": "int", "low": 16, "high": 256},
    "chunked": {"type": "switch"},
    "share": {"type": "float", "low": 0.5, "high": 0.9, "step": 0.1, "when": {"chunked": True}},
    "THREADS": {"type": "int", "low": 1, "high": 4, "env": True},
}


def spec(kind: str, *forbidden: str, space: Mapping[str, object] = SPACE) -> StudySpec:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return StudySpec.model_validate(
        {
            "name": "s",
            "model": {"name": "m"},
            "engine": {"kind": "fake"},
            "benchmark": {"kind": "http"},
            "space": dict(space),
            "rules": [{"forbid": text} for text in forbidden],
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "sampler": {"kind": kind, "seed": 1, "startup_trials": 3},
        }
    )


def played(study_spec: StudySpec, trials: int) -> list[tuple[Params, Choice]]:
    """What a study of one worker is given, whose score is the sequences, less a running neighbour."""
    study, found = optuna.create_study(direction="maximize"), []
    neighbour = None
    for number in range(trials):
        study.sampler = sampler = make_sampler(Problem.of(study_spec), number, study_rules(study_spec))
        trial = study.ask()
        params = suggest(study_spec.space, trial)
        assert isinstance(sampler, Redrawing)
        found.append((params, sampler.choice))
        if neighbour is not None:
            study.tell(*neighbour)
        neighbour = (trial, float(params.flags["sequences"]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_trial_gets_what_is_known_not_to_run(kind: str) -> None:
    study_spec = spec(kind, "tokens < sequences", "share > 0.8 and THREADS == 1")
    given = played(study_spec, 14)
    objection = study_rules(study_spec)
    assert all(objection(params) is None for params, _ in given)
    assert any(choice.passed_over for _, choice in given)
    assert all(("share" in params.flags) == params.flags["chunked"] for params, _ in given)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_trials_again(kind: str) -> None:
    study_spec = spec(kind, "tokens < sequences")
    assert played(study_spec, 7) == played(study_spec, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_without_objections_a_trial_gets_what_the_bare_sampler_draws(kind: str) -> None:
    study_spec = spec(kind)
    bare = make_sampler(Problem.of(study_spec), 0)
    assert isinstance(bare, Redrawing)
    wrapped, alone = (
        optuna.create_study(sampler=each) for each in (make_sampler(Problem.of(study_spec), 0), bare._base)
    )
    assert suggest(study_spec.space, wrapped.ask()) == suggest(study_spec.space, alone.ask())


def test_random_trials_are_spread_as_evenly_over_what_is_allowed_as_over_all() -> None:
    few = {name: {"type": "choice", "choices": [1, 2, 3]} for name in ("a", "b")}
    study_spec = spec("random", "a < b", space=few)
    counts = Counter[tuple[Scalar, ...]]()
    for number in range(600):
        study = optuna.create_study(sampler=make_sampler(Problem.of(study_spec), number, study_rules(study_spec)))
        counts[tuple(suggest(study_spec.space, study.ask()).flags.values())] += 1
    assert set(counts) == {(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3)}
    assert all(70 <= count <= 130 for count in counts.values())  # 100 expected, with a deviation of 9


def test_what_was_passed_over_is_kept_with_its_reasons_each_once() -> None:
    given = played(spec("random", "tokens < sequences", "chunked"), 20)
    most = max((choice for _, choice in given), key=lambda choice: choice.passed_over)
    assert 2 <= most.passed_over < DRAWS
    assert set(most.objections) <= {"rule: tokens < sequences", "rule: chunked"}
    assert len(set(most.objections)) == len(most.objections)


def test_where_redrawing_finds_nothing_the_nearest_single_move_mends_it() -> None:
    narrow = {"tokens": {"type": "int", "low": 1, "high": 10**6}, "sequences": {"type": "int", "low": 1, "high": 16}}
    [(params, choice)] = played(spec("random", "tokens > sequences", space=narrow), 1)
    assert choice.passed_over == DRAWS
    [(name, (before, after))] = choice.repaired.items()
    assert (name, after, params.flags["tokens"]) == ("tokens", params.flags["sequences"], params.flags["sequences"])
    assert isinstance(before, int)
    assert before > 16


def test_what_optuna_keeps_is_the_repaired_value() -> None:
    narrow = {"a": {"type": "int", "low": 1, "high": 10**6}, "b": {"type": "int", "low": 1, "high": 16}}
    study_spec = spec("tpe", "a > b", space=narrow)
    study = optuna.create_study(sampler=make_sampler(Problem.of(study_spec), 0, study_rules(study_spec)))
    trial = study.ask()
    suggest(study_spec.space, trial)
    assert study.trials[0].params["a"] == study.trials[0].params["b"]


def test_where_everything_is_refused_the_trial_gets_a_refused_one_and_the_study_goes_on() -> None:
    given = played(spec("tpe", "tokens > 0"), 5)
    assert [choice.passed_over for _, choice in given] == [DRAWS - 1] * 5


def test_what_a_user_fixed_stays_and_the_rest_is_drawn_to_fit() -> None:
    study_spec = spec("random", "tokens < sequences")
    study = optuna.create_study()
    for _ in range(10):
        study.enqueue_trial({"tokens": 32})
    for number in range(10):
        study.sampler = make_sampler(Problem.of(study_spec), number, study_rules(study_spec))
        params = suggest(study_spec.space, study.ask())
        assert params.flags["tokens"] == 32
        assert int(params.flags["sequences"]) <= 32


def test_a_wholly_fixed_configuration_is_not_drawn_again() -> None:
    study_spec = spec("random", "tokens < sequences", space={name: SPACE[name] for name in ("tokens", "sequences")})
    study = optuna.create_study(sampler=make_sampler(Problem.of(study_spec), 0, first_of(study_rules(study_spec))))
    study.enqueue_trial({"tokens": 32, "sequences": 33})
    assert suggest(study_spec.space, study.ask()) == Params(flags={"tokens": 32, "sequences": 33})
