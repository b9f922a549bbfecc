"""What an expression in Python source is worth, as far as it can be told without running anything."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from optuna_tuner.catalog.scan.python_modules import Binding, Import, Module, Modules, assigned, imported

COLLECTIONS: Mapping[str, Callable[[Iterable[object]], object]] = {
    "list": list,
    "tuple": list,
    "sorted": lambda given: sorted(given, key=str),
    "set": lambda given: sorted(given, key=str),  # in an order that is the same every time
    "frozenset": lambda given: sorted(given, key=str),
}
METHODS: Mapping[str, Callable[..., object]] = {
    "keys": lambda given: list(given.keys()),
    "copy": lambda given: given,
    "lower": lambda given: given.lower(),
    "upper": lambda given: given.upper(),
}
OPERATORS: Mapping[type[ast.operator], Callable[..., object]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Pow: lambda left, right: left**right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Div: lambda left, right: left / right,
    ast.LShift: lambda left, right: left << right,
}
DEEPEST = 50  # a name that stands for itself would never end
FIELD_MAKERS = frozenset({"field", "Field"})  # of dataclasses, msgspec and pydantic


class UnreadableError(Exception):
    """The value cannot be told without running the code. The text says which and where."""


class _NoValueError(ValueError):
    """Why one expression has no value that can be told."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A value that is known already."""

    value: object


@dataclass(frozen=True, slots=True)
class Scope:
    """Where an expression stands: its module, and the names of the function or class around it."""

    module: Module
    local: Mapping[str, Binding | Ready] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An expression that was not read yet."""

    node: ast.expr
    scope: Scope


@dataclass(frozen=True, slots=True)
class Thing:
    """A class or function, by the place that defines it; it has no value of its own."""

    scope: Scope
    node: ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enumeration."""

    name: str
    value: object


