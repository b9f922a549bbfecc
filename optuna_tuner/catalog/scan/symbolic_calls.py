"""Calls and statements: what a function of the source gives, and what the few functions do that are known by name."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from optuna_tuner.catalog.scan import symbolic_classes as classes
from optuna_tuner.catalog.scan import symbolic_library as library
from optuna_tuner.catalog.scan.python_modules import Import, imported
from optuna_tuner.catalog.scan.symbolic_values import items
from optuna_tuner.catalog.scan.symbols import (
    Above,
    Argument,
    Class,
    Function,
    Instance,
    Library,
    Method,
    Parser,
    Scope,
    Unknown,
    UnreadableError,
)

if TYPE_CHECKING:
    from optuna_tuner.catalog.scan.symbolic_reader import SymbolicReader

SIMPLE = (ast.Pass, ast.Assert, ast.Global, ast.Nonlocal)
SAFE_METHODS = frozenset(
    {"append", "extend", "remove", "insert", "pop", "update", "get", "items", "keys", "values", "copy", "setdefault"}
    | {"replace", "strip", "lower", "upper", "split", "join", "startswith", "endswith", "removeprefix", "removesuffix"}
    | {"add", "discard", "union", "title", "rstrip", "lstrip", "partition", "rpartition", "isdigit", "index", "count"}
)
BY_NAME: Mapping[str, Callable[[SymbolicReader, list[object]], object]] = {
    "get_attr_docs": lambda reader, args: classes.docs(reader, cast("Class", args[0])),  # reads the source itself
    "LazyLoader": lambda reader, args: reader.imported(Import(str(args[-1]), "")),  # a module that is imported later
}


class Caller:
    """Makes the calls of one reader."""

    def __init__(self, reader: SymbolicReader) -> None:
        self._reader = reader

    def above(self, scope: Scope) -> object:
        """What `super()` is there."""
        inner: Scope | None = scope
        while inner is not None and inner.owner is None:
            inner = inner.outer
        if inner is None or inner.owner is None:
            raise UnreadableError("super() outside a class")
        return Above(inner.owner, inner.bound)

    def quietly(self, called: object, args: list[object]) -> object:
        """As `call`, but Unknown where the function cannot be followed."""
        try:
            return self.call(called, args, {})
        except UnreadableError as error:
            return Unknown(str(error))

    def call(self, called: object, args: list[object], given: dict[str, object], place: str = "") -> object:
        """What a call gives. Raises UnreadableError where that matters for what it is given."""
        found: object = called if isinstance(called, Unknown) else Unknown("a call")
        if isinstance(called, Function):
            found = self._followed(called, args, given)
        elif isinstance(called, Method):
            found = self._method(called, args, given, place)
        elif isinstance(called, Class):
            found = self._made(called, args, given)
        elif isinstance(called, type):
            found = library.converted(self._reader, called, args, given)
        elif isinstance(called, Library):
            found = library.call(self._reader, called.name, args, given)
        return found

    def _followed(self, called: Function, args: list[object], given: dict[str, object]) -> object:
        try:
            return self._function(called, args, given)
        except UnreadableError as error:
            if any(isinstance(each, Parser | dict | list) for each in args):
                raise  # it may have changed what it was given
            return Unknown(str(error))

    def _made(self, called: Class, args: list[object], given: dict[str, object]) -> object:
        if called.node.name in BY_NAME:
            return BY_NAME[called.node.name](self._reader, args)
        if classes.is_enumeration(self._reader, called):
            return next((each for each in classes.members(self._reader, called) if each.value == args[0]), Unknown())
        return Unknown("an object") if args else Instance(called, given)

    def _method(self, called: Method, args: list[object], given: dict[str, object], place: str) -> object:
        if isinstance(called.owner, Parser):
            return self._parser(called.owner, called.name, args, given, place)
        if called.name not in SAFE_METHODS or isinstance(called.owner, type):
            return Unknown(f"a call of {called.name}")
        if isinstance(called.owner, str) and any(isinstance(each, Unknown) for each in args):
            return Unknown("a text")
        done: object = getattr(called.owner, called.name)(*args, **given)
        return done

    def _parser(self, parser: Parser, name: str, args: list[object], given: dict[str, object], place: str) -> object:
        if name == "add_argument":
            if not all(isinstance(each, str) for each in args):
                raise UnreadableError("the names of an argument cannot be told", place)
            parser.arguments.append(Argument(tuple(map(str, args)), given, place))
            return Unknown("an action")
        if name in {"add_argument_group", "add_mutually_exclusive_group", "add_parser"}:
            return parser
        raise UnreadableError(f"what {name} does to a parser is not known here", place)

    def _function(self, called: Function, args: list[object], given: dict[str, object]) -> object:
        node = called.node
        if isinstance(node, ast.FunctionDef) and node.name in BY_NAME:
            return BY_NAME[node.name](self._reader, args)
        scope = Scope(called.scope.module, {}, called.scope, called.owner, called.bound)
        self._bind_arguments(called, args, given, scope)
        if isinstance(node, ast.Lambda):
            return self._reader.value(node.body, scope)
        try:
            self.run(node.body, scope)
        except _Returned as returned:
            return returned.value
        return None

    def _bind_arguments(self, called: Function, args: list[object], given: dict[str, object], scope: Scope) -> None:
        wanted = called.node.args
        names = [each.arg for each in (*wanted.posonlyargs, *wanted.args)]
        if called.owner is not None and _kind(called.node) != "staticmethod" and called.bound is not None:
            owner = called.bound
            args = [
                owner.owner if isinstance(owner, Instance) and _kind(called.node) == "classmethod" else owner,
                *args,
            ]
        defaults = dict(zip(reversed(names), reversed(wanted.defaults), strict=False))
        pairs = zip(wanted.kwonlyargs, wanted.kw_defaults, strict=True)
        defaults |= {each.arg: node for each, node in pairs if node is not None}
        scope.names.update({name: self._reader.value(node, called.scope) for name, node in defaults.items()})
        scope.names.update(zip(names, args, strict=False))
        scope.names.update(given)
        if wanted.vararg:
            scope.names[wanted.vararg.arg] = tuple(args[len(names) :])

    def run(self, body: list[ast.stmt], scope: Scope) -> None:
        """Follows statements. Raises UnreadableError."""
        for node in body:
            follow = getattr(self, f"_{type(node).__name__.lower()}", None)
            if follow is not None:
                self._placed(follow, node, scope)
            elif not isinstance(node, SIMPLE):
                raise UnreadableError(f"{ast.unparse(node)[:80]} cannot be followed", scope.module.place(node))

    def _placed(self, follow: Callable[[ast.stmt, Scope], None], node: ast.stmt, scope: Scope) -> None:
        try:
            follow(node, scope)
        except UnreadableError as error:
            if error.is_placed:
                raise
            raise UnreadableError(str(error), scope.module.place(node)) from error

    def bind(self, target: ast.expr, value: object, scope: Scope) -> None:
        """`target = value`."""
        if isinstance(target, ast.Name):
            scope.names[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List) and not isinstance(value, Unknown):
            for each, item in zip(target.elts, items(self._reader, value), strict=True):
                self.bind(each, item, scope)
        elif isinstance(target, ast.Subscript):
            held = self._reader.value(target.value, scope)
            if not isinstance(held, dict | list):
                raise UnreadableError(f"{ast.unparse(target)[:80]} cannot be told", scope.module.place(target))
            cast("dict[object, object]", held)[self._reader.value(target.slice, scope)] = value
        elif not isinstance(target, ast.Attribute):  # what is set on a parser or a module changes no argument
            raise UnreadableError(f"{ast.unparse(target)[:80]} cannot be told", scope.module.place(target))

    def _assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self._reader.value(node.value, scope)
        for target in node.targets:
            self.bind(target, value, scope)

    def _annassign(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self.bind(node.target, self._reader.value(node.value, scope), scope)

    def _augassign(self, node: ast.AugAssign, scope: Scope) -> None:
        self.bind(node.target, self._reader.value(ast.BinOp(node.target, node.op, node.value), scope), scope)

    def _expr(self, node: ast.Expr, scope: Scope) -> None:
        self._reader.value(node.value, scope)

    def _if(self, node: ast.If, scope: Scope) -> None:
        self.run(node.body if self._reader.truth(node.test, scope) else node.orelse, scope)

    def _for(self, node: ast.For, scope: Scope) -> None:
        for item in list(items(self._reader, self._reader.value(node.iter, scope))):
            self.bind(node.target, item, scope)
            try:
                self.run(node.body, scope)
            except _Continued:
                continue

    def _continue(self, _node: ast.Continue, _scope: Scope) -> None:
        raise _Continued

    def _with(self, node: ast.With, scope: Scope) -> None:
        self.run(node.body, scope)

    def _try(self, node: ast.Try, scope: Scope) -> None:
        self.run([*node.body, *node.orelse, *node.finalbody], scope)

    def _return(self, node: ast.Return, scope: Scope) -> None:
        raise _Returned(self._reader.value(node.value, scope) if node.value else None)

    def _functiondef(self, node: ast.FunctionDef, scope: Scope) -> None:
        scope.names[node.name] = Function(node, scope)

    def _importfrom(self, node: ast.ImportFrom | ast.Import, scope: Scope) -> None:
        package = (
            scope.module.name if scope.module.path.endswith("__init__.py") else scope.module.name.rpartition(".")[0]
        )
        for name, what in imported(node, package):
            scope.names[name] = self._reader.imported(what)

    _import = _importfrom

    def _delete(self, node: ast.Delete, scope: Scope) -> None:
        for target in node.targets:
            held = self._reader.value(target.value, scope) if isinstance(target, ast.Subscript) else None
            if not isinstance(target, ast.Subscript) or not isinstance(held, dict):
                raise UnreadableError(f"{ast.unparse(node)[:80]} cannot be followed", scope.module.place(node))
            del held[self._reader.value(target.slice, scope)]


class _Returned(Exception):  # noqa: N818  it is the way of `return`, and no error
    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


class _Continued(Exception):  # noqa: N818  it is the way of `continue`, and no error
    pass


def _kind(node: ast.FunctionDef | ast.Lambda) -> str:
    """`staticmethod`, `classmethod`, or nothing of these."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    known = (each.id for each in decorators if isinstance(each, ast.Name))
    return next((each for each in known if each in {"staticmethod", "classmethod"}), "")
