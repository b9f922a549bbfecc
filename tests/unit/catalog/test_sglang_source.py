from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from zipfile import ZipFile

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Flag, FlagType
from optuna_tuner.catalog.scan.sglang_source import flags
from optuna_tuner.catalog.wheels.wheel import Wheel
from optuna_tuner.errors import CatalogError

HEAD = """
import argparse, dataclasses, json
from sglang.srt.choices import BACKENDS, Mode
from sglang.srt.actions import Gone, Moved, MovedSwitch
"""
CHOICES = """
from enum import IntEnum
BACKENDS = ["fast", "slow"]
BACKENDS += ["odd"]
add_backend_choices = BACKENDS.extend
class Mode(IntEnum):
    NONE = 0
    ALL = 1
"""
ACTIONS = """
import argparse
class Gone(argparse.Action):
    def __init__(self, option_strings, dest, nargs=0, **kwargs): ...
    def __call__(self, parser, namespace, values, option_string=None):
        raise ValueError(self.help)
class DeprecatedAliasStoreAction(argparse.Action):
    def __init__(self, option_strings, dest, new_flag=None, **kwargs): ...
    def __call__(self, parser, namespace, values, option_string=None): ...
class DeprecatedStoreTrueAction(argparse.Action):
    def __init__(self, option_strings, dest, new_flag=None, nargs=0, const=True, default=False, **kwargs): ...
    def __call__(self, parser, namespace, values, option_string=None): ...
Moved, MovedSwitch = DeprecatedAliasStoreAction, DeprecatedStoreTrueAction
"""


def wheel(server_args: str, **more: str) -> Wheel:
    made = BytesIO()
    with ZipFile(made, "w") as archive:
        archive.writestr("sglang/srt/server_args.py", server_args)
        archive.writestr("sglang/srt/choices.py", CHOICES)
        archive.writestr("sglang/srt/actions.py", ACTIONS)
        for name, text in more.items():
            archive.writestr(f"sglang/srt/{name}.py", text)
    return Wheel(project="sglang", version="1", source={"wheel": "sglang-1.whl"}, archive=ZipFile(made))


def read(fields: str, body: str, head: str = HEAD) -> Mapping[str, Flag]:
    indented = "\n".join(f"        {line}" for line in body.strip().splitlines())
    inner = "\n".join(f"    {line}" for line in fields.strip().splitlines())
    text = f"{head}\nclass ServerArgs:\n{inner}\n    @staticmethod\n    def add_cli_args(parser):\n{indented}\n"
    return {flag.name: flag for flag in flags(wheel(text))}


def test_a_flag_said_to_argparse_has_its_type_its_choices_and_the_default_of_its_setting() -> None:
    found = read(
        "backend: str = 'fast'\nsize: int = 4 * 1024",
        """
parser.add_argument("--backend", type=str, choices=["auto"] + BACKENDS, default=ServerArgs.backend)
parser.add_argument("--size", type=int, default=ServerArgs.size, nargs="+")
parser.add_argument("--on", action="store_true")
parser.add_argument("--both", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--mode", choices=[m.name.lower() for m in Mode])
""",
    )
    assert found["backend"].default == "fast"
    assert found["size"] == Flag(name="size", spellings=("--size",), type=FlagType.INT, many=True, default=4096)
    assert found["on"] == Flag(name="on", spellings=("--on",), type=FlagType.SWITCH, default=False)
    assert found["both"].negatable
    assert found["mode"].choices == ("none", "all")


def test_a_list_that_is_added_to_further_down_is_not_read_as_if_it_were_not() -> None:
    with pytest.raises(CatalogError, match=r"server_args\.py:\d+: the choices of --backend cannot be read"):
        read("", 'parser.add_argument("--backend", choices=BACKENDS)', HEAD + "if True:\n    BACKENDS = []\n")


def test_what_only_running_would_tell_is_said_not_to_be_known() -> None:
    found = read("seed: int = compute()", 'parser.add_argument("--seed", type=int, default=ServerArgs.seed)')
    assert found["seed"].default is None
    assert not found["seed"].default_is_known


def test_the_canonical_name_is_that_of_the_setting_also_where_the_first_spelling_is_another() -> None:
    found = read("tp_size: int = 1", 'parser.add_argument("--tensor-parallel-size", "--tp-size", type=int)')
    assert found["tp_size"].spellings == ("--tensor-parallel-size", "--tp-size")


