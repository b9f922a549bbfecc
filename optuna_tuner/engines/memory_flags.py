"""What a launch says of memory, in the memory model's words: flags to a layout and settings. Pure.

Who refuses a launch must be sure. So there is an answer only where each flag is named in memory_flags.yaml and suits
what it sets, and where no variable of the engine's own is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.engines.argv import Flags, FlagValue
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.own_data import read_yaml

_OWN_VARIABLE = re.compile(r"VLLM_|SGLANG_|SGL_")


class MemoryFlags(BaseModel):
    """Those of one engine; memory_flags.yaml tells what they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Mapping[str, str]
    settings: Mapping[str, str]
    harmless: frozenset[str]

    def read(self, flags: Flags, variables: Iterable[str], known: Settings) -> tuple[Layout, Settings] | None:
        """What these flags and variables say beside what is known; None where that is not certain."""
        strange = {name.partition(".")[0] for name in flags} - self.layout.keys() - self.settings.keys() - self.harmless
        layout = {field: flags[flag] for flag, field in self.layout.items() if flag in flags}
        settings = {field: flags[flag] for flag, field in self.settings.items() if flag in flags}
        suit = all(map(_is_count, layout.values())) and all(_suits(*each) for each in settings.items())
        if strange or not suit or any(map(_OWN_VARIABLE.match, variables)):
            return None
        return Layout(**layout), replace(known, **settings)  # type: ignore[arg-type]  # they were seen to suit

    def default_fraction(self, catalogue: Catalogue | None) -> float | None:
        """The share of memory that this version takes where none is given; None where that is not known."""
        (name,) = (name for name, field in self.settings.items() if field == "memory_fraction")
        flag = catalogue.find(name) if catalogue else None
        return flag.default if flag and isinstance(flag.default, float) else None


@cache
def memory_flags(engine: str) -> MemoryFlags:
    """Those of this engine, read once. Raises KeyError for one that has none."""
    book = read_yaml((files("optuna_tuner.engines") / "memory_flags.yaml").read_text(encoding="utf-8"))
    return MemoryFlags.model_validate(book[engine] if isinstance(book, dict) else book)


def said_of_memory(
    engine: str, catalogue: Catalogue | None, flags: Flags, variables: Iterable[str]
) -> tuple[Layout, Settings] | None:
    """What the flags and variables of one launch say; the catalogue is of the engine's version, where that is known."""
    book = memory_flags(engine)
    return book.read(flags, variables, Settings(engine=engine, memory_fraction=book.default_fraction(catalogue)))


def _is_count(value: FlagValue) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _suits(field: str, value: FlagValue) -> bool:
    match field:
        case "memory_fraction":
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
        case "max_model_len":
            return _is_count(value)
    return isinstance(value, str)
