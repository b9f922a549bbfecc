"""The few functions of Python and its libraries that argument definitions call, for values read from source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import TYPE_CHECKING, cast

from optuna_tuner.catalog.scan import symbolic_classes as classes
from optuna_tuner.catalog.scan.symbolic_attributes import attribute
from optuna_tuner.catalog.scan.symbolic_values import PLAIN, items
from optuna_tuner.catalog.scan.symbols import (
    Class,
    Generic,
    Instance,
    Library,
    Member,
    PydanticField,
    Unknown,
    UnreadableError,
)

if TYPE_CHECKING:
    from optuna_tuner.catalog.scan.symbolic_reader import SymbolicReader

TAKES_UNKNOWN = frozenset({"builtins.any", "builtins.all", "builtins.len", "builtins.getattr", "copy.deepcopy"})
Native = Callable[["SymbolicReader", list[object]], object]


def call(reader: SymbolicReader, name: str, args: list[object], given: dict[str, object]) -> object:
    """What a function of a library gives; Unknown where it is not known here, or is given something unknown."""
    if name in WITH_NAMES:
        return WITH_NAMES[name](args, given)
    known = FUNCTIONS.get(name)
    if known is None or given:
        return Unknown(f"a call of {name}")
    unknown = next((each for each in args if isinstance(each, Unknown)), None)
    return known(reader, args) if unknown is None or name in TAKES_UNKNOWN else unknown


def converted(reader: SymbolicReader, kind: type, args: list[object], given: dict[str, object]) -> object:
    """`int("3")`, `list(items)` and the like."""
    if any(isinstance(each, Unknown) for each in args):
        return Unknown(f"{kind.__name__} of what is unknown")
    if kind in {list, tuple, set, frozenset}:
        return cast("object", kind(items(reader, args[0])) if args else kind())
    if kind is object or any(not isinstance(each, (*PLAIN, Member, type(None))) for each in args):
        return Unknown(f"a {kind.__name__}")
    plain = [each.value if isinstance(each, Member) else each for each in args]
    return cast("object", kind(*plain, **given))


def _decided(given: object, wanted: bool) -> object:  # noqa: FBT001  any and all differ in this alone
    """`any` (wanted) and `all`: unknown only where what is known does not decide."""
    found = list(cast("list[object]", given)) if not isinstance(given, Unknown) else [given]
    if any(not isinstance(each, Unknown) and bool(each) is wanted for each in found):
        return wanted
    unknown = next((each for each in found if isinstance(each, Unknown)), None)
    return unknown or not wanted


def _origin(kind: object) -> object:
    return kind.origin if isinstance(kind, Generic) else None


def _args(kind: object) -> object:
    return kind.args if isinstance(kind, Generic) else ()


def _type(value: object) -> object:
    if isinstance(value, Instance | Member):
        return value.owner
    if isinstance(value, (*PLAIN, type(None))):
        return type(value)
    return Unknown("a type")


def _isinstance(_reader: SymbolicReader, args: list[object]) -> object:
    value, kinds = args
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    found = [_is_of(value, kind) for kind in wanted]
    return _decided(found, wanted=True)


def _is_of(value: object, kind: object) -> object:
    if kind == Library("builtins.type"):
        return isinstance(value, type | Class)
    if isinstance(kind, Library) and kind.name.endswith("FieldInfo"):
        return isinstance(value, PydanticField)
    if isinstance(kind, type):
        return isinstance(value, kind)
    return Unknown(f"whether it is a {kind}")


def _issubclass(reader: SymbolicReader, args: list[object]) -> object:
    kind, above = args
    if isinstance(kind, Class):
        return above in classes.lineage(reader, kind)
    return isinstance(kind, type) and isinstance(above, type) and issubclass(kind, above)


def _getattr(reader: SymbolicReader, args: list[object]) -> object:
    owner, name, *default = args
    found = attribute(reader, owner, str(name))
    return default[0] if default and isinstance(found, Unknown) and not isinstance(owner, Unknown) else found


def _next(_reader: SymbolicReader, args: list[object]) -> object:
    return next(cast("Iterator[object]", args[0]), *args[1:])


def _fields(reader: SymbolicReader, args: list[object]) -> object:
    if not isinstance(args[0], Class):
        raise UnreadableError("fields() of what is no class")
    return classes.fields(reader, args[0])


def _is_dataclass(reader: SymbolicReader, args: list[object]) -> object:
    kind = args[0].owner if isinstance(args[0], Instance) else args[0]
    return isinstance(kind, Class) and classes.is_dataclass(reader, kind)


def _is_typeddict(reader: SymbolicReader, args: list[object]) -> object:
    names = ("typing.TypedDict", "typing_extensions.TypedDict")
    return isinstance(args[0], Class) and classes.inherits(reader, args[0], *names)


def _copied(value: object) -> object:
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _getenv(args: list[object], given: Mapping[str, object]) -> object:
    """Of an empty environment."""
    return args[1] if len(args) > 1 else given.get("default")


def _permutations(args: list[object], given: Mapping[str, object]) -> object:
    return list(permutations(cast("list[object]", args[0]), cast("int | None", given.get("r"))))


WITH_NAMES: Mapping[str, Callable[[list[object], Mapping[str, object]], object]] = {
    "dataclasses.field": classes.made_field,
    "itertools.permutations": _permutations,
    "os.getenv": _getenv,
    "pydantic.Field": classes.pydantic_field,
    "pydantic.fields.Field": classes.pydantic_field,
}
FUNCTIONS: Mapping[str, Native] = {
    "builtins.any": lambda _, args: _decided(args[0], wanted=True),
    "builtins.all": lambda _, args: _decided(args[0], wanted=False),
    "builtins.len": lambda _, args: len(cast("list[object]", args[0])),
    "builtins.sorted": lambda reader, args: sorted(items(reader, args[0])),  # type: ignore[type-var]
    "builtins.reversed": lambda reader, args: list(items(reader, args[0]))[::-1],
    "builtins.range": lambda _, args: range(*cast("list[int]", args)),
    "builtins.min": lambda _, args: min(*cast("list[int]", args)),
    "builtins.max": lambda _, args: max(*cast("list[int]", args)),
    "builtins.type": lambda _, args: _type(args[0]),
    "builtins.isinstance": _isinstance,
    "builtins.issubclass": _issubclass,
    "builtins.getattr": _getattr,
    "builtins.next": _next,
    "builtins.iter": lambda reader, args: iter(items(reader, args[0])),
    "copy.deepcopy": lambda _, args: _copied(args[0]),
    "dataclasses.fields": _fields,
    "dataclasses.is_dataclass": _is_dataclass,
    "enum.auto": lambda _, _args: classes.AUTO,
    "typing.get_args": lambda _, args: _args(args[0]),
    "typing.get_origin": lambda _, args: _origin(args[0]),
    "typing.is_typeddict": _is_typeddict,
    "typing.cast": lambda _, args: args[1],
}
