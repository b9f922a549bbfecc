"""Classes of a wheel, read: their bases, fields, members and attributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from itertools import pairwise
from typing import Protocol

from optuna_tuner.catalog.scan.symbols import (
    MISSING,
    Class,
    DataclassField,
    Function,
    Generic,
    Library,
    Member,
    PydanticField,
    Scope,
    UnreadableError,
)

NOT_FIELDS = frozenset({"typing.ClassVar", "dataclasses.InitVar"})
AUTO = Library("enum.auto()")
MAKERS = frozenset({"dataclasses.dataclass", "pydantic.dataclasses.dataclass"})


class Evaluator(Protocol):
    """Reads expressions."""

    def value(self, node: ast.expr, scope: Scope) -> object:
        """What the expression is worth."""
        ...


def lineage(reader: Evaluator, owner: Class) -> tuple[object, ...]:
    """The class, then what it inherits from, nearest first; classes of libraries as they are named."""
    found: list[object] = [owner]
    for base in owner.node.bases:
        value = reader.value(base, Scope(owner.module))
        value = value.origin if isinstance(value, Generic) else value
        inherited = lineage(reader, value) if isinstance(value, Class) else (value,)
        found = [each for each in found if each not in inherited] + list(inherited)
    return tuple(found)


def own_classes(reader: Evaluator, owner: Class) -> tuple[Class, ...]:
    """The class and those of the wheel that it inherits from, nearest first."""
    return tuple(each for each in lineage(reader, owner) if isinstance(each, Class))


def inherits(reader: Evaluator, owner: Class, *names: str) -> bool:
    """Whether it has one of these classes of libraries above it."""
    return any(isinstance(each, Library) and each.name in names for each in lineage(reader, owner))


def is_enumeration(reader: Evaluator, owner: Class) -> bool:
    """Whether its attributes are members."""
    return inherits(reader, owner, "enum.Enum", "enum.IntEnum", "enum.StrEnum", "enum.Flag", "enum.IntFlag")


def is_dataclass(reader: Evaluator, owner: Class) -> bool:
    """Whether it, or a class above it, is decorated as a dataclass."""
    return any(_is_decorated(reader, each) for each in own_classes(reader, owner))


def _is_decorated(reader: Evaluator, owner: Class) -> bool:
    for decorator in owner.node.decorator_list:
        made = reader.value(decorator.func if isinstance(decorator, ast.Call) else decorator, Scope(owner.module))
        if isinstance(made, Library) and made.name in MAKERS:
            return True
        if isinstance(made, Function) and _makes_dataclasses(made.node):
            return True
    return False


def _makes_dataclasses(node: ast.AST) -> bool:
    """A decorator of the wheel's own that ends in a dataclass, or promises type checkers that it does."""
    names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return bool(names & {"dataclass", "dataclass_transform"})


def fields(reader: Evaluator, owner: Class) -> list[DataclassField]:
    """As `dataclasses.fields`: those of the classes above come first."""
    found: dict[str, DataclassField] = {}
    for each in reversed(own_classes(reader, owner)):
        if _is_decorated(reader, each):
            scope = class_scope(each)
            for name, node in _annotated(each.node):
                made = _field(reader, name, node, scope)
                if made is not None:
                    found[name] = made
    return list(found.values())


def class_scope(owner: Class) -> Scope:
    """Where the expressions of a class body stand."""
    return Scope(owner.module, owner=owner)


def attribute_node(owner: Class, name: str) -> ast.expr | ast.FunctionDef | ast.ClassDef | None:
    """What the class's own body binds to the name last."""
    found: ast.expr | ast.FunctionDef | ast.ClassDef | None = None
    for node in owner.node.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            found = node
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            found = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            found = node.value or found
    return found


def members(reader: Evaluator, owner: Class) -> list[Member]:
    """The members of an enumeration, in their order."""
    found: list[Member] = []
    for node in owner.node.body:
        name = next(_targets(node), "_") if isinstance(node, ast.Assign) else "_"
        if isinstance(node, ast.Assign) and not name.startswith("_"):
            value = reader.value(node.value, class_scope(owner))
            if value == AUTO:
                value = name.lower() if inherits(reader, owner, "enum.StrEnum") else len(found) + 1
            found.append(Member(owner, name, value))
    return found


def docs(reader: Evaluator, owner: Class) -> Mapping[str, str]:
    """The texts that stand below the attributes of a class and of those above it."""
    found: dict[str, str] = {}
    for each in reversed(own_classes(reader, owner)):
        for node, text in pairwise(each.node.body):
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                for name in _targets(node):
                    found[name] = cleandoc(str(text.value.value))
    return found


def _targets(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    yield from (each.id for each in targets if isinstance(each, ast.Name))


def _annotated(node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            yield each.target.id, each


def _field(reader: Evaluator, name: str, node: ast.AnnAssign, scope: Scope) -> DataclassField | None:
    kind = reader.value(node.annotation, scope)
    origin = kind.origin if isinstance(kind, Generic) else kind
    if isinstance(origin, Library) and origin.name in NOT_FIELDS:
        return None
    default = reader.value(node.value, scope) if node.value else MISSING
    if isinstance(default, DataclassField):
        return DataclassField(name, kind, default.default, default.default_factory)
    return DataclassField(name, kind, default, MISSING)


def made_field(args: list[object], given: Mapping[str, object]) -> DataclassField:
    """What `dataclasses.field(...)` gives."""
    if args:
        raise UnreadableError("field() takes no unnamed arguments")
    return DataclassField("", None, given.get("default", MISSING), given.get("default_factory", MISSING))


def pydantic_field(args: list[object], given: Mapping[str, object]) -> PydanticField:
    """What pydantic's `Field(...)` gives."""
    default = args[0] if args else given.get("default", MISSING)
    return PydanticField(default, given.get("default_factory"))