class Reader:
    """Reads expressions of the modules of one wheel. What it gives are plain values: lists for tuples and sets."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules
        self._depth = 0

    def value(self, node: ast.expr, scope: Scope) -> object:
        """What the expression is worth. Raises UnreadableError."""
        read = getattr(self, f"_{type(node).__name__.lower()}", None)
        if read is None or self._depth > DEEPEST:
            raise UnreadableError(f"{scope.module.place(node)}: {ast.unparse(node)[:80]} is no plain value")
        self._depth += 1
        try:
            return cast("object", read(node, scope))
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise UnreadableError(f"{scope.module.place(node)}: {ast.unparse(node)[:80]}: {error}") from error
        finally:
            self._depth -= 1

    def _named(self, name: str, scope: Scope) -> object:
        """What a name stands for: a value, or a Thing. Raises ValueError."""
        if name in scope.local:
            return self._bound(scope.local[name], scope)
        if name in scope.module.bindings:
            return self._bound(scope.module.bindings[name], Scope(scope.module))
        for star in scope.module.stars:
            source = self._modules.find(star)
            if source is not None and name in source.bindings:
                return self._bound(source.bindings[name], Scope(source))
        raise _NoValueError(f"what {name} is cannot be told")

    def _bound(self, binding: Binding | Ready, scope: Scope) -> object:
        if isinstance(binding, Ready):
            return binding.value
        if isinstance(binding, Import):
            return self._imported(binding)
        if isinstance(binding, ast.ClassDef | ast.FunctionDef):
            return Thing(scope, binding)
        return self.value(binding, scope)

    def _imported(self, what: Import) -> object:
        module = self._modules.find(what.module)
        if module is None or not what.name:
            raise _NoValueError(f"{what.module} is not in the wheel")
        return self._named(what.name, Scope(module))

    def _constant(self, node: ast.Constant, _scope: Scope) -> object:
        if isinstance(node.value, str | int | float | None):
            return node.value
        raise _NoValueError("no plain constant")

    def _name(self, node: ast.Name, scope: Scope) -> object:
        return self._named(node.id, scope)

    def _list(self, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> object:
        found: list[object] = []
        for each in node.elts:
            if isinstance(each, ast.Starred):
                found.extend(cast("list[object]", self.value(each.value, scope)))
            else:
                found.append(self.value(each, scope))
        return found

    _tuple = _list

    def _set(self, node: ast.Set, scope: Scope) -> object:
        return sorted(cast("list[object]", self._list(node, scope)), key=str)

    def _dict(self, node: ast.Dict, scope: Scope) -> object:
        if None in node.keys:
            raise _NoValueError("a dictionary in another")
        pairs = zip(node.keys, node.values, strict=True)
        return {self.value(key, scope): self._entry(each, scope) for key, each in pairs if key}

    def _entry(self, node: ast.expr, scope: Scope) -> object:
        """A dictionary is mostly asked for its keys: what stands elsewhere is only read when it is taken out."""
        return Elsewhere(node, scope) if isinstance(node, ast.Name | ast.Attribute) else self.value(node, scope)

    def _unaryop(self, node: ast.UnaryOp, scope: Scope) -> object:
        given = self.value(node.operand, scope)
        if isinstance(node.op, ast.USub) and isinstance(given, int | float):
            return -given
        if isinstance(node.op, ast.Not):
            return not given
        raise _NoValueError("an operator that is not read")

    def _binop(self, node: ast.BinOp, scope: Scope) -> object:
        if type(node.op) not in OPERATORS:
            raise _NoValueError("an operator that is not read")
        return OPERATORS[type(node.op)](self.value(node.left, scope), self.value(node.right, scope))

    def _subscript(self, node: ast.Subscript, scope: Scope) -> object:
        held = cast("list[object]", self.value(node.value, scope))
        found = held[cast("int", self.value(node.slice, scope))]
        return self.value(found.node, found.scope) if isinstance(found, Elsewhere) else found

    def _joinedstr(self, node: ast.JoinedStr, scope: Scope) -> object:
        return "".join(str(self.value(each, scope)) for each in node.values)

    def _formattedvalue(self, node: ast.FormattedValue, scope: Scope) -> object:
        return self.value(node.value, scope)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> object:
        owner = self.value(node.value, scope)
        if isinstance(owner, Member) and node.attr in {"name", "value"}:
            return getattr(owner, node.attr)
        if not isinstance(owner, Thing) or not isinstance(owner.node, ast.ClassDef):
            raise _NoValueError("an attribute of something that is no class")
        return self._of_class(owner, node.attr)

    def _of_class(self, owner: Thing, name: str) -> object:
        bindings = class_bindings(owner.node)
        if name not in bindings:
            raise _NoValueError(f"{owner.node.name} has no {name} of its own")
        found = self.value(bindings[name], Scope(owner.scope.module, bindings))
        return Member(name, found) if _is_enumeration(owner.node) else found

    def _listcomp(self, node: ast.ListComp, scope: Scope) -> object:
        if len(node.generators) != 1 or node.generators[0].ifs:
            raise _NoValueError("a comprehension with more than one part")
        loop = node.generators[0]
        if not isinstance(loop.target, ast.Name):
            raise _NoValueError("a comprehension over several names")
        inner = ({**scope.local, loop.target.id: Ready(item)} for item in self._items(loop.iter, scope))
        return [self.value(node.elt, Scope(scope.module, local)) for local in inner]

    def _items(self, node: ast.expr, scope: Scope) -> list[object]:
        """What one gets by going through a list, a dictionary or an enumeration."""
        given = self.value(node, scope)
        if isinstance(given, Thing) and isinstance(given.node, ast.ClassDef) and _is_enumeration(given.node):
            return [self._of_class(given, name) for name in class_bindings(given.node)]
        if isinstance(given, list | dict):
            return list(given)
        raise _NoValueError("nothing to go through")

    def _call(self, node: ast.Call, scope: Scope) -> object:
        if isinstance(node.func, ast.Name) and node.func.id in COLLECTIONS:
            return COLLECTIONS[node.func.id](self._items(node.args[0], scope) if node.args else [])
        if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS and not node.args:
            return METHODS[node.func.attr](self.value(node.func.value, scope))
        if last_name(node.func) in FIELD_MAKERS:
            return self._field(node, scope)
        called = self.value(node.func, scope)
        if isinstance(called, Thing) and isinstance(called.node, ast.FunctionDef) and not node.args:
            return self._returned(called.node, called.scope)
        raise _NoValueError("a call that is not read")

    def _field(self, node: ast.Call, scope: Scope) -> object:
        given = {each.arg: each.value for each in node.keywords}
        if "default" in given:
            return self.value(given["default"], scope)
        factory = given["default_factory"]
        if isinstance(factory, ast.Lambda):
            return self.value(factory.body, scope)
        return self.value(ast.copy_location(ast.Call(factory, [], []), node), scope)

    def _returned(self, function: ast.FunctionDef, scope: Scope) -> object:
        """What a function without arguments ends with. Returns in branches are short cuts to the same."""
        inner = function_scope(function, scope.module)
        last = function.body[-1]
        if not isinstance(last, ast.Return) or last.value is None:
            raise _NoValueError(f"{function.name} does not end with a value")
        return self.value(last.value, inner)


def function_scope(function: ast.FunctionDef, module: Module) -> Scope:
    """The scope at the end of a function: what its own statements bind, those in branches left out."""
    package = module.name.rpartition(".")[0]
    local: dict[str, Binding | Ready] = {}
    for node in function.body:
        local |= dict(imported(node, package)) | dict(assigned(node))
    return Scope(module, local)


def class_bindings(node: ast.ClassDef | ast.FunctionDef) -> dict[str, ast.expr]:
    """What a class's own statements bind, in their order."""
    return {name: value for each in node.body for name, value in assigned(each) if not name.startswith("__")}


def _is_enumeration(node: ast.ClassDef | ast.FunctionDef) -> bool:
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    return any("Enum" in ast.unparse(base) for base in bases)


def last_name(node: ast.expr) -> str:
    """A name without the module or object before it."""
    return ast.unparse(node).rpartition(".")[2]
