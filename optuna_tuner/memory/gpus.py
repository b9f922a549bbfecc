"""GPUs that the memory model knows, from gpus.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import cast

from optuna_tuner.errors import NotFoundError
from optuna_tuner.own_data import read_yaml
from optuna_tuner.values import Json

MIB = 1 << 20
GIB = 1 << 30
SAME_MEMORY = 0.02  # what drivers reserve differs a little


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One kind of GPU.

    Attributes:
        name: as users write it.
        memory: bytes in all, as nvidia-smi reports them.
        usable: bytes in all, as CUDA reports them to a process; what an engine takes its share of.
        capability: CUDA compute capability, such as "9.0".
        bandwidth: of its memory, in bytes a second.
        source: where the numbers are from.

    """

    name: str
    memory: int
    usable: int
    capability: str
    bandwidth: float
    source: str


def gpu(name: str) -> Gpu:
    """The GPU of this name, whatever its case, blanks and dashes. Raises NotFoundError, which names the known ones."""
    found = _by_plain_name().get(_plain(name))
    if found is None:
        raise NotFoundError(f'the memory model does not know the GPU "{name}"; known: {", ".join(known())}')
    return found


def told_by_nvml(name: str, memory_mib: int) -> Gpu | None:
    """The GPU that NVML calls so; None for one that is not known, or has another memory than the known one.

    NVML says more than the name, such as "NVIDIA H100 80GB HBM3".
    """
    words = set(re.split(r"[^A-Z0-9]+", name.upper()))
    fits = (each for each in _table().values() if abs(each.memory / MIB / memory_mib - 1) < SAME_MEMORY)
    return next((each for each in fits if set(each.name.upper().split()) <= words), None)


def known() -> tuple[str, ...]:
    """The names of all known GPUs."""
    return tuple(_table())


@cache
def _table() -> Mapping[str, Gpu]:
    source = files("optuna_tuner.memory").joinpath("data/gpus.yaml").read_text(encoding="utf-8")
    found = cast("dict[str, dict[str, Json]]", read_yaml(source))
    return MappingProxyType({name: _gpu(name, entry) for name, entry in found.items()})


def _gpu(name: str, entry: Mapping[str, Json]) -> Gpu:
    return Gpu(
        name=name,
        memory=int(float(str(entry["memory_mib"])) * MIB),
        usable=int(float(str(entry["usable_gib"])) * GIB),
        capability=str(entry["capability"]),
        bandwidth=float(str(entry["bandwidth_gb_s"])) * 1e9,
        source=str(entry["source"]),
    )


@cache
def _by_plain_name() -> Mapping[str, Gpu]:
    return {_plain(name): each for name, each in _table().items()}


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower().removeprefix("nvidia") if letter.isalnum())
