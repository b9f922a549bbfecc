"""SGLang's flags, read off the source in its wheel: `ServerArgs.add_cli_args`, and the fields that stand for flags."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from optuna_tuner.catalog.catalogue import Flag, plain
from optuna_tuner.catalog.scan.argparse_call import Call, argument
from optuna_tuner.catalog.scan.argument import destination, flags_of
from optuna_tuner.catalog.scan.python_modules import Modules
from optuna_tuner.catalog.scan.python_values import Reader, UnreadableError, function_scope
from optuna_tuner.catalog.scan.sglang_fields import call_of, fields_of
from optuna_tuner.catalog.wheels.wheel import Wheel
from optuna_tuner.errors import CatalogError

MODULE = "sglang.srt.server_args"
CLASS = "ServerArgs"
METHOD = "add_cli_args"
FROM_FIELDS = "add_cli_args_from_dataclass"
FIELD_DEFAULT = "_declared_default"


def flags(wheel: Wheel) -> tuple[Flag, ...]:
    """Every flag that `python -m sglang.launch_server` takes, in the order of the source. Raises CatalogError.

    A flag that the parser knows only to refuse it is left out. So is a choice that only an environment variable adds.
    """
    modules = Modules(wheel)
    reader = Reader(modules)
    try:
        arguments = [argument(call, reader) for call in _Calls(modules, reader).all()]
    except UnreadableError as error:
        raise CatalogError(str(error)) from error
    return flags_of(each for each in arguments if each is not None)


class _Calls:
    """Goes through `add_cli_args`, statement by statement."""

    def __init__(self, modules: Modules, reader: Reader) -> None:
        self._reader = reader
        self._module = modules.need(MODULE)
        owner = self._module.class_(CLASS)
        methods = (each for each in owner.body if isinstance(each, ast.FunctionDef)) if owner else ()
        method = next((each for each in methods if each.name == METHOD), None)
        if owner is None or method is None:
            raise CatalogError(f"{self._module.path} has no {CLASS}.{METHOD}")
        self._method, self._parser = method, method.args.args[-1].arg
        self._fields = {each.name: each for each in fields_of(self._module, owner, reader)}
        self._scope = function_scope(method, self._module)

    def all(self) -> Iterator[Call]:
        for statement in filter(self._is_about_the_parser, self._method.body):
            call = statement.value if isinstance(statement, ast.Expr) else None
            if not isinstance(call, ast.Call):
                raise CatalogError(f"{self._module.place(statement)}: how flags are added here is not understood")
            yield from self._added(call)

    def _is_about_the_parser(self, statement: ast.stmt) -> bool:
        return any(isinstance(node, ast.Name) and node.id == self._parser for node in ast.walk(statement))

    def _added(self, call: ast.Call) -> Iterator[Call]:
        callee = ast.unparse(call.func)
        if callee == f"{self._parser}.add_argument":
            yield self._said_plainly(call)
        elif callee == FROM_FIELDS and [ast.unparse(each) for each in call.args] == [self._parser, CLASS]:
            found = (call_of(field, self._reader) for field in self._fields.values())
            yield from (each for each in found if each is not None)
        else:
            raise CatalogError(f"{self._module.place(call)}: {callee} is not known to add flags")

    def _said_plainly(self, call: ast.Call) -> Call:
        keywords = {each.arg: each.value for each in call.keywords if each.arg}
        if len(keywords) != len(call.keywords):
            raise CatalogError(f"{self._module.place(call)}: what is said of a flag stands elsewhere")
        spellings = tuple(str(self._reader.value(each, self._scope)) for each in call.args)
        keywords |= self._default_of_a_field(keywords.get("default"))
        keywords.setdefault("dest", ast.Constant(self._setting(spellings)))
        return Call(spellings=spellings, keywords=keywords, scope=self._scope, node=call)

    def _setting(self, spellings: tuple[str, ...]) -> str:
        """The setting that a flag is for: by the spelling that is a field's name, whatever argparse calls it."""
        return next((plain(each) for each in spellings if plain(each) in self._fields), destination(spellings))

    def _default_of_a_field(self, default: ast.expr | None) -> dict[str, ast.expr]:
        """The default, where it is that of a field, by a function of SGLang's."""
        if not isinstance(default, ast.Call) or ast.unparse(default.func) != FIELD_DEFAULT:
            return {}
        field = self._fields.get(str(self._reader.value(default.args[0], self._scope)))
        return {"default": field.default} if field and isinstance(field.default, ast.Constant) else {}
