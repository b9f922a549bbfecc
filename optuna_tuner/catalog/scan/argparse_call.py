"""Reads what source code gives to argparse's `add_argument`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from optuna_tuner.catalog.scan.argument import Argument, choices_of, destination
from optuna_tuner.catalog.scan.python_values import Reader, Scope, Thing, UnreadableError, last_name
from optuna_tuner.errors import CatalogError
from optuna_tuner.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One `add_argument`: the spellings, the keywords that are given with them, and where it stands."""

    spellings: tuple[str, ...]
    keywords: Mapping[str, ast.expr]
    scope: Scope
    node: ast.AST

    @property
    def place(self) -> str:
        """File and line."""
        return self.scope.module.place(self.node)


def argument(call: Call, reader: Reader) -> Argument | None:
    """The argument; None where the parser knows it only to refuse it. Raises CatalogError for what it cannot read."""
    action = _name(call, "action", reader)
    if _refuses(call, reader):
        return None
    default, default_is_known = _default(call, reader)
    nargs = _value(call, "nargs", reader)
    return Argument(
        spellings=call.spellings,
        dest=_text(call, "dest", reader) or destination(call.spellings),
        action=action,
        type=_type(call, reader),
        many=nargs in {"+", "*"} or (isinstance(nargs, int) and nargs > 1),
        no_word="nargs" not in call.keywords and _takes_no_word(call, reader),
        choices=choices_of(_value(call, "choices", reader)),
        default=default,
        default_is_known=default_is_known,
        help=_said(call, "help", reader),
        new_flag=_said(call, "new_flag", reader),
        deprecated="deprecated" in action.lower(),
    )


def _value(call: Call, keyword: str, reader: Reader) -> object:
    """What is given; None where nothing is."""
    node = call.keywords.get(keyword)
    try:
        return None if node is None else reader.value(node, call.scope)
    except UnreadableError as error:
        raise CatalogError(f"{call.place}: the {keyword} of {call.spellings[0]} cannot be read: {error}") from error


def _text(call: Call, keyword: str, reader: Reader) -> str:
    found = _value(call, keyword, reader)
    return found if isinstance(found, str) else ""


def _said(call: Call, keyword: str, reader: Reader) -> str:
    """What is said for people; nothing depends on it, so that it may stay unread."""
    try:
        return _text(call, keyword, reader)
    except CatalogError:
        return ""


def _name(call: Call, keyword: str, reader: Reader) -> str:
    """The name of a class or function, or the word that stands for one."""
    node = call.keywords.get(keyword)
    if node is None or isinstance(node, ast.Constant):
        return _text(call, keyword, reader)
    return last_name(node)


def _type(call: Call, reader: Reader) -> str:
    """What reads a word: by its name, and where that is a function of the wheel, what it says that it returns."""
    node = call.keywords.get("type")
    made_by = _thing(call, "type", reader)
    if made_by is not None and isinstance(made_by.node, ast.FunctionDef) and made_by.node.returns is not None:
        return ast.unparse(made_by.node.returns).partition("[")[0]
    return "" if node is None else last_name(node)


def _thing(call: Call, keyword: str, reader: Reader) -> Thing | None:
    node = call.keywords.get(keyword)
    if not isinstance(node, ast.Name):
        return None
    try:
        found = reader.value(node, call.scope)
    except UnreadableError:  # something of Python's own, or of another package
        return None
    return found if isinstance(found, Thing) else None


def _default(call: Call, reader: Reader) -> tuple[Json, bool]:
    """The default, and whether it is known."""
    node = call.keywords.get("default") or _preset(_thing(call, "action", reader), "default")
    if node is None:
        return (False if _name(call, "action", reader) == "store_true" else None), True
    if last_name(node) == "SUPPRESS":
        return None, True
    try:
        return _json(reader.value(node, call.scope)), True
    except (UnreadableError, TypeError):
        return None, False


def _json(found: object) -> Json:
    """A value that JSON has too. Raises TypeError."""
    if found is None or isinstance(found, bool | int | float | str):
        return found
    if isinstance(found, list):
        return [_json(each) for each in found]
    if isinstance(found, dict):
        return {str(key): _json(each) for key, each in found.items()}
    raise TypeError("JSON has no such value")


def _takes_no_word(call: Call, reader: Reader) -> bool:
    """Whether an action of the wheel's own takes no word: its constructor says so."""
    preset = _preset(_thing(call, "action", reader), "nargs")
    return preset is not None and ast.unparse(preset) == "0"


def _preset(owner: Thing | None, name: str) -> ast.expr | None:
    """What the constructor of a class of the wheel has where nothing is given."""
    start = _method(owner, "__init__")
    if start is None or not start.args.defaults:
        return None
    arguments = start.args.args[-len(start.args.defaults) :]
    return next((preset for each, preset in zip(arguments, start.args.defaults, strict=True) if each.arg == name), None)


def _refuses(call: Call, reader: Reader) -> bool:
    """Whether using the flag ends the program: its action raises, or is given the message to end with."""
    run = _method(_thing(call, "action", reader), "__call__")
    raises = run is not None and any(isinstance(each, ast.Raise) for each in run.body)
    return raises or "error_message" in call.keywords


def _method(owner: Thing | None, name: str) -> ast.FunctionDef | None:
    body = owner.node.body if owner else []
    return next((each for each in body if isinstance(each, ast.FunctionDef) and each.name == name), None)
