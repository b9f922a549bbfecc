"""Catalogues as JSON, one flag a line, so that two versions can be compared line by line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache

from pydantic import TypeAdapter

from optuna_tuner.catalog.catalogue import Catalogue, Flag


def to_text(catalogue: Catalogue) -> str:
    """The catalogue as JSON; what is as usual is left out of a flag's line."""
    head = {"engine": catalogue.engine, "version": catalogue.version, "source": dict(catalogue.source)}
    lines = ",\n".join(json.dumps(_brief(flag), ensure_ascii=False) for flag in catalogue.flags)
    return json.dumps(head, indent=1).removesuffix("\n}") + f',\n "flags": [\n{lines}\n ]\n}}\n'


def from_text(text: str) -> Catalogue:
    """The catalogue that `to_text` wrote. Raises ValueError when the text is none."""
    return _catalogues().validate_json(text)


@cache
def _catalogues() -> TypeAdapter[Catalogue]:
    return TypeAdapter(Catalogue)


def _brief(flag: Flag) -> Mapping[str, object]:
    """Only what differs from the defaults. A default of its own is written even where it is null."""
    found = {each.name: getattr(flag, each.name) for each in fields(flag)}
    usual = {each.name: each.default for each in fields(flag) if each.default is not MISSING}
    return {name: value for name, value in found.items() if name not in usual or value != usual[name]}
