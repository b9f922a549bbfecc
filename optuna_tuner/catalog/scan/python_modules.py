"""The Python modules of a wheel: what each name at their top level stands for. Nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from optuna_tuner.catalog.wheels.wheel import Wheel
from optuna_tuner.errors import CatalogError


@dataclass(frozen=True, slots=True)
class Import:
    """A name that another module defines. `name` is empty where the name is that module itself."""

    module: str
    name: str


CHANGES = frozenset({"append", "extend", "insert", "remove", "pop", "add", "discard", "update", "clear"})
Binding = ast.expr | ast.ClassDef | ast.FunctionDef | Import


@dataclass(frozen=True, kw_only=True, eq=False)
class Module:
    """One module. `stars` are the modules that it takes all names of."""

    name: str
    path: str
    tree: ast.Module
    bindings: Mapping[str, Binding]
    stars: tuple[str, ...]

    def class_(self, name: str) -> ast.ClassDef | None:
        """The class statement of that name, also where the name is bound anew further down."""
        return next((node for node in self.tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)

    def place(self, node: ast.AST) -> str:
        """File and line, for messages."""
        return f"{self.path}:{getattr(node, 'lineno', 0)}"


class Modules:
    """The modules of one wheel, each parsed once, when it is first asked for."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._paths = frozenset(wheel.names())
        self._parsed: dict[str, Module | None] = {}

    def find(self, name: str) -> Module | None:
        """The module of that dotted name; None where the wheel has none. Raises CatalogError where it is no Python."""
        if name not in self._parsed:
            self._parsed[name] = self._parse(name)
        return self._parsed[name]

    def need(self, name: str) -> Module:
        """The module of that dotted name. Raises CatalogError where the wheel has none."""
        found = self.find(name)
        if found is None:
            raise CatalogError(f"{self._wheel.source['wheel']} has no module {name}")
        return found

    def _parse(self, name: str) -> Module | None:
        base = name.replace(".", "/")
        path = next((each for each in (f"{base}.py", f"{base}/__init__.py") if each in self._paths), None)
        if path is None:
            return None
        try:
            tree = ast.parse(self._wheel.text(path))
        except (SyntaxError, ValueError) as error:
            raise CatalogError(f"{path} of {self._wheel.source['wheel']} is not Python: {error}") from error
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        bindings = _bindings(tree.body, package)
        for each in _names_of_branches(tree.body):
            bindings.pop(each, None)
        stars = tuple(source for node in tree.body for source in _stars(node, package))
        return Module(name=name, path=path, tree=tree, bindings=bindings, stars=stars)


def imported(node: ast.stmt, package: str) -> Iterator[tuple[str, Import]]:
    """The names that an import statement brings, and where from."""
    if isinstance(node, ast.ImportFrom):
        source = _source(node, package)
        yield from ((each.asname or each.name, Import(source, each.name)) for each in node.names if each.name != "*")
    elif isinstance(node, ast.Import):
        yield from ((each.asname, Import(each.name, "")) for each in node.names if each.asname)


def assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The single names that an assignment binds, and what to."""
    if isinstance(node, ast.Assign):
        yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
        yield node.target.id, node.value


def _bindings(body: list[ast.stmt], package: str) -> dict[str, Binding]:
    """What each name is bound to at the end, statements under a condition left out."""
    found: dict[str, Binding] = {}
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Try):
            found |= _bindings(node.body, package)
        found |= dict(assigned(node)) | dict(imported(node, package))
        _grow(found, node)
    return found


def _grow(found: dict[str, Binding], node: ast.stmt) -> None:
    """A list that is added to. A name that is changed in any other way stands for nothing that can be told."""
    changed = _changed(node)
    before = found.pop(changed[0], None) if changed else None
    if changed and changed[1] is not None and isinstance(before, ast.expr):
        found[changed[0]] = ast.copy_location(ast.BinOp(before, ast.Add(), changed[1]), node)


def _changed(node: ast.stmt) -> tuple[str, ast.expr | None] | None:
    """The name that a statement changes, and the list that it adds, where it does."""
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return node.target.id, node.value if isinstance(node.op, ast.Add) else None
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    if not isinstance(call.func.value, ast.Name) or call.func.attr not in CHANGES:
        return None
    added = {"append": ast.List(call.args), "extend": call.args[0]}.get(call.func.attr) if call.args else None
    return call.func.value.id, added


def _names_of_branches(body: list[ast.stmt]) -> Iterator[str]:
    """Names that are bound under a condition: which of their values holds cannot be told."""
    for branch in (node for node in body if isinstance(node, ast.If)):
        for node in ast.walk(branch):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                yield from (name for name, _ in assigned(node))


def _stars(node: ast.stmt, package: str) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names):
        yield _source(node, package)


def _source(node: ast.ImportFrom, package: str) -> str:
    """The absolute name of the module that a `from` import names."""
    if not node.level:
        return node.module or ""
    above = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])
