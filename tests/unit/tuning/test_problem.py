"""What a study's sampler is asked, with what the engine says of its own flags."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from optuna_tuner.contracts import Engine
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.search.problem import Problem
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.problem import problem_of

SLOW = True  # of enforce_eager
SPEED = {"metric": "output_throughput_tok_s", "direction": "maximize"}


def problem(objective: dict[str, str] = SPEED, **sampler: object) -> Problem:
    raw: dict[str, Any] = {
        "name": "chat",
        "model": {"name": "m", "path": "m", "tokenizer": "m"},
        "engine": {"kind": "vllm", "version": "0.33.0", "flags": {"max_num_seqs": 64}},
        "benchmark": {"kind": "http"},
        "space": {
            "max_num_seqs": {"type": "choice", "choices": [32, 128]},
            "enforce_eager": {"type": "switch"},
            "VLLM_X": {"type": "choice", "choices": [1, 2], "env": True},
        },
        "goals": {"objectives": [objective]},
        "sampler": sampler,
    }
    spec = StudySpec.model_validate_json(json.dumps(raw))
    return problem_of(spec, cast("Engine", make(InstalledKinds(), "engines", spec.engine)))


def test_defaults_are_the_fixed_flag_and_what_the_catalogue_says() -> None:
    assert problem().default == {"max_num_seqs": 64, "enforce_eager": False}


def test_of_a_speed_it_expects_what_the_engine_does() -> None:
    assert problem().expectation("enforce_eager", SLOW) < 0
    assert problem({"metric": "ttft_ms.p99", "direction": "minimize"}).expectation("enforce_eager", SLOW) < 0


@pytest.mark.parametrize("metric", ["error_rate", "tokens_per_dollar"])
def test_of_what_is_no_speed_it_expects_nothing(metric: str) -> None:
    assert problem({"metric": metric, "direction": "minimize"}).expectation("enforce_eager", SLOW) == 0


def test_who_wants_no_expectations_has_none() -> None:
    assert problem(expectations=False).expectation("enforce_eager", SLOW) == 0
