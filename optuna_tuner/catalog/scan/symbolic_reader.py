"""Follows Python source without running it: expressions, and the plain statements that build an argument parser.

What only running would tell is `Unknown`, and so is all that is made of it. Where the way itself depends on such a
value, reading stops. Nothing of the source is imported or handed to Python to run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from optuna_tuner.catalog.scan import symbolic_classes as classes
from optuna_tuner.catalog.scan import symbolic_names as names
from optuna_tuner.catalog.scan.python_modules import Import, Module, Modules
from optuna_tuner.catalog.scan.symbolic_attributes import attribute
from optuna_tuner.catalog.scan.symbolic_calls import Caller
from optuna_tuner.catalog.scan.symbolic_values import BUILTINS, combine, compare, constant, items, typing_form
from optuna_tuner.catalog.scan.symbols import Function, Scope, Unknown, UnreadableError

DEEPEST = 80  # calls and expressions within each other


class SymbolicReader:
    """Reads the expressions and functions of one wheel."""

    def __init__(self, modules: Modules) -> None:
        self.modules = modules
        self._globals: dict[tuple[str, str], object] = {}
        self._bindings: dict[str, dict[str, names.Bound]] = {}
        self._depth = 0
        self._calls = Caller(self)

    def global_value(self, module: Module, name: str) -> object:
        """What a name at the top level of a module is. Raises LookupError where the module does not bind it."""
        key = module.name, name
        if key not in self._globals:
            bound = self._bound_in(module)[name]
            self._globals[key] = Unknown(f"{name} of {module.path} is made of itself")
            self._globals[key] = self._bound(module, name, bound)
        return self._globals[key]

    def _bound_in(self, module: Module) -> dict[str, names.Bound]:
        if module.name not in self._bindings:
            self._bindings[module.name] = dict(names.bindings(module))
        return self._bindings[module.name]

    def _bound(self, module: Module, name: str, bound: names.Bound) -> object:
        if bound is None:
            return names.undecided(module, name)
        if isinstance(bound, Import):
            return self.imported(bound)
        if isinstance(bound, ast.ClassDef | ast.FunctionDef):
            return names.defined(module, bound)
        return self.value(bound, Scope(module))

    def imported(self, what: Import) -> object:
        """What an import statement brings."""
        found = names.place(self.modules, what)
        if not isinstance(found, tuple):
            return constant(found)
        module, name = found
        return self.module_attribute(module, name)

    def module_attribute(self, module: Module, name: str) -> object:
        """A name of a module as others see it, also one that its `__getattr__` makes."""
        try:
            return self.global_value(module, name)
        except LookupError:
            pass
        for star in module.stars:
            source = self.modules.find(star)
            if source is not None and name in self._bound_in(source):
                return self.global_value(source, name)
        if "__getattr__" in self._bound_in(module):
            return self._calls.quietly(self.global_value(module, "__getattr__"), [name])
        return Unknown(f"{module.path} has no {name}")

    def call(self, called: object, *args: object) -> object:
        """What a function gives for these arguments. Raises UnreadableError."""
        return self._calls.call(called, list(args), {})

    def value(self, node: ast.expr, scope: Scope) -> object:
        """What the expression is worth. Raises UnreadableError."""
        read = cast(
            "Callable[[ast.expr, Scope], object] | None", getattr(self, f"_{type(node).__name__.lower()}", None)
        )
        if read is None or self._depth > DEEPEST:
            raise UnreadableError(f"{ast.unparse(node)[:80]} cannot be followed", scope.module.place(node))
        self._depth += 1
        try:
            return read(node, scope)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise UnreadableError(f"{ast.unparse(node)[:80]}: {error!r}", scope.module.place(node)) from error
        finally:
            self._depth -= 1

    def truth(self, node: ast.expr, scope: Scope) -> bool:
        """Whether a condition holds. Raises UnreadableError where only running would tell."""
        found = self.value(node, scope)
        if isinstance(found, Unknown):
            why = found.reason
            raise UnreadableError(f"whether {ast.unparse(node)[:80]} cannot be told: {why}", scope.module.place(node))
        return bool(found)

    def _constant(self, node: ast.Constant, _scope: Scope) -> object:
        return node.value

    def _name(self, node: ast.Name, scope: Scope) -> object:
        inner: Scope | None = scope
        while inner is not None:
            if node.id in inner.names:
                return inner.names[node.id]
            if inner.owner is not None and inner.outer is None:
                made = classes.attribute_node(inner.owner, node.id)
                if made is not None:
                    return attribute(self, inner.owner, node.id)
            inner = inner.outer
        if node.id in self._bound_in(scope.module):
            return self.global_value(scope.module, node.id)
        if node.id in BUILTINS:
            return BUILTINS[node.id]
        return self.module_attribute(scope.module, node.id)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> object:
        return attribute(self, self.value(node.value, scope), node.attr)

    def _list(self, node: ast.List, scope: Scope) -> object:
        return list(self._elements(node.elts, scope))

    def _tuple(self, node: ast.Tuple, scope: Scope) -> object:
        return tuple(self._elements(node.elts, scope))

    def _set(self, node: ast.Set, scope: Scope) -> object:
        return set(self._elements(node.elts, scope))

    def _elements(self, nodes: Iterable[ast.expr], scope: Scope) -> Iterator[object]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from items(self, self.value(node.value, scope))
            else:
                yield self.value(node, scope)

    def _dict(self, node: ast.Dict, scope: Scope) -> object:
        found: dict[object, object] = {}
        for key, each in zip(node.keys, node.values, strict=True):
            value = self.value(each, scope)
            if key is None:
                found.update(cast("dict[object, object]", value))
            else:
                found[self.value(key, scope)] = value
        return found

    def _subscript(self, node: ast.Subscript, scope: Scope) -> object:
        held = self.value(node.value, scope)
        if isinstance(node.slice, ast.Slice):
            parts = (node.slice.lower, node.slice.upper, node.slice.step)
            cut = slice(*(cast("int | None", self.value(part, scope)) if part else None for part in parts))
            return held[cut] if isinstance(held, list | tuple | str) else Unknown("a part")
        key = self.value(node.slice, scope)
        unknown = next((each for each in (held, key) if isinstance(each, Unknown)), None)
        if unknown is not None:
            return unknown
        if isinstance(held, dict | list | tuple | str):
            return cast("dict[object, object]", held)[key]
        return typing_form(self, held, key)

    def _unaryop(self, node: ast.UnaryOp, scope: Scope) -> object:
        given = self.value(node.operand, scope)
        if isinstance(given, Unknown):
            return given
        if isinstance(node.op, ast.Not):
            return not given
        if isinstance(node.op, ast.USub) and isinstance(given, int | float):
            return -given
        return Unknown("an operator")

    def _binop(self, node: ast.BinOp, scope: Scope) -> object:
        return combine(node.op, self.value(node.left, scope), self.value(node.right, scope))

    def _boolop(self, node: ast.BoolOp, scope: Scope) -> object:
        found: object = None
        for each in node.values:
            found = self.value(each, scope)
            if isinstance(found, Unknown) or bool(found) is isinstance(node.op, ast.Or):
                return found
        return found

    def _compare(self, node: ast.Compare, scope: Scope) -> object:
        left = self.value(node.left, scope)
        for operator, each in zip(node.ops, node.comparators, strict=True):
            right = self.value(each, scope)
            found = compare(operator, left, right)
            if isinstance(found, Unknown) or not found:
                return found
            left = right
        return True

    def _ifexp(self, node: ast.IfExp, scope: Scope) -> object:
        test = self.value(node.test, scope)
        if isinstance(test, Unknown):
            return test
        return self.value(node.body if test else node.orelse, scope)

    def _lambda(self, node: ast.Lambda, scope: Scope) -> object:
        return Function(node, scope)

    def _namedexpr(self, node: ast.NamedExpr, scope: Scope) -> object:
        scope.names[node.target.id] = self.value(node.value, scope)
        return scope.names[node.target.id]

    def _joinedstr(self, node: ast.JoinedStr, scope: Scope) -> object:
        parts = [self.value(each, scope) for each in node.values]
        unknown = next((each for each in parts if isinstance(each, Unknown)), None)
        return unknown or "".join(str(each) for each in parts)

    def _formattedvalue(self, node: ast.FormattedValue, scope: Scope) -> object:
        found = self.value(node.value, scope)
        plain = isinstance(found, str | int | float | list | dict | None) and node.format_spec is None
        return str(found) if plain else Unknown("a text")

    def _listcomp(self, node: ast.ListComp, scope: Scope) -> object:
        try:
            return [self.value(node.elt, inner) for inner in self._rounds(node.generators, scope)]
        except _UnknownItemsError as error:
            return Unknown(str(error))

    def _generatorexp(self, node: ast.GeneratorExp, scope: Scope) -> object:
        found = self._listcomp(ast.ListComp(node.elt, node.generators), scope)
        return iter(found) if isinstance(found, list) else found

    def _setcomp(self, node: ast.SetComp, scope: Scope) -> object:
        found = self._listcomp(ast.ListComp(node.elt, node.generators), scope)
        return set(found) if isinstance(found, list) else found

    def _dictcomp(self, node: ast.DictComp, scope: Scope) -> object:
        pair = ast.Tuple([node.key, node.value], ast.Load())
        found = self._listcomp(ast.ListComp(pair, node.generators), scope)
        return dict(cast("list[tuple[object, object]]", found)) if isinstance(found, list) else found

    def _rounds(self, loops: list[ast.comprehension], scope: Scope) -> Iterator[Scope]:
        """A scope for each round of a comprehension."""
        if not loops:
            yield scope
            return
        given = self.value(loops[0].iter, scope)
        if isinstance(given, Unknown):
            raise _UnknownItemsError(given.reason)
        for item in items(self, given):
            inner = Scope(scope.module, {}, scope)
            self._calls.bind(loops[0].target, item, inner)
            tests = [self.value(test, inner) for test in loops[0].ifs]
            if any(isinstance(test, Unknown) for test in tests):
                raise _UnknownItemsError("a condition")
            if all(tests):
                yield from self._rounds(loops[1:], inner)

    def _call(self, node: ast.Call, scope: Scope) -> object:
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return self._calls.above(scope)
        called = self.value(node.func, scope)
        args = list(self._elements(node.args, scope))
        given: dict[str, object] = {}
        for each in node.keywords:
            value = self.value(each.value, scope)
            if each.arg is not None:
                given[each.arg] = value
            elif isinstance(value, dict):
                given.update(value)
            else:
                why = f": {value.reason}" if isinstance(value, Unknown) else ""
                raise UnreadableError(f"{ast.unparse(each.value)[:80]} cannot be told{why}", scope.module.place(node))
        return self._calls.call(called, args, given, scope.module.place(node))


class _UnknownItemsError(Exception):
    """What a comprehension goes through cannot be told."""
