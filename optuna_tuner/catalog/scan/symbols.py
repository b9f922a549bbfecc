"""What a name in Python source can stand for when the source is read and not run."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

from optuna_tuner.catalog.scan.python_modules import Module


class UnreadableError(Exception):
    """Source that cannot be followed without running it. The text says which, and where once that is known."""

    def __init__(self, message: str, place: str = "") -> None:
        self.is_placed = bool(place)
        super().__init__(f"{place}: {message}" if place else message)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that only running the code would tell."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """Something of a library outside the wheel, by its dotted name: `argparse.BooleanOptionalAction`."""

    name: str


@dataclass(frozen=True, slots=True)
class Generic:
    """A type with parameters: `list[int]`, `Literal["a", "b"]`, `int | None`."""

    origin: object
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Package:
    """A module of the wheel."""

    module: Module


@dataclass(frozen=True, slots=True)
class Class:
    """A class of the wheel."""

    module: Module
    node: ast.ClassDef


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enumeration of the wheel."""

    owner: Class
    name: str
    value: object


@dataclass(slots=True, eq=False)
class Scope:
    """The names of a function or class, and those around it."""

    module: Module
    names: dict[str, object] = field(default_factory=dict)
    outer: Scope | None = None
    owner: Class | None = None
    bound: object = None


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of the wheel, what stood around it, and whose method it is."""

    node: ast.FunctionDef | ast.Lambda
    scope: Scope
    owner: Class | None = None
    bound: object = None


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """An object of a class of the wheel, with what it was made of."""

    owner: Class
    given: Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A method of a plain value, or of something that `Interpreter.call` knows."""

    owner: object
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Above:
    """What `super()` gives: a class seen without its own methods."""

    owner: Class
    bound: object


@dataclass(frozen=True, slots=True, eq=False)
class PydanticField:
    """What pydantic's `Field(...)` gives. `default_factory` is None where there is none."""

    default: object
    default_factory: object = None


@dataclass(frozen=True, slots=True, eq=False)
class DataclassField:
    """A field of a dataclass, as `dataclasses.fields` gives it."""

    name: str
    type: object
    default: object
    default_factory: object


@dataclass(frozen=True, slots=True)
class Argument:
    """One call of `add_argument`."""

    names: tuple[str, ...]
    options: Mapping[str, object]
    place: str


@dataclass(slots=True, eq=False)
class Parser:
    """An argument parser, or a group of one, that keeps what it is told."""

    arguments: list[Argument] = field(default_factory=list)


MISSING = Library("dataclasses.MISSING")
SUPPRESS = Library("argparse.SUPPRESS")
