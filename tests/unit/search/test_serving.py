"""The sampler `serving`, on Optuna's side."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest
from optuna.study import StudyDirection

from optuna_tuner.search.objection import NOTHING_KNOWN, Objection
from optuna_tuner.search.problem import Problem
from optuna_tuner.search.samplers import make_sampler
from optuna_tuner.search.serving import Serving
from optuna_tuner.search.verdict import SERVER_RUNS
from optuna_tuner.spec.sampler import Sampler
from optuna_tuner.spec.space import Choice, Int, Parameter, Switch, suggest
from optuna_tuner.values import Params, Scalar

SPACE: dict[str, Parameter] = {
    "gpus": Choice(type="choice", choices=(1, 2, 4, 8)),
    "batch": Int(type="int", low=1, high=512, log=True),
    "eager": Switch(type="switch"),
}


def sampler(number: int, objection: Objection = NOTHING_KNOWN, startup: int = 3) -> Serving:
    settings = Sampler(kind="serving", seed=1, startup_trials=startup)
    made = make_sampler(Problem(space=SPACE, sampler=settings), number, objection)
    assert isinstance(made, Serving)
    return made


def play(study: optuna.Study, trials: int, tell: Callable[[optuna.trial.Trial, Params], object]) -> list[Params]:
    asked = []
    for _ in range(trials):
        study.sampler = sampler(len(study.trials))
        trial = study.ask()
        asked.append(suggest(SPACE, trial))
        tell(trial, asked[-1])
    return asked


def test_it_comes_close_to_a_cliff_from_the_side_on_which_servers_run() -> None:
    study = optuna.create_study(direction="maximize")

    def tell(trial: optuna.trial.Trial, params: Params) -> None:
        fails = int(params.flags["gpus"]) * int(params.flags["batch"]) > 256
        trial.set_constraint(SERVER_RUNS, float(fails))
        if fails:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, float(params.flags["batch"]))

    play(study, 20, tell)
    assert max(trial.values[0] for trial in study.trials if trial.values) > 220


def test_what_a_user_fixed_stays_and_the_rest_is_chosen_around_it() -> None:
    study = optuna.create_study(direction="maximize")
    play(study, 5, lambda trial, params: study.tell(trial, float(params.flags["batch"])))
    study.enqueue_trial({"gpus": 2, "eager": True})
    (params,) = play(study, 1, lambda trial, _: study.tell(trial, 1.0))
    assert (params.flags["gpus"], params.flags["eager"]) == (2, True)
    assert dict(params.flags) not in [trial.params for trial in study.trials[:5]]
    assert int(params.flags["batch"]) > 256, "a larger batch was better, whatever the others were"


def test_where_only_a_corner_is_allowed_it_is_found_and_the_way_is_told() -> None:
    def corner(params: Params) -> str | None:
        return None if params.flags["gpus"] == 8 and int(params.flags["batch"]) < 8 else "too large"

    chosen = sampler(0, corner)
    study = optuna.create_study(sampler=chosen)
    assert corner(suggest(SPACE, study.ask())) is None
    assert chosen.choice.objections == ("too large",)
    assert chosen.choice.passed_over > 10


def test_where_everything_is_refused_the_trial_gets_a_configuration_to_be_refused_with() -> None:
    chosen = sampler(0, lambda _: "no")
    study = optuna.create_study(sampler=chosen)
    assert suggest(SPACE, study.ask()).flags.keys() == SPACE.keys()
    assert (chosen.choice.objections, chosen.choice.repaired) == (("no",), {})


@pytest.mark.parametrize(("direction", "sign"), [(StudyDirection.MAXIMIZE, 1), (StudyDirection.MINIMIZE, -1)])
def test_both_directions_are_learned_from_numbers_of_any_sign(direction: StudyDirection, sign: int) -> None:
    study = optuna.create_study(direction=direction)
    play(study, 14, lambda trial, params: study.tell(trial, sign * (float(params.flags["batch"]) - 300)))
    assert sign * study.best_value > 100


def test_a_default_outside_the_space_still_has_its_place() -> None:
    """Engines have 0 or -1 for "no limit", and defaults that nobody listed."""
    space: dict[str, Parameter] = {
        "limit": Int(type="int", low=8, high=64, log=True),
        "chunk": Choice(type="choice", choices=(512, 2048)),
        "backend": Choice(type="choice", choices=("a", "b")),
    }
    default: dict[str, Scalar] = {"limit": 0, "chunk": -1, "backend": "c"}
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 5.0)
    for number in range(1, 9):
        settings = Sampler(kind="serving", seed=1, startup_trials=2)
        study.sampler = make_sampler(Problem(space=space, sampler=settings, ahead=1, default=default), number)
        trial = study.ask()
        study.tell(trial, float(suggest(space, trial).flags["limit"]))
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 9


def test_the_first_ones_also_try_what_lies_between_the_ends() -> None:
    space: dict[str, Parameter] = {name: Choice(type="choice", choices=(1, 2, 4, 8)) for name in "abcde"}
    study = optuna.create_study(direction="maximize")
    for number in range(4):
        settings = Sampler(kind="serving", seed=1, startup_trials=4)
        study.sampler = make_sampler(Problem(space=space, sampler=settings), number)
        trial = study.ask()
        suggest(space, trial)
        study.tell(trial, 1.0)
    for name in space:
        assert len({trial.params[name] for trial in study.trials}) >= 3, f"{name} was tried at few places"


def test_with_two_objectives_the_front_is_found_from_end_to_end() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])

    def tell(trial: optuna.trial.Trial, params: Params) -> None:
        batch, slower = float(params.flags["batch"]), 2.0 if params.flags["eager"] else 1.0
        study.tell(trial, [batch / (batch + 50) / slower, slower * (5 + batch) / float(params.flags["gpus"])])

    play(study, 16, tell)
    front = study.best_trials
    assert len(front) >= 5
    assert all(trial.params["gpus"] == 8 and not trial.params["eager"] for trial in front)
    assert min(trial.params["batch"] for trial in front) < 10
    assert max(trial.params["batch"] for trial in front) > 400
