"""Operators and types, of plain values and of what stands for something in the source."""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import cast

from optuna_tuner.catalog.scan import symbolic_classes as classes
from optuna_tuner.catalog.scan.symbolic_classes import Evaluator
from optuna_tuner.catalog.scan.symbols import Class, Generic, Library, Unknown, UnreadableError

TYPES = (bool, dict, float, frozenset, int, list, object, set, str, tuple)
BUILTINS: Mapping[str, object] = {name: Library(f"builtins.{name}") for name in dir(builtins)} | {
    each.__name__: each for each in TYPES
}
CONSTANTS: Mapping[str, object] = {
    "os.environ": {},
    "sys.argv": ["vllm", "serve", "--help=all"],
    "sys.modules": {},
    "ssl.CERT_NONE": 0,
    "ssl.CERT_OPTIONAL": 1,
    "ssl.CERT_REQUIRED": 2,
    "typing.TYPE_CHECKING": False,
    "types.NoneType": type(None),
}
UNIONS = (Library("typing.Union"), Library("types.UnionType"))
HIDING = frozenset({"pydantic.SkipValidation", "pydantic.InstanceOf", "pydantic.functional_validators.SkipValidation"})
OPERATORS: Mapping[type[ast.operator], Callable[[object, object], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
}
PLAIN = (str, int, float, list, tuple, dict, set, frozenset)


def constant(found: object) -> object:
    """What a thing of a library is worth, where that is known here."""
    return copy(CONSTANTS.get(found.name, found)) if isinstance(found, Library) else found


def items(reader: Evaluator, given: object) -> Iterable[object]:
    """What one gets by going through it. Raises UnreadableError."""
    if isinstance(given, Class) and classes.is_enumeration(reader, given):
        return classes.members(reader, given)
    if isinstance(given, Iterable):
        return given
    raise UnreadableError(f"what is in {str(given)[:80]} cannot be told")


def combine(kind: ast.operator, left: object, right: object) -> object:
    """`left + right` and the like; `int | None` is a type."""
    unknown = next((each for each in (left, right) if isinstance(each, Unknown)), None)
    if unknown is not None:
        return unknown
    if isinstance(kind, ast.BitOr) and (_is_type(left) or _is_type(right)):
        return _union(UNIONS[1], (left, right))
    made = OPERATORS.get(type(kind))
    if made is None or not isinstance(left, PLAIN) or not isinstance(right, PLAIN):
        return Unknown("an operator")
    return made(left, right)


def compare(kind: ast.cmpop, left: object, right: object) -> object:
    """`left == right` and the like. What is of a library is the same where it has the same name."""
    unknown = next((each for each in (left, right) if isinstance(each, Unknown)), None)
    if unknown is not None:
        return unknown
    if isinstance(kind, ast.Is | ast.IsNot):
        same = left is right or (not isinstance(left, PLAIN) and left == right)
        return same is isinstance(kind, ast.Is)
    if isinstance(kind, ast.Eq | ast.NotEq):
        return (left == right) is isinstance(kind, ast.Eq)
    if isinstance(kind, ast.In | ast.NotIn):
        return (left in cast("list[object]", right)) is isinstance(kind, ast.In)
    if isinstance(left, int | float) and isinstance(right, int | float):
        orders = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
        return orders[type(kind)](left, right)
    return Unknown("an order")


def _is_type(value: object) -> bool:
    return value is None or isinstance(value, type | Class | Library | Generic)


def typing_form(reader: Evaluator, held: object, key: object) -> object:
    """`held[key]` of a type, or of an enumeration."""
    if isinstance(held, Class) and classes.is_enumeration(reader, held):
        return {each.name: each for each in classes.members(reader, held)}[str(key)]
    args = key if isinstance(key, tuple) else (key,)
    if isinstance(held, Library):
        name = held.name.rpartition(".")[2]
        if name == "Optional":
            return _union(UNIONS[0], (*args, None))
        if name == "Union":
            return _union(UNIONS[0], args)
        if name == "Literal":
            return Generic(Library("typing.Literal"), tuple(dict.fromkeys(_literals(args))))
        if name in {"List", "Dict", "Set", "Tuple", "Type"}:
            held = BUILTINS[name.lower()]
        if held.name in HIDING if isinstance(held, Library) else False:
            return Generic(Library("typing.Annotated"), (args[0], held))
    if _is_type(held):
        return Generic(held, tuple(_hashable(each) for each in args))
    raise UnreadableError(f"a part of {str(held)[:80]} cannot be told")


def _literals(args: tuple[object, ...]) -> Iterable[object]:
    for each in args:
        if isinstance(each, Generic):
            yield from _literals(each.args)
        else:
            yield each


def _hashable(value: object) -> object:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _union(origin: Library, args: tuple[object, ...]) -> Generic:
    flat: list[object] = []
    for each in args:
        flat.extend(each.args if isinstance(each, Generic) and each.origin in UNIONS else (each,))
    return Generic(origin, tuple(dict.fromkeys(type(None) if each is None else each for each in flat)))
