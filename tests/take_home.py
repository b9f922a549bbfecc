"""A study that ended long ago on each engine, to be exported: three trials, of which the last is the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from pydantic import JsonValue

from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.results.export import Export
from optuna_tuner.results.export.formats import exported
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.testing.sample_study import BEGAN, WORKER, attempt, measured, sample_study
from optuna_tuner.values import Model, Params, Slot

TWO_GPUS = Slot(name="gpu-0", host="node-a", gpus=("GPU-1", "GPU-2"))
TWO_CORES = Slot(name="cpu-0", host="node-a", cores=(0, 1))
MODEL = Model(name="tiny", path="/models/tiny", tokenizer="/models/tiny")
GOALS: Mapping[str, JsonValue] = {
    "objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}],
    "constraints": [{"metric": "ttft_ms.p99", "at_most": 200}],
}


def ended_study(engine: Mapping[str, JsonValue], params: Params, slot: Slot, **changes: JsonValue) -> StudyView:
    """The default gave 500 tok/s, one that breaks the promise 900, and these parameters 800."""
    space: dict[str, JsonValue] = {
        **{name: {"type": "choice", "choices": [value]} for name, value in params.flags.items()},
        **{name: {"type": "choice", "choices": [value], "env": True} for name, value in params.env.items()},
    }
    document: dict[str, JsonValue] = {
        "name": "my study",
        "model": {"name": "tiny"},
        "engine": dict(engine),
        "benchmark": {"kind": "http"},
        "space": space,
        "goals": dict(GOALS),
        "budget": {"trials": 3},
    }
    spec = StudySpec.model_validate(document | changes)
    outcomes = [measured(spec.goals, 500, 100), measured(spec.goals, 900, 300), measured(spec.goals, 800, 180)]
    attempts = [attempt(number, outcome, params if number else Params()) for number, outcome in enumerate(outcomes)]
    record = replace(sample_study().record, name=spec.name, spec_json=spec.model_dump_json(), budget=3, reserved=3)
    worker = replace(WORKER, slot=slot)
    return study_view(record, spec, attempts, (worker,), BEGAN + timedelta(hours=1))


def export(study: StudyView, asked: Export, model: Model = MODEL) -> str:
    """What the front door writes."""
    return exported(study, asked, model, InstalledKinds())
