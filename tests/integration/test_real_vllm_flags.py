"""The flags that are read off vLLM's source, and those of the tiers, against a vLLM that is installed.

OPTUNA_TUNER_TEST_VLLM names its Python, or the `vllm` beside it. tests/lanes/vllm-flags.sh gets one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Flag
from optuna_tuner.catalog.scan import vllm_source
from optuna_tuner.catalog.wheels.wheel import local_wheel
from optuna_tuner.engines.vllm import spelling
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.presets.resolving import Setup, resolve
from optuna_tuner.presets.shelf import preset_text
from optuna_tuner.presets.tiers import NEUTRAL, OPT_IN
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.space import Choice, Parameter, Switch
from optuna_tuner.values import Scalar

VLLM = os.environ.get("OPTUNA_TUNER_TEST_VLLM", "")
ASKS = Path(__file__).parents[1] / "material" / "vllm" / "real_parser.py"
OF_THE_PLATFORM = {("mm_processor_device", "choices")}  # "cuda" is one of them where there is CUDA
VERSION = "import importlib.metadata as m; print(m.version('vllm').partition('+')[0])"
WRONG = ("model", "--kv-cache-dtype", "fp7")
COMPARED = ("name", "spellings", "type", "many", "choices", "default", "negatable")

pytestmark = [
    pytest.mark.skipif(not VLLM, reason="OPTUNA_TUNER_TEST_VLLM names no vLLM"),
    pytest.mark.timeout(600),  # importing vLLM takes a minute on a loaded machine
]


@dataclass(frozen=True)
class Real:
    version: str
    folder: Path
    arguments: Mapping[str, Mapping[str, Any]]
    refusals: Mapping[tuple[str, ...], str]  # by the command line, for those that the parser does not take


def of_the_tiers(version: str) -> Iterator[tuple[str, Scalar]]:
    """Every flag of every tier and of the preset for CPUs, with each of its values; of a range both ends."""
    facts: dict[str, Scalar] = {"model_heads": 32, "model_kv_heads": 4, "model_experts": 128, "model_uses_mla": False}
    tiers = resolve(Setup(engine="vllm", version=version, gpus=8, model=facts), OPT_IN, NEUTRAL).parameters
    cpu = parse_study(preset_text("vllm_cpu"), "vllm_cpu.yaml", InstalledKinds()).space
    for flag, parameter in [*tiers.items(), *cpu.items()]:
        yield from ((flag, value) for value in _values(parameter) if not parameter.env)


def _values(parameter: Parameter) -> Sequence[Scalar]:
    return parameter.values() if isinstance(parameter, Choice | Switch) else (parameter.low, parameter.high)


def command_line(flag: str, value: Scalar, version: str) -> tuple[str, ...]:
    return ("model", *spelling(version).argv({flag: value}))


@pytest.fixture(scope="module")
def real() -> Real:
    python = Path(VLLM) if Path(VLLM).name.startswith("python") else Path(VLLM).with_name("python")
    version = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True).stdout.strip()
    lines = [command_line(*each, version) for each in of_the_tiers(version)] + [WRONG]
    asked = json.dumps(lines)
    ran = subprocess.run([python, ASKS], input=asked, capture_output=True, text=True, check=True, timeout=500)
    found = json.loads(ran.stdout.splitlines()[-1])
    return Real(
        version=shelf.plain_version(found["version"]),
        folder=Path(found["folder"]),
        arguments={each["spellings"][0]: each for each in found["arguments"]},
        refusals={line: said for line, said in zip(lines, found["refusals"], strict=True) if said is not None},
    )


def differences(flags: Iterable[Flag], real: Real) -> list[tuple[str, str, object, object]]:
    """Flag, field, what is read, what the parser has."""
    read = {flag.spellings[0]: json.loads(json.dumps(asdict(flag))) for flag in flags}
    assert set(read) == set(real.arguments)
    return [
        (name, field, read[name][field], argument[field])
        for name, argument in real.arguments.items()
        for field in COMPARED
        if not _same(read[name], argument, field) and (argument["name"], field) not in OF_THE_PLATFORM
    ]


def _same(read: Mapping[str, Any], argument: Mapping[str, Any], field: str) -> bool:
    if field == "default" and not read["default_is_known"]:
        return False
    if field == "choices" and argument["type"] == "switch":
        return True
    return bool(read[field] == argument[field]) and type(read[field]) is type(argument[field])


def test_the_installed_source_is_read_as_its_own_parser_has_it(real: Real, tmp_path: Path) -> None:
    path = tmp_path / f"vllm-{real.version}-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for file in real.folder.rglob("*.py"):
            archive.write(file, file.relative_to(real.folder.parent))
    with local_wheel(path) as wheel:
        assert differences(vllm_source.flags(wheel), real) == []


def test_the_catalogue_of_that_version_says_what_the_parser_has(real: Real) -> None:
    assert differences(shelf.load("vllm", real.version).flags, real) == []


def test_the_parser_takes_every_flag_of_the_tiers_with_each_of_its_values(real: Real) -> None:
    assert len(set(of_the_tiers(real.version))) > 40
    assert set(real.refusals) == {WRONG}
    assert "invalid choice" in real.refusals[WRONG]
