"""Rules between flags: small conditions that a study file carries as text. Nothing is ever executed."""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from optuna_tuner.spec.study import Rule
from optuna_tuner.values import Scalar

LONGEST = 500  # characters; it bounds depth and work as well
CONDITIONS = 1024  # kept parsed: those of a study, and the known rules of every engine

Value = Scalar | tuple[Scalar, ...]

_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_WORDS: Mapping[str, bool] = {"true": True, "false": False}


class RuleError(ValueError):
    """The text is no condition that this language knows; says which part."""


def broken(rules: Iterable[Rule], values: Mapping[str, Scalar]) -> Rule | None:
    """The first rule whose forbidden condition holds for these values; None when all are kept.

    A rule that names a flag without a value does not apply: what the engine chooses itself is not known here. The same
    holds where it has no result, as with a division by zero. Raises RuleError for text that is no condition, which
    no study file can hold, since reading the file refuses it.
    """
    return next((rule for rule in rules if holds(rule.forbid, values)), None)


def holds(text: str, values: Mapping[str, Scalar]) -> bool:
    """Whether a condition certainly holds: not where a name has no value, and not where it has no result.

    Raises RuleError for text that is no condition.
    """
    if not names(text) <= values.keys():
        return False
    try:
        return bool(evaluate(text, values))
    except (ArithmeticError, RuleError):
        return False


@lru_cache(maxsize=CONDITIONS)
def names(text: str) -> frozenset[str]:
    """The flags that a condition speaks of. Raises RuleError when it is none."""
    nodes = ast.walk(parse(text))
    return frozenset(node.id for node in nodes if isinstance(node, ast.Name) and node.id not in _WORDS)


@lru_cache(maxsize=CONDITIONS)
def parse(text: str) -> ast.expr:
    """The condition as a tree that holds nothing but what this language knows. Raises RuleError."""
    if len(text) > LONGEST:
        raise RuleError(f"too long: a condition has at most {LONGEST} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of is a mistake here
            tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, Warning) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise RuleError(f"cannot be read as a condition: {reason}") from error
    _check(tree)
    return tree


def evaluate(text: str, values: Mapping[str, Scalar]) -> Value:
    """What a condition says about these values. Raises RuleError, ArithmeticError, or KeyError for a missing name."""
    return _value(parse(text), values)


def _check(node: ast.expr) -> None:
    """Refuse everything that is not on the list."""
    match node:
        case ast.Name():
            return
        case ast.Constant(value=value) if isinstance(value, bool | int | float | str):
            return
        case ast.BoolOp():
            _check_all(node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            _check(node.operand)
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            _check_all([node.left, node.right])
        case ast.Compare() if all(type(op) in _COMPARISONS for op in node.ops):
            _check_all([node.left, *node.comparators])
        case ast.List() | ast.Tuple():
            _check_all(node.elts)
        case _:
            raise RuleError(
                f"{_quote(node)} is not allowed: a condition has names, numbers, text, true and false, lists, "
                "comparisons, in, and, or, not, + - * / // %"
            )


def _check_all(nodes: Iterable[ast.expr]) -> None:
    for node in nodes:
        _check(node)


def _quote(node: ast.expr) -> str:
    return f'"{ast.unparse(node)}"'


def _value(node: ast.expr, values: Mapping[str, Scalar]) -> Value:
    match node:
        case ast.Name(id=name):
            return _WORDS[name] if name in _WORDS else values[name]
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.List() | ast.Tuple():
            return tuple(_scalar(_value(item, values)) for item in node.elts)
        case ast.BinOp():
            left, right = (_number(_value(side, values)) for side in (node.left, node.right))
            return _ARITHMETIC[type(node.op)](left, right)
        case ast.UnaryOp(op=ast.USub()):
            return -_number(_value(node.operand, values))
    return _truth(node, values)


def _truth(node: ast.expr, values: Mapping[str, Scalar]) -> bool:
    match node:
        case ast.BoolOp(op=ast.And()):
            return all(_value(part, values) for part in node.values)
        case ast.BoolOp():
            return any(_value(part, values) for part in node.values)
        case ast.UnaryOp():
            return not _value(node.operand, values)
        case ast.Compare():
            return _compare(node, values)
    raise RuleError(f"{_quote(node)} is not allowed")


def _compare(node: ast.Compare, values: Mapping[str, Scalar]) -> bool:
    left = _value(node.left, values)
    for op, comparator in zip(node.ops, node.comparators, strict=True):
        right = _value(comparator, values)
        if not _COMPARISONS[type(op)](left, right):
            return False
        left = right
    return True


def _ordered(compare: Callable[[float, float], bool]) -> Callable[[Value, Value], bool]:
    return lambda left, right: compare(_number(left), _number(right))


def _within(left: Value, right: Value) -> bool:
    if isinstance(right, tuple):
        return left in right
    if isinstance(left, str) and isinstance(right, str):
        return left in right
    raise RuleError("in needs a list or text on its right")


def _number(value: Value) -> float:
    if isinstance(value, str | tuple):
        raise RuleError(f"{value!r} is no number" if isinstance(value, str) else "a list is no number")
    return value


def _scalar(value: Value) -> Scalar:
    if isinstance(value, tuple):
        raise RuleError("a list within a list is not allowed")
    return value


_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: _within,
    ast.NotIn: lambda left, right: not _within(left, right),
}
