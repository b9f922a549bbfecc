"""What was set on both sides: flags, what the servers made of them, and the circumstances of the measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optuna_tuner.results.side_by_side import Setting, Side
from optuna_tuner.results.tables import Cell
from optuna_tuner.values import Json

_SECTIONS = ("model", "engine", "deployer", "benchmark", "goals")


def flags(side: Side) -> Mapping[str, Cell]:
    """Those that the study fixes and those of the trial, by name."""
    return {**side.study.spec.fixed_flags, **side.trial.params}


def settings(first: Mapping[str, Cell], second: Mapping[str, Cell]) -> Sequence[Setting]:
    """All names of both, in order."""
    names = sorted({**first, **second})
    return [Setting(name=name, first=first.get(name), second=second.get(name)) for name in names]


def resolved(first: Side, second: Side) -> Sequence[Setting]:
    """What the servers said of themselves. Only what both told: an older server tells less."""
    one, other = first.trial.effective_config, second.trial.effective_config
    return [Setting(name=name, first=one[name], second=other[name]) for name in sorted(one.keys() & other.keys())]


def circumstances(side: Side) -> Mapping[str, Cell]:
    """The study's sections, flat, without the flags; and the machine."""
    document = side.study.spec.model_dump(mode="json", include=set(_SECTIONS))
    document["engine"].pop("flags", None)
    slot = side.trial.machine
    machine: dict[str, Cell] = {
        "machine.host": side.trial.host,
        "machine.gpus": len(slot.gpus) if slot else None,
        "machine.cores": len(slot.cores) if slot else None,
    }
    return {**dict(_flat(document, "")), "level": side.trial.level, **machine}


def _flat(value: Json, name: str) -> Iterator[tuple[str, Cell]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        yield name, ", ".join(map(_word, value)) or None
    elif value not in {None, ""}:
        yield name, value


def _word(value: Json) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={part}" for key, part in value.items() if part is not None)
    return str(value)
