"""Values as JSON text and back, exactly. Numbers that are not finite are refused: no reader of JSON agrees on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from optuna_tuner.errors import StoreError
from optuna_tuner.store.records import Choice, Drops, Outcome, Verdict
from optuna_tuner.values import (
    Answer,
    Cause,
    Drift,
    Handle,
    Json,
    Load,
    LoadKind,
    Measurement,
    Params,
    Phase,
    Reference,
    Request,
    Slot,
)


def encode(value: object) -> str:
    """JSON in pure ASCII, so that no database trips over NUL or a lone surrogate. Raises StoreError for NaN."""
    try:
        return json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise StoreError(f"{type(value).__name__} cannot be stored: a number in it is not finite") from error


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def decode_data(text: str) -> Mapping[str, Json]:
    """What an event carries."""
    data: dict[str, Json] = json.loads(text)
    return data


def decode_choice(data: Mapping[str, Json]) -> Choice:
    """Inverse of `encode`, in the data of an event; older events have none."""
    raw: dict[str, Any] = {name: data[name] for name in ("passed_over", "objections", "repaired") if name in data}
    moves = {name: (before, after) for name, (before, after) in raw.get("repaired", {}).items()}
    return Choice(passed_over=raw.get("passed_over", 0), objections=tuple(raw.get("objections", ())), repaired=moves)


def decode_params(text: str) -> Params:
    """Inverse of `encode`."""
    return Params(**json.loads(text))


def decode_drops(text: str) -> Drops:
    """Inverse of `encode`."""
    raw = json.loads(text)
    return Drops(**{**raw, "winner": Params(**raw["winner"]), "groups": tuple(map(tuple, raw["groups"]))})


def decode_slot(text: str) -> Slot:
    """Inverse of `encode`."""
    raw = json.loads(text)
    return Slot(**{**raw, "gpus": tuple(raw["gpus"]), "cores": tuple(raw["cores"])})


def decode_request(text: str) -> Request:
    """Inverse of `encode`."""
    return Request(**json.loads(text))


def decode_handle(text: str) -> Handle:
    """Inverse of `encode`."""
    return Handle(**json.loads(text))


def decode_outcome(text: str) -> Outcome:
    """Inverse of `encode`. A field that an older version did not write has its default."""
    raw = json.loads(text)
    return Outcome(**{name: _OUTCOME[name](value) if name in _OUTCOME else value for name, value in raw.items()})


def decode_measurement(text: str) -> Measurement:
    """Inverse of `encode`. Raises ValueError, KeyError or TypeError for what is none."""
    (found,) = _measurements([json.loads(text)])
    return found


def _measurements(raw: list[dict[str, dict[str, str]]]) -> tuple[Measurement, ...]:
    return tuple(Measurement(**{**item, "load": _load(item["load"])}) for item in raw)  # type: ignore[arg-type]


def _load(raw: dict[str, str]) -> Load:
    return Load(**{**raw, "kind": LoadKind(raw["kind"])})  # type: ignore[arg-type]


def _drift(raw: dict[str, list[float]] | None) -> Drift | None:
    return None if raw is None else Drift(**{**raw, "by_prompt": tuple(raw["by_prompt"])})  # type: ignore[arg-type]


def _reference(raw: dict[str, list[dict[str, list[str]]]] | None) -> Reference | None:
    if raw is None:
        return None
    answers = (
        Answer(**{**each, "tokens": tuple(each["tokens"]), "logprobs": tuple(each["logprobs"])})  # type: ignore[arg-type]
        for each in raw["answers"]
    )
    return Reference(prompts=tuple(raw["prompts"]), answers=tuple(answers))  # type: ignore[arg-type]


_OUTCOME: Mapping[str, Callable[..., Any]] = {
    "verdict": Verdict,
    "values": tuple,
    "cause": lambda raw: None if raw is None else Cause(raw),
    "measurements": _measurements,
    "remarks": tuple,
    "phases_s": lambda raw: {Phase(name): seconds for name, seconds in raw.items()},
    "drift": _drift,
    "reference": _reference,
    "intermediate": lambda raw: {int(step): value for step, value in raw.items()},
}
