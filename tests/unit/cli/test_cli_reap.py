"""The reap command says what was taken back, what was left, and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import Result

from optuna_tuner.testing.sample_study import WORKER, sample_study
from optuna_tuner.tuning.reaper import Left, Reaped, TakenBack
from optuna_tuner.tuning.reaping import HouseReaped, StudyReaped

if TYPE_CHECKING:
    from fake_tuner import FakeTuner

Invoke = Callable[..., Result]
ATTEMPT = sample_study().attempts[6]


def house(*left: Left, quarantined: bool = False) -> HouseReaped:
    reaped = Reaped(
        workers=(WORKER,),
        servers=("tuner-attempt-6",),
        attempts=(
            TakenBack(attempt=ATTEMPT, again=True),
            TakenBack(attempt=replace(ATTEMPT, number=None), again=False),
        ),
        left=left,
    )
    far = replace(WORKER, id="worker-2", host="node-b")
    study = StudyReaped(study="sample", reaped=reaped, told=2, undecided=(far,))
    ill = {"GPU-1": ("2026-01-02T03:04:05+00:00", "its memory did not come back")} if quarantined else {}
    return HouseReaped(studies=(study,), lifted=("GPU-0",), quarantined=ill)


def test_it_says_all_that_was_taken_back(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.house = house()
    result = invoke("reap", "sample", "-o", "json")
    assert ("reap", "sample", False) in tuner.asked
    assert (result.exit_code, [(row["what"], row["which"]) for row in json.loads(result.stdout)]) == (
        0,
        [
            ("worker declared dead", "worker-1"),
            ("server gone", "tuner-attempt-6"),
            ("trial taken back", "trial 6"),
            ("trial taken back", "attempt attempt-6"),
            ("outcomes told to Optuna", "2"),
            ("worker not judged", "worker-2"),
            ("GPU came back from quarantine", "GPU-0"),
        ],
    )


def test_it_can_watch_those_that_cannot_be_seen(invoke: Invoke, tuner: FakeTuner) -> None:
    result = invoke("reap", "--wait")
    assert ("reap", None, True) in tuner.asked
    assert "Ctrl-C leaves them as they are" in result.stderr


def test_nothing_to_do_is_said_and_is_no_fault(invoke: Invoke) -> None:
    result = invoke("reap")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "There is nothing to take back.\n")


@pytest.mark.parametrize(("elsewhere", "code"), [(True, 0), (False, 4)])
def test_what_is_left_to_another_machine_is_no_fault_of_this_one(
    invoke: Invoke, tuner: FakeTuner, code: int, *, elsewhere: bool
) -> None:
    tuner.house = house(Left(server="tuner-attempt-6", reason="only node-b can see and end it", elsewhere=elsewhere))
    result = invoke("reap")
    assert (result.exit_code, "only node-b can see and end it" in result.stdout) == (code, True)


def test_a_gpu_in_quarantine_is_shown(invoke: Invoke, tuner: FakeTuner) -> None:
    tuner.house = house(quarantined=True)
    result = invoke("reap")
    assert (result.exit_code, "GPU-1" in result.stdout, "did not come back" in result.stdout) == (4, True, True)