def test_a_deprecated_alias_names_what_takes_its_value_and_does_not_hide_it() -> None:
    found = read(
        "max_bs: int = 8",
        """
parser.add_argument("--max-bs", type=int, default=ServerArgs.max_bs)
parser.add_argument("--old-bs", type=int, dest="max_bs", action=DeprecatedAliasStoreAction, new_flag="--max-bs")
parser.add_argument("--quiet", action=DeprecatedStoreTrueAction, new_flag="--log-level {x}")
""",
        HEAD.replace("Gone, Moved, MovedSwitch", "DeprecatedAliasStoreAction, DeprecatedStoreTrueAction"),
    )
    assert (found["old_bs"].renamed_to, found["old_bs"].deprecated) == ("max_bs", "use --max-bs")
    assert found["max_bs"].default == 8
    assert (found["quiet"].type, found["quiet"].default) == (FlagType.SWITCH, False)
    assert found["quiet"].renamed_to == "", "a switch is no log level"


def test_a_flag_that_the_parser_knows_only_to_refuse_it_is_no_flag() -> None:
    assert "old" not in read("", 'parser.add_argument("--old", action=Gone, help="use --new")')


@pytest.mark.parametrize(
    "body", ["add_more(parser)", "if fast:\n    parser.add_argument('--x')", "parser.add_argument('--x', **more)"]
)
def test_a_way_to_add_flags_that_is_not_understood_is_refused_with_file_and_line(body: str) -> None:
    with pytest.raises(CatalogError, match=r"sglang/srt/server_args\.py:\d+"):
        read("", body)


FIELDS = """
from typing import Annotated as A, List, Literal, Optional
from sglang.srt.arg_utils import Arg, add_cli_args_from_dataclass
from sglang.srt.choices import BACKENDS
def to_bytes(text) -> int: ...
"""


def test_fields_become_flags_as_their_types_say() -> None:
    found = read(
        """
name: A[str, Arg(help="The name.", aliases=["--called"])]
rate: A[Optional[float], "How fast."] = None
sizes: A[Optional[List[int]], "Which sizes."] = None
kind: A[Literal["a", "b"], "Which kind."] = "a"
fp8_runner: A[str, Arg(help="Which.", cli_name="--fp8", choices=BACKENDS)] = "fast"
room: A[Optional[int], Arg(help="How much.", type_parser=to_bytes)] = None
on: A[Optional[bool], "Whether."] = None
hidden: A[int, Arg(help="No.", no_cli=True)] = 1
plain: int = 1
""",
        "add_cli_args_from_dataclass(parser, ServerArgs)",
        FIELDS,
    )
    assert list(found) == ["name", "rate", "sizes", "kind", "fp8_runner", "room", "on"]
    assert found["name"].spellings == ("--name", "--called")
    assert (found["rate"].type, found["room"].type, found["on"].type) == ("float", "int", "switch")
    assert (found["sizes"].type, found["sizes"].many) == ("int", True)
    assert (found["kind"].choices, found["kind"].default) == (("a", "b"), "a")
    assert (found["fp8_runner"].spellings, found["fp8_runner"].choices) == (("--fp8",), ("fast", "slow", "odd"))


def test_a_wheel_without_server_arguments_is_refused() -> None:
    with pytest.raises(CatalogError, match=r"no ServerArgs\.add_cli_args"):
        flags(wheel("class Other: ..."))


