"""Attributes, of plain values and of what stands for something in the source."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Protocol, cast

from optuna_tuner.catalog.scan import symbolic_classes as classes
from optuna_tuner.catalog.scan.python_modules import Module
from optuna_tuner.catalog.scan.symbolic_values import PLAIN, constant
from optuna_tuner.catalog.scan.symbols import (
    Above,
    Class,
    DataclassField,
    Function,
    Generic,
    Instance,
    Library,
    Member,
    Method,
    Package,
    Parser,
    PydanticField,
    Scope,
    Unknown,
)

OF_TYPES = frozenset({"__name__", "__module__", "__qualname__"})


class ReaderOfModules(Protocol):
    """Reads expressions, and the names of modules."""

    def value(self, node: ast.expr, scope: Scope) -> object:
        """What the expression is worth."""
        ...

    def module_attribute(self, module: Module, name: str) -> object:
        """A name of a module as others see it."""
        ...


def attribute(reader: ReaderOfModules, owner: object, name: str) -> object:
    """`owner.name`."""
    for kind, read in ATTRIBUTES:
        if isinstance(owner, kind):
            return read(reader, owner, name)
    return Unknown(f"an attribute {name}")


def _of_unknown(_reader: ReaderOfModules, owner: object, _name: str) -> object:
    return owner


def _of_library(_reader: ReaderOfModules, owner: object, name: str) -> object:
    path = cast("Library", owner).name
    return path.rpartition(".")[0] if name == "__module__" else constant(Library(f"{path}.{name}"))


def _of_package(reader: ReaderOfModules, owner: object, name: str) -> object:
    return reader.module_attribute(cast("Package", owner).module, name)


def _of_class(reader: ReaderOfModules, owner: object, name: str) -> object:
    return _in_class(reader, cast("Class", owner), name, owner)


def _of_instance(reader: ReaderOfModules, owner: object, name: str) -> object:
    found = cast("Instance", owner)
    return found.given[name] if name in found.given else _in_class(reader, found.owner, name, owner)


def _of_above(reader: ReaderOfModules, owner: object, name: str) -> object:
    found = cast("Above", owner)
    return _in_lineage(reader, classes.own_classes(reader, found.owner)[1:], name, found.bound)


def _of_record(_reader: ReaderOfModules, owner: object, name: str) -> object:
    found: object = getattr(owner, name)
    return found


def _of_generic(reader: ReaderOfModules, owner: object, name: str) -> object:
    return attribute(reader, cast("Generic", owner).origin, name)


def _of_type(_reader: ReaderOfModules, owner: object, name: str) -> object:
    return getattr(owner, name) if name in OF_TYPES else Method(owner, name)


def _of_plain(_reader: ReaderOfModules, owner: object, name: str) -> object:
    return Method(owner, name)


def _of_function(_reader: ReaderOfModules, owner: object, name: str) -> object:
    node = cast("Function", owner).node
    if name == "__doc__" and isinstance(node, ast.FunctionDef):
        return ast.get_docstring(node)
    if name == "__name__" and isinstance(node, ast.FunctionDef):
        return node.name
    return Unknown(f"an attribute {name} of a function")


def _in_class(reader: ReaderOfModules, owner: Class, name: str, bound: object) -> object:
    if name in {"__name__", "__qualname__"}:
        return owner.node.name
    if name == "__doc__":
        return ast.get_docstring(owner.node)
    if name == "__module__":
        return owner.module.name
    if classes.is_enumeration(reader, owner):
        found = {each.name: each for each in classes.members(reader, owner)}
        if name == "__members__":
            return found
        if name in found:
            return found[name]
    return _in_lineage(reader, classes.own_classes(reader, owner), name, bound)


def _in_lineage(reader: ReaderOfModules, line: Iterable[Class], name: str, bound: object) -> object:
    for each in line:
        node = classes.attribute_node(each, name)
        if isinstance(node, ast.FunctionDef):
            return Function(node, Scope(each.module), each, bound)
        if isinstance(node, ast.ClassDef):
            return Class(each.module, node)
        if node is not None:
            return default_of(reader.value(node, classes.class_scope(each)))
    return Unknown(f"no attribute {name}")


def default_of(value: object) -> object:
    """What a class has at the name of a field."""
    if isinstance(value, DataclassField | PydanticField):
        return value.default
    return value


Attribute = Callable[[ReaderOfModules, object, str], object]
ATTRIBUTES: tuple[tuple[type | tuple[type, ...], Attribute], ...] = (
    (Unknown, _of_unknown),
    (Library, _of_library),
    (Package, _of_package),
    (Class, _of_class),
    (Instance, _of_instance),
    (Above, _of_above),
    ((Member, DataclassField, PydanticField), _of_record),
    (Function, _of_function),
    (Generic, _of_generic),
    (type, _of_type),
    ((*PLAIN, Parser), _of_plain),
)
