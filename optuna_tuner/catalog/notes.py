"""What no wheel tells about flags: kept by hand in notes.yaml, each with the versions it holds for and its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from optuna_tuner.catalog.catalogue import Catalogue, Effect, Flag
from optuna_tuner.errors import CatalogError
from optuna_tuner.own_data import read_yaml

FILE = "notes.yaml"
Versions = Annotated[SpecifierSet, BeforeValidator(lambda given: SpecifierSet(given, prereleases=True))]


class Entry(BaseModel):
    """What all entries have: the engine, and where it is known from."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    engine: str = Field(min_length=1)
    source: str = Field(min_length=1)


class Note(Entry):
    """What holds for some flags of one engine, in some of its versions. What it does not say stays as it was read."""

    flags: tuple[str, ...] = Field(min_length=1)
    versions: Versions = SpecifierSet(prereleases=True)
    effect: Effect | None = None
    recompiles: bool = False
    default_from: str = ""

    def holds_for(self, version: str) -> bool:
        """Whether it holds for a version. For a name that is no version it does where it holds for all."""
        try:
            return self.versions.contains(Version(version))
        except InvalidVersion:
            return not self.versions


class Rename(Entry):
    """A flag that newer versions do not have, though it is written in other people's files.

    Attributes:
        old: its canonical name.
        since: the first version without it; empty where no version that is known had it.
        new_name: the flag that takes the same value; empty where none does.
        advice: what to do instead; empty where the new name says it all.

    """

    old: str = Field(min_length=1)
    since: str = ""
    new_name: str = ""
    advice: str = ""


class Variable(Entry):
    """An environment variable that no version reads from `since` on, and what to do instead."""

    name: str = Field(min_length=1)
    since: str = Field(min_length=1)
    advice: str = Field(min_length=1)


class Notes(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    notes: tuple[Note, ...]
    gone: tuple[Rename, ...]
    variables: tuple[Variable, ...] = ()


def annotated(catalogue: Catalogue) -> Catalogue:
    """The catalogue with all that is known by hand. Doing it twice is doing it once."""
    held = [note for note in notes().notes if note.engine == catalogue.engine and note.holds_for(catalogue.version)]
    flags = tuple(_annotated(flag, [note for note in held if flag.name in note.flags]) for flag in catalogue.flags)
    return replace(catalogue, flags=flags)


@cache
def renames(engine: str) -> Mapping[str, Rename]:
    """The flags of an engine that are gone, or never were, by their names."""
    return {rename.old: rename for rename in notes().gone if rename.engine == engine}


@cache
def idle_variables(engine: str) -> Mapping[str, Variable]:
    """The environment variables that newer versions of an engine do not read, by their names."""
    return {each.name: each for each in notes().variables if each.engine == engine}


@cache
def notes() -> Notes:
    """All that is known by hand. Raises CatalogError."""
    return read((files("optuna_tuner.catalog") / FILE).read_text(encoding="utf-8"))


def read(text: str) -> Notes:
    """The notes of a YAML text. Raises CatalogError, which says what is wrong with which entry."""
    try:
        return Notes.model_validate(read_yaml(text))
    except yaml.YAMLError as error:
        raise CatalogError(f"{FILE} is no YAML: {error}") from error
    except ValidationError as error:
        faults = (f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors())
        raise CatalogError(f"{FILE}: " + "; ".join(faults)) from error


def _annotated(flag: Flag, found: list[Note]) -> Flag:
    for note in found:
        flag = replace(
            flag,
            effect=note.effect or flag.effect,
            recompiles=note.recompiles or flag.recompiles,
            default_from=note.default_from if note.default_from and flag.default is None else flag.default_from,
        )
    return flag
