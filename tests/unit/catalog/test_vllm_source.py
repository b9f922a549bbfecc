"""What is read off source in vLLM's style; the source here is our own."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from optuna_tuner.catalog.catalogue import Flag, FlagType
from optuna_tuner.catalog.scan import vllm_source
from optuna_tuner.catalog.wheels.wheel import local_wheel
from optuna_tuner.errors import CatalogError

SERVE = """
from vllm.entrypoints.cli_args import make_arg_parser


class ServeSubcommand:
    name = "serve"

    def subparser_init(self, subparsers):
        parser = subparsers.add_parser(self.name, description="Serves.")
        parser = make_arg_parser(parser)
        parser.epilog = "The end."
        return parser
"""
CLI_ARGS = '''
import json
import ssl
from dataclasses import field
import vllm.envs as envs
from vllm.config import config
from vllm.engine.arg_utils import EngineArgs, optional_type


@config
class BaseArgs:
    api_key: list[str] | None = None
    origins: list[str] = field(default_factory=lambda: ["*"])
    """Who may ask."""

    @classmethod
    def customized(cls, kwargs):
        kwargs["api_key"]["type"] = optional_type(str)
        return kwargs

    @classmethod
    def add_cli_args(cls, parser):
        from vllm.engine.arg_utils import get_kwargs

        group = parser.add_argument_group(title=cls.__name__.replace("Args", ""), description=cls.__doc__)
        for key, value in cls.customized(get_kwargs(cls)).items():
            group.add_argument(*value.pop("flags", []), f"--{key.replace('_', '-')}", **value)
        return parser


@config
class FrontendArgs(BaseArgs):
    port: int = 8000
    certificates: int = int(ssl.CERT_NONE)
    stack: bool = envs.STACK

    @classmethod
    def customized(cls, kwargs):
        kwargs = super().customized(kwargs)
        kwargs["origins"]["type"] = json.loads
        del kwargs["origins"]["nargs"]
        return kwargs


def make_arg_parser(parser):
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--headless", action="store_true", default=False)
    parser = FrontendArgs.add_cli_args(parser)
    return EngineArgs.add_cli_args(parser)
'''
ARG_UTILS = '''
import argparse
import functools
import sys
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from vllm.config import CacheConfig, KernelConfig, ParallelConfig, get_attr_docs
from vllm.platforms import current_platform


def optional_type(return_type):
    def _optional_type(val):
        return None if val == "None" else return_type(val)

    return _optional_type


def human_readable_int(value: str) -> int:
    while value:
        pass


def human_readable_int_or_auto(value: str) -> int:
    return human_readable_int(value)


def hints_of(hint):
    found = set()
    if get_origin(hint) is Annotated:
        found.update(hints_of(get_args(hint)[0]))
    elif get_origin(hint) in {Union, UnionType}:
        for each in get_args(hint):
            found.update(hints_of(each))
    else:
        found.add(hint)
    return found


def is_of(hints, kind):
    return any(each is kind or get_origin(each) is kind for each in hints)


@functools.lru_cache
def get_kwargs(cls):
    docs = get_attr_docs(cls) if any("--help" in each for each in sys.argv) else {}
    kwargs = {}
    for field in fields(cls):
        hints = hints_of(field.type)
        made = next((each for each in hints if is_dataclass(each)), None)
        if field.default is not MISSING:
            default = field.default
            if isinstance(default, FieldInfo):
                default = default.default if default.default_factory is None else default.default_factory()
        elif field.default_factory is not MISSING:
            default = field.default_factory()
        name = field.name
        kwargs[name] = {"default": default, "help": docs.get(name, "").strip()}
        if made is not None:

            def parse_dataclass(val, cls=made):
                return TypeAdapter(cls).validate_json(val)

            kwargs[name]["type"] = parse_dataclass
            kwargs[name]["help"] += "\\n\\nA JSON text."
        elif is_of(hints, bool):
            kwargs[name]["action"] = argparse.BooleanOptionalAction
        elif is_of(hints, Literal):
            options = get_args(next(each for each in hints if get_origin(each) is Literal))
            kwargs[name].update({"type": type(options[0]), "choices": sorted(options)})
        elif is_of(hints, list):
            kwargs[name]["type"] = get_args(next(each for each in hints if get_origin(each) is list))[0]
            kwargs[name]["nargs"] = "+"
        elif is_of(hints, int):
            kwargs[name]["type"] = human_readable_int_or_auto if name == "max_len" else human_readable_int
        else:
            kwargs[name]["type"] = float if is_of(hints, float) else str
        if type(None) in hints and not is_of(hints, bool):
            kwargs[name]["type"] = optional_type(kwargs[name]["type"])
            if kwargs[name].get("choices"):
                kwargs[name]["choices"].append(NONE_OF_CHOICES)
    return kwargs


NONE_OF_CHOICES = "None"


class Unset:
    """A mark."""


UNSET = Unset()


@dataclass
class EngineArgs:
    seed: int = 7
    blocks: int = CacheConfig.block_size

    @staticmethod
    def add_cli_args(parser):
        cache = get_kwargs(CacheConfig)
        group = parser.add_argument_group(title="CacheConfig", description=CacheConfig.__doc__)
        if not ("serve" in sys.argv[1:] and "--help" in sys.argv[1:]):
            group.add_argument("--model", "-m", default="tiny")
        group.add_argument("--block-size", **cache["block_size"])
        group.add_argument("--cache-dtype", "-cd", **{**cache["dtype"], "choices": ["auto", "fp8"]})
        group.add_argument("--memory", "--device-memory", dest="memory", **cache["memory"])
        group.add_argument("--prefix-caching", **{**cache["prefix_caching"], "default": None})
        group.add_argument("--max-len", **cache["max_len"])
        group.add_argument("--nested", **cache["nested"])
        group.add_argument("--backend", **cache["backend"])
        group.add_argument("--lanes", type=int, default=UNSET)
        group.add_argument("--host-seed", type=int, default=cache_of(current_platform))
        group.add_argument("--old-blocks", type=int, default=EngineArgs.blocks, deprecated=True, help="Use --blocks.")
        group.add_argument("--older", action="store_true", help="Counts. This option is deprecated. Use --new instead.")
        group.add_argument("--allows", action="store_true", help="Whether deprecated things are allowed.")
        parallel = get_kwargs(ParallelConfig)
        parallel["backend"]["choices"].remove("passed_on")
        group.add_argument("--parallel-backend", **parallel["backend"])
        group.add_argument("--device", choices=["auto", current_platform.device_type], default=argparse.SUPPRESS)
        kernel = get_kwargs(KernelConfig)["name"]
        kernel["type"] = lambda s: s.lower()
        group.add_argument("--kernel", **kernel)
        return parser


def cache_of(platform):
    return platform.cache()
'''
CONFIG = '''
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional, get_args

from pydantic import Field, SkipValidation
from pydantic.dataclasses import dataclass

if TYPE_CHECKING:
    from elsewhere import Names
else:
    Names = Any

Size = Literal[16, 8, 32]
OldBackend = Literal["mp", "passed_on"]
Backend = Literal[OldBackend, "ray"]


def config(cls=None, **kwargs):
    def decorator(cls):
        return dataclass(cls, **kwargs)

    return decorator if cls is None else decorator(cls)


def get_attr_docs(cls):
    import inspect

    raise RuntimeError("this is not to be run")


class Kernel(Enum):
    TRITON = "triton"
    CPU = "cpu"


@config
class Nested:
    depth: int = 1


@config(frozen=True)
class CacheConfig:
    """The cache."""

    SMALL: ClassVar[int] = 16

    block_size: SkipValidation[Optional[Size]] = SMALL
    dtype: Size | str = "auto"
    memory: float = Field(default=0.9, gt=0, le=1)
    """A share of the memory."""
    prefix_caching: bool = True
    max_len: int = field(default=None)
    nested: Nested = field(default_factory=Nested)
    backend: Names | None = None


@config
class Parent:
    backend: Backend = "mp"


@config
class ParallelConfig(Parent):
    ranks: int = 1


@config
class KernelConfig:
    name: Kernel = Kernel.TRITON
'''
ENVS = """
import os

