from __future__ import annotations

import optuna
import pytest
from optuna.trial import FixedTrial
from pydantic import TypeAdapter, ValidationError

from optuna_tuner.spec.space import Choice, Float, Int, Parameter, Switch, chosen_of, flag_name, suggest

SPACE: dict[str, Parameter] = {
    "a": Int(type="int", low=1, high=9, step=2),
    "b": Switch(type="switch", when={"a": [3, 5]}),
    "c": Choice(type="choice", choices=("x", "y"), when={"b": True}),
    "THREADS": Int(type="int", low=1, high=4, env=True),
    "SPIN": Switch(type="switch", env=True),
}


def test_a_parameter_is_sampled_only_when_its_condition_holds() -> None:
    trial = FixedTrial({"a": 3, "b": True, "c": "y", "THREADS": 2, "SPIN": False})
    assert suggest(SPACE, trial).flags == {"a": 3, "b": True, "c": "y"}
    trial = FixedTrial({"a": 7, "b": True, "c": "y", "THREADS": 2, "SPIN": False})
    assert suggest(SPACE, trial).flags == {"a": 7}


def test_a_condition_on_a_parameter_that_was_not_sampled_does_not_hold() -> None:
    trial = FixedTrial({"a": 3, "b": False, "c": "y", "THREADS": 2, "SPIN": False})
    assert suggest(SPACE, trial).flags == {"a": 3, "b": False}


def test_environment_variables_are_text_and_switches_there_are_one_and_zero() -> None:
    trial = FixedTrial({"a": 1, "THREADS": 2, "SPIN": True})
    assert suggest(SPACE, trial).env == {"THREADS": "2", "SPIN": "1"}
    assert chosen_of(SPACE, suggest(SPACE, trial)) == {"a": 1, "THREADS": 2, "SPIN": True}


@pytest.mark.parametrize(
    "parameter",
    [
        Int(type="int", low=1, high=9, step=2),
        Int(type="int", low=1, high=1000, log=True),
        Float(type="float", low=0.85, high=0.95, step=0.01),
        Float(type="float", low=0.001, high=1, log=True),
        Choice(type="choice", choices=(16, 32)),
        Switch(type="switch"),
    ],
)
def test_what_optuna_samples_is_what_the_parameter_takes(parameter: Int | Float | Choice | Switch) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(30):
        assert parameter.takes(parameter.suggest(study.ask(), "x"))


def test_a_float_is_counted_in_the_steps_as_written() -> None:
    parameter = Float(type="float", low=0.85, high=0.95, step=0.01)
    assert parameter.size() == 11
    assert parameter.values()[:4] == (0.85, 0.86, 0.87, 0.88)
    assert parameter.takes(0.93)
    assert not parameter.takes(0.935)
    assert Float(type="float", low=0, high=1).size() is None


def test_a_switch_does_not_take_a_number_nor_an_int_a_truth() -> None:
    assert not Switch(type="switch").takes(1)
    assert not Int(type="int", low=0, high=1).takes(True)  # noqa: FBT003  the value is the point
    assert not Choice(type="choice", choices=(0, 1)).takes(True)  # noqa: FBT003  the value is the point


def test_python_is_told_of_all_misfits_at_once() -> None:
    with pytest.raises(ValidationError, match=r"high must not be less than low.*low must be greater than 0"):
        Int(type="int", low=0, high=-1, log=True)


def test_lists_and_tuples_are_both_choices_in_python() -> None:
    adapter: TypeAdapter[Parameter] = TypeAdapter(Parameter)
    assert adapter.validate_python({"type": "choice", "choices": [1, 2]}) == Choice(type="choice", choices=(1, 2))


@pytest.mark.parametrize("written", ["max_num_seqs", "max-num-seqs", "--max-num-seqs"])
def test_spellings_of_one_flag_are_one(written: str) -> None:
    assert flag_name(written) == "max_num_seqs"
