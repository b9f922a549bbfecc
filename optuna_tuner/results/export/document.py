"""Everything that the other formats say, as data."""

from __future__ import annotations

import json
import math

from optuna_tuner.results.beyond_speed import beyond_speed
from optuna_tuner.results.export.heading import gain, is_best, version
from optuna_tuner.results.export.taken import Taken
from optuna_tuner.results.tables import confirmation_document
from optuna_tuner.values import Json


def document(taken: Taken) -> str:
    """Key names are stable. Secrets are named with the variable that holds them; what is not finite is null."""
    return json.dumps(_finite(_content(taken)), indent=2, ensure_ascii=False) + "\n"


def _content(taken: Taken) -> dict[str, Json]:
    study, trial, launch, spec = taken.study, taken.trial, taken.launch, taken.study.spec
    return {
        "notice": spec.notice,
        "study": study.name,
        "trial": trial.number,
        "best": is_best(taken),
        "measured": trial.ended.isoformat(timespec="seconds") if trial.ended else None,
        "engine": {"kind": spec.engine.kind, "version": version(taken) or None},
        "model": {"name": launch.model.name, "path": launch.model.path, "tokenizer": launch.model.tokenizer},
        "machine": {"host": trial.host, "gpus": len(taken.slot.gpus), "cores": len(taken.slot.cores)},
        "deployer": spec.deployer.kind,
        "argv": list[Json](taken.argv),
        "flags": dict(taken.flags),
        "env": dict(launch.env),
        "secrets": dict(launch.secrets),
        "gpus": launch.gpus,
        "image": launch.image,
        "url": taken.url,
        "level": trial.level,
        "metrics": dict(trial.metrics),
        "constraints": {name: {"kept": excess <= 0, "excess": excess} for name, excess in trial.constraints.items()},
        "gain": gain(taken),
        "confirmation": confirmation_document(study) if is_best(taken) else None,
        "beyond_speed": beyond_speed(study, trial),
        "rewritten": {name: {"asked": asked, "became": became} for name, (asked, became) in trial.rewritten.items()},
        "remarks": list[Json](trial.remarks),
    }


def _finite(value: Json) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value
