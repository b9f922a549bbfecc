"""SGLang's settings as fields, `name: A[type, Arg(...)] = default`, and the flags that it makes of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from optuna_tuner.catalog.scan.argparse_call import Call
from optuna_tuner.catalog.scan.python_modules import Module
from optuna_tuner.catalog.scan.python_values import Reader, Scope, Thing, last_name
from optuna_tuner.errors import CatalogError

MARKS = frozenset({"A", "Annotated"})
NAMESPACES = "_INPUT_NAMESPACES"
SCALARS = frozenset({"int", "float"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: its plain type, what is said to argparse about it (None: nothing), and its default, if any."""

    name: str
    type: ast.expr
    said: Mapping[str, ast.expr] | None
    default: ast.expr | None
    scope: Scope
    node: ast.AnnAssign


def fields_of(module: Module, owner: ast.ClassDef, reader: Reader) -> Iterator[Field]:
    """The fields of the class itself, and of the classes that it is put together from."""
    places = [Thing(Scope(module), owner)]
    if NAMESPACES in module.bindings:
        places += _namespaces(module, reader)
    for place in places:
        for node in place.node.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield _field(node, node.target.id, place.scope)


def call_of(field: Field, reader: Reader) -> Call | None:
    """What the field says to argparse; None where it says to keep out of the command line."""
    said = field.said
    if said is None or ("no_cli" in said and reader.value(said["no_cli"], field.scope)):
        return None
    usual = "--" + field.name.replace("_", "-")
    spelled = reader.value(said["cli_name"], field.scope) if "cli_name" in said else usual
    aliases = reader.value(said["aliases"], field.scope) if "aliases" in said else None
    others = [each for each in aliases if isinstance(each, str)] if isinstance(aliases, list) else []
    keywords = {"dest": ast.Constant(field.name), **_kept(said), **_of_type(field.type, said)}
    if field.default is not None:
        keywords["default"] = field.default
    return Call(spellings=(str(spelled), *others), keywords=keywords, scope=field.scope, node=field.node)


def _kept(said: Mapping[str, ast.expr]) -> dict[str, ast.expr]:
    """What is handed on as it is."""
    handed = {name: said[name] for name in ("help", "choices", "nargs", "action") if name in said}
    if isinstance(kwargs := said.get("action_kwargs"), ast.Dict):
        pairs = zip(kwargs.keys, kwargs.values, strict=True)
        handed |= {
            key.value: value for key, value in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
    if "type_parser" in said:
        handed["type"] = said["type_parser"]
    return handed


def _of_type(type_: ast.expr, said: Mapping[str, ast.expr]) -> dict[str, ast.expr]:
    """What follows from the field's type, where an action or a parser does not say it."""
    inner = _without_none(type_)
    head, inside = (
        (last_name(inner.value), inner.slice) if isinstance(inner, ast.Subscript) else (last_name(inner), None)
    )
    if "action" in said:
        return {}
    if head == "Literal" and inside is not None:
        values = inside.elts if isinstance(inside, ast.Tuple) else [inside]
        kind = type(values[0].value).__name__ if isinstance(values[0], ast.Constant) else "str"
        literal: dict[str, ast.expr] = {"type": ast.Name(kind), "choices": ast.List(values)}
        return {name: node for name, node in literal.items() if name not in _kept(said)}
    if "type_parser" in said:
        return {}
    if head in {"list", "List"}:
        element = last_name(inside) if inside is not None else "str"
        many: dict[str, ast.expr] = {"type": ast.Name(element), "nargs": ast.Constant("+")}
        return {name: node for name, node in many.items() if name not in said}
    return (
        {"action": ast.Constant("store_true")}
        if head == "bool"
        else {"type": ast.Name(head if head in SCALARS else "str")}
    )


def _without_none(node: ast.expr) -> ast.expr:
    """`Optional[X]`, `Union[X, None]` and `X | None` as X. Other unions stay: their words are text."""
    if isinstance(node, ast.Subscript) and last_name(node.value) == "Optional":
        return node.slice
    members = _members(node)
    rest = [each for each in members if ast.unparse(each) != "None"]
    return rest[0] if len(rest) == 1 and len(members) > 1 else node


def _members(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.Subscript) and last_name(node.value) == "Union" and isinstance(node.slice, ast.Tuple):
        return node.slice.elts
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_members(node.left), *_members(node.right)]
    return [node]


def _namespaces(module: Module, reader: Reader) -> list[Thing]:
    found = reader.value(ast.Name(NAMESPACES), Scope(module))
    things = [each for each in found if isinstance(each, Thing)] if isinstance(found, list) else []
    if not things or not isinstance(found, list) or len(things) != len(found):
        raise CatalogError(f"{module.path}: {NAMESPACES} names something that is no class of the wheel")
    return things


def _field(node: ast.AnnAssign, name: str, scope: Scope) -> Field:
    annotation, said = node.annotation, None
    if isinstance(annotation, ast.Subscript) and last_name(annotation.value) in MARKS:
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        said = next((found for found in map(_said, parts[1:]) if found is not None), None)
        annotation = parts[0]
    return Field(name=name, type=annotation, said=said, default=node.value, scope=scope, node=node)


def _said(node: ast.expr) -> Mapping[str, ast.expr] | None:
    """What `Arg(...)` or a bare text says; None for marks of another kind."""
    if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
        return {"help": node}
    if isinstance(node, ast.Call) and last_name(node.func) == "Arg":
        return {each.arg: each.value for each in node.keywords if each.arg}
    return None
