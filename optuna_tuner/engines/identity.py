"""What a server will effectively run with, by what is certain of its flags before it is launched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite

from optuna_tuner.catalog.catalogue import Catalogue, Flag, FlagType
from optuna_tuner.engines.argv import Flags, FlagValue, Spelling
from optuna_tuner.values import Scalar

NUMBERS = {FlagType.INT: int, FlagType.FLOAT: float}


def identity(
    spelling: Spelling, defaults: Catalogue | None, flags: Flags, env: Mapping[str, str]
) -> Mapping[str, Scalar]:
    """The flags that make a difference, by canonical name, and the variables, with a `$` before their names.

    `flags` are merged, and rewritten as the engine is known to do. `defaults` is the catalogue of exactly the version
    that will run; a flag with its plain default is left out. None where the version is not known: then nothing is.
    """
    said = {name: _read(name, value, spelling) for name, value in flags.items() if spelling.argv({name: value})}
    left = {name: value for name, value in said.items() if not _is_default(name, value, defaults, spelling)}
    return dict(sorted({**left, **{f"${name}": value for name, value in env.items()}}.items()))


def _is_default(name: str, value: Scalar, defaults: Catalogue | None, spelling: Spelling) -> bool:
    """Whether it is the flag's plain default: the same on every machine and for every model. True is no 1."""
    flag = defaults.find(name) if defaults is not None else None
    if flag is None or flag.default is None or flag.default_from or not flag.default_is_known:
        return False
    default = _read(name, flag.default, spelling)
    return isinstance(value, bool) == isinstance(default, bool) and value == default


def _read(name: str, value: FlagValue | object, spelling: Spelling) -> Scalar:
    """As the engine's parser takes it: 1 and 1.0 are one for a flag that takes a float, and so are 64 and "64"."""
    if isinstance(value, bool):
        return spelling.words[name][value] if name in spelling.words else value
    if not isinstance(value, str | int | float):
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return _number(spelling.catalogue.find(name), value)


def _number(flag: Flag | None, value: str | float) -> Scalar:
    read = NUMBERS.get(flag.type) if flag is not None else None
    if read is None or (read is int and isinstance(value, float)):
        return value
    try:
        number = read(value)
    except ValueError:  # 8k, and what the engine will refuse
        return value
    return number if isfinite(number) else value