# What was counted by hand in the released wheels. Y: there, D: deprecated, -: not there, or there only to be refused.
VERSIONS = (
    "0.5.3",
    "0.5.6",
    "0.5.8.post1",
    "0.5.10.post1",
    "0.5.12.post1",
    "0.5.14",
    "0.5.16",
    "0.5.18",
    "0.5.20",
    "0.5.22",
    "0.5.23",
)
LIFETIMES = {
    "--attn-dp-size": "---------YY",
    "--enable-dp-attention": "YYYYYYYYYDD",
    "--attn-cp-size": "---YYYYYYYY",
    "--enable-dynamic-chunking": "--YYYYYYYYY",
    "--prefill-max-requests": "--YYYYYYYYY",
    "--cuda-graph-max-bs": "YYYYYDDD---",
    "--cuda-graph-max-bs-decode": "-----YYYYYY",
    "--cuda-graph-bs": "YYYYYDDD---",
    "--cuda-graph-config": "-----YYYYYY",
    "--cuda-graph-backend-decode": "-----YYYYYY",
    "--cuda-graph-backend-prefill": "-----YYYYYY",
    "--disable-cuda-graph": "YYYYYDDDDDD",
    "--enable-piecewise-cuda-graph": "-YYDD------",
    "--disable-piecewise-cuda-graph": "---YYDDD---",
    "--prefill-attention-backend": "YYYYYYYYYYY",
    "--radix-eviction-policy": "YYYYYYYYYYY",
    "--moe-runner-backend": "YYYYYYYYYYY",
    "--moe-a2a-backend": "YYYYYYYYYYY",
    "--enable-ep-moe": "-----------",
    "--enable-deepep-moe": "-----------",
    "--flashinfer-allreduce-fusion-backend": "-----YYYYYY",
    "--speculative-adaptive": "----YYYYYYY",
    "--enable-prefill-delayer": "--YYYYYYYYY",
    "--retraction-policy": "------YYYYY",
    "--min-free-slots-delay": "------YYYYY",
    "--fp8-gemm-backend": "--YYYYYYYYY",
    "--enable-cuda-graph": "-----------",
}
ALWAYS = [
    "tp-size",
    "dp-size",
    "ep-size",
    "pp-size",
    "mem-fraction-static",
    "max-running-requests",
    "max-total-tokens",
    "chunked-prefill-size",
    "max-prefill-tokens",
    "schedule-policy",
    "schedule-conservativeness",
    "page-size",
    "disable-cuda-graph-padding",
    "attention-backend",
    "sampling-backend",
    "kv-cache-dtype",
    "quantization",
    "enable-torch-compile",
    "torch-compile-max-bs",
    "enable-mixed-chunk",
    "num-continuous-decode-steps",
    "stream-interval",
    "disable-radix-cache",
    "disable-overlap-schedule",
    "disable-custom-all-reduce",
    "enable-nccl-nvls",
    "moe-dense-tp-size",
    "speculative-algorithm",
    "speculative-num-steps",
    "speculative-eagle-topk",
    "speculative-num-draft-tokens",
    "enable-hierarchical-cache",
    "hicache-ratio",
    "hicache-size",
    "triton-attention-num-kv-splits",
    "load-balance-method",
]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_released_versions_have_the_flags_that_were_counted_in_them(version: str) -> None:
    catalogue, column = shelf.load("sglang", version), VERSIONS.index(version)
    stands = {flag: _state(catalogue.find(flag)) for flag in LIFETIMES}
    assert stands == {flag: states[column] for flag, states in LIFETIMES.items()}


@pytest.mark.parametrize("version", shelf.versions("sglang"))
def test_every_released_version_has_the_flags_that_all_have(version: str) -> None:
    catalogue = shelf.load("sglang", version)
    assert [name for name in ALWAYS if catalogue.find(name) is None] == []
    assert len({flag.name for flag in catalogue.flags}) == len(catalogue.flags)
    spellings = [each for flag in catalogue.flags for each in flag.spellings]
    assert len(set(spellings)) == len(spellings)


@pytest.mark.parametrize(
    ("version", "count"), [("0.5.3", 254), ("0.5.6", 296), ("0.5.12.post1", 399), ("0.5.18", 503), ("0.5.23", 547)]
)
def test_there_are_about_as_many_spellings_as_were_counted(version: str, count: int) -> None:
    spellings = sum(len(flag.spellings) for flag in shelf.load("sglang", version).flags)
    assert abs(spellings - count) <= 0.07 * count


def test_the_choices_of_a_version_are_its_own() -> None:
    old, new = (shelf.load("sglang", version).by_name["schedule_policy"] for version in ("0.5.6", "0.5.23"))
    assert set(old.choices) == {"lpm", "random", "fcfs", "dfs-weight", "lof", "priority"}
    assert set(new.choices) - set(old.choices) == {"routing-key", "hrrn", "shortest-prefill-first"}
    kv = [shelf.load("sglang", version).by_name["kv_cache_dtype"].choices for version in ("0.5.6", "0.5.23")]
    assert set(kv[1]) - set(kv[0]) == {"mxfp8", "nvfp4", "fp4_mx_block16"}


def _state(flag: Flag | None) -> str:
    if flag is None:
        return "-"
    return "D" if flag.deprecated else "Y"
