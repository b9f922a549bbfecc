"""What the names at the top level of a wheel's modules stand for when they are run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from optuna_tuner.catalog.scan.python_modules import Import, Module, Modules, imported
from optuna_tuner.catalog.scan.symbols import Class, Function, Library, Package, Scope, Unknown

Bound = ast.expr | ast.ClassDef | ast.FunctionDef | Import | None  # None: bound under a condition
TYPE_CHECKING = frozenset({"TYPE_CHECKING", "typing.TYPE_CHECKING"})


def bindings(module: Module) -> Mapping[str, Bound]:
    """The last binding of each name. What is meant for type checkers alone is left out."""
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    return dict(_bindings(module.tree.body, package))


def _bindings(body: list[ast.stmt], package: str) -> Iterator[tuple[str, Bound]]:
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Try):
            yield from _bindings(node.body, package)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in TYPE_CHECKING:
            yield from _bindings(node.orelse, package)
        elif isinstance(node, ast.If):
            yield from ((name, None) for name, _ in _bindings(node.body + node.orelse, package))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node, package)
            yield from _plain_imports(node)
        else:
            yield from _assigned(node)


def _plain_imports(node: ast.stmt) -> Iterator[tuple[str, Import]]:
    """`import a.b` binds a."""
    for each in node.names if isinstance(node, ast.Import) else []:
        if not each.asname:
            first = each.name.partition(".")[0]
            yield first, Import(first, "")


def _assigned(node: ast.stmt) -> Iterator[tuple[str, Bound]]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if value is not None:
        yield from ((each.id, value) for each in targets if isinstance(each, ast.Name))


def place(modules: Modules, what: Import) -> tuple[Module, str] | object:
    """Where an imported name is bound: a module and a name in it; or the module or library thing that it is."""
    module = modules.find(what.module)
    if module is None:
        return Library(f"{what.module}.{what.name}" if what.name else what.module)
    if not what.name:
        return Package(module)
    inner = modules.find(f"{what.module}.{what.name}")
    return Package(inner) if inner is not None and what.name not in bindings(module) else (module, what.name)


def defined(module: Module, node: ast.ClassDef | ast.FunctionDef) -> object:
    """The class or function of a statement at the top level."""
    return Class(module, node) if isinstance(node, ast.ClassDef) else Function(node, Scope(module))


def undecided(module: Module, name: str) -> Unknown:
    """Of a name that is bound under a condition."""
    return Unknown(f"{name} of {module.path} depends on where it runs")