variables = {"STACK": lambda: bool(int(os.getenv("STACK", "1")))}


def __getattr__(name):
    if name in variables:
        return variables[name]()
    raise AttributeError(name)
"""
PLATFORMS = """
_platform = None


def __getattr__(name):
    global _platform
    while _platform is None:
        _platform = load()
    return _platform
"""
TREE = {
    "vllm/entrypoints/cli/serve.py": SERVE,
    "vllm/entrypoints/cli_args.py": CLI_ARGS,
    "vllm/engine/arg_utils.py": ARG_UTILS,
    "vllm/config/__init__.py": "from .all import *\nfrom .all import config, get_attr_docs\n",
    "vllm/config/all.py": CONFIG,
    "vllm/envs.py": ENVS,
    "vllm/platforms/__init__.py": PLATFORMS,
}


def read(folder: Path, **changes: str) -> dict[str, Flag]:
    """The flags of the tree; `arg_utils="x -> y"` changes that file first."""
    path = folder / "vllm-9.9-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for name, text in TREE.items():
            old, _, new = changes.get(Path(name).stem, "").partition(" -> ")
            assert old in text
            archive.writestr(name, text.replace(old, new) if old else text)
    with local_wheel(path) as wheel:
        return {flag.name: flag for flag in vllm_source.flags(wheel)}


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Flag]:
    return read(tmp_path_factory.mktemp("wheel"))


def test_the_flags_are_all_there_in_the_order_of_the_parser(flags: dict[str, Flag]) -> None:
    frontend = ["headless", "api_key", "origins", "port", "certificates", "stack"]
    cache = ["model", "block_size", "cache_dtype", "memory", "prefix_caching", "max_len", "nested", "backend"]
    rest = ["lanes", "host_seed", "old_blocks", "older", "allows", "parallel_backend", "device", "kernel"]
    assert list(flags) == [*frontend, *cache, *rest]


def test_the_name_is_what_vllm_calls_the_setting_and_the_long_spelling_is_the_first(flags: dict[str, Flag]) -> None:
    assert flags["memory"].spellings == ("--memory", "--device-memory")
    assert flags["cache_dtype"].spellings == ("--cache-dtype", "-cd")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("headless", FlagType.SWITCH),
        ("prefix_caching", FlagType.SWITCH),
        ("api_key", FlagType.TEXT),
        ("origins", FlagType.JSON),
        ("port", FlagType.INT),
        ("block_size", FlagType.INT),
        ("memory", FlagType.FLOAT),
        ("max_len", FlagType.TEXT),  # a number, or the word "auto"
        ("nested", FlagType.JSON),
        ("kernel", FlagType.TEXT),
        ("old_blocks", FlagType.INT),
    ],
)
def test_the_type_is_what_a_word_is_read_as(flags: dict[str, Flag], name: str, kind: FlagType) -> None:
    assert flags[name].type is kind


def test_only_a_two_way_switch_has_a_no_form(flags: dict[str, Flag]) -> None:
    assert flags["prefix_caching"].negatable
    assert not flags["headless"].negatable


def test_several_words_are_taken_where_the_parser_says_so_and_not_where_that_is_deleted(flags: dict[str, Flag]) -> None:
    assert flags["api_key"].many
    assert not flags["origins"].many


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("headless", False),
        ("origins", ["*"]),  # made by a lambda
        ("certificates", 0),  # a number of Python's own library
        ("stack", True),  # from the environment, which is empty
        ("block_size", 16),  # a constant of the class
        ("memory", 0.9),  # within pydantic's Field
        ("prefix_caching", None),  # laid over that of the class
        ("nested", {}),  # an object made of nothing
        ("old_blocks", 16),  # an attribute of an attribute's class
        ("kernel", "triton"),  # a member of an enumeration
        ("parallel_backend", "mp"),  # of the class above
        ("device", None),  # left out of what is parsed
    ],
)
def test_the_default_is_what_the_parser_has(flags: dict[str, Flag], name: str, default: object) -> None:
    assert flags[name].default == default
    assert flags[name].default_is_known


@pytest.mark.parametrize("name", ["host_seed", "lanes"])
def test_a_default_that_cannot_be_told_is_said_to_be_unknown(flags: dict[str, Flag], name: str) -> None:
    assert not flags[name].default_is_known
    assert flags[name].default is None


def test_choices_follow_names_and_changes(flags: dict[str, Flag]) -> None:
    assert flags["cache_dtype"].choices == ("auto", "fp8")
    assert flags["parallel_backend"].choices == ("mp", "ray")
    assert flags["device"].choices == ()  # one of them depends on the machine


def test_the_word_none_is_a_choice_only_where_it_is_taken(flags: dict[str, Flag], tmp_path: Path) -> None:
    assert flags["block_size"].choices == (8, 16, 32)
    newer = read(tmp_path, arg_utils='NONE_OF_CHOICES = "None" -> NONE_OF_CHOICES = None')
    assert newer["block_size"].choices == (8, 16, 32, "None")


def test_what_is_deprecated_says_what_to_use_instead(flags: dict[str, Flag]) -> None:
    said = {name: flag.deprecated for name, flag in flags.items() if flag.deprecated}
    assert said == {"old_blocks": "Use --blocks.", "older": "This option is deprecated. Use --new instead."}


@pytest.mark.parametrize(
    "change",
    [
        '"--kernel", **kernel -> "--kernel", **current_platform.kwargs()',
        'group.add_argument("--kernel" -> group.add_argument(current_platform.flag',
        '["choices"].remove("passed_on") -> ["choices"].remove("never_there")',
        "        kernel = get_kwargs ->         if current_platform.fast: pass\n        kernel = get_kwargs",
        '"--kernel", **kernel -> "--kernel", nargs=current_platform.words',
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_file_and_line(tmp_path: Path, change: str) -> None:
    with pytest.raises(CatalogError, match=r"vllm/engine/arg_utils\.py:\d+"):
        read(tmp_path, arg_utils=change)


def test_a_wheel_without_the_serve_command_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vllm-9.9-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("vllm/__init__.py", "")
    with local_wheel(path) as wheel, pytest.raises(CatalogError, match=r"no module vllm\.entrypoints\.cli\.serve"):
        vllm_source.flags(wheel)
