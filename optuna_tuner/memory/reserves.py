"""What each version of each engine keeps for itself beside weights and KV cache, from reserves.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeVar, cast

from optuna_tuner.own_data import read_yaml
from optuna_tuner.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmReserve:
    """vLLM's. The fields are told in reserves.yaml."""

    since: str
    memory_fraction: float
    graphs_counted: bool
    context_gib: float
    group_gib: float
    sampler_bytes: float
    widest_copies: float
    hidden_copies: float
    graph_gib: float
    error: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SglangReserve:
    """SGLang's. The fields are told in reserves.yaml."""

    since: str
    steps: tuple[tuple[float, int, int, int], ...]
    prefill_graphs: bool
    context_gib: float
    group_gib: float
    error_gib: float
    source: str


Reserve = TypeVar("Reserve", VllmReserve, SglangReserve)


@cache
def vllm_reserve(version: str) -> VllmReserve:
    """Of this version of vLLM; of the newest one for an empty text."""
    return _of(_table()[0], version)


@cache
def sglang_reserve(version: str) -> SglangReserve:
    """Of this version of SGLang; of the newest one for an empty text."""
    return _of(_table()[1], version)


def oldest(engine: str) -> str:
    """The oldest version that the model was made for."""
    vllm, sglang = _table()
    return vllm[0].since if engine == "vllm" else sglang[0].since


def release(version: str) -> tuple[int, ...]:
    """`0.5.10.post1` as numbers that can be compared: (0, 5, 10). Empty where there are none."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    return tuple(map(int, found[1].split("."))) if found else ()


def _of(entries: tuple[Reserve, ...], version: str) -> Reserve:
    asked = release(version)
    if not asked:
        return entries[-1]
    return next((entry for entry in reversed(entries) if release(entry.since) <= asked), entries[0])


@cache
def _table() -> tuple[tuple[VllmReserve, ...], tuple[SglangReserve, ...]]:
    source = files("optuna_tuner.memory").joinpath("data/reserves.yaml").read_text(encoding="utf-8")
    found = cast("dict[str, list[dict[str, Json]]]", read_yaml(source))
    vllm = tuple(VllmReserve(**entry) for entry in found["vllm"])  # type: ignore[arg-type]  # checked by a test
    sglang = tuple(
        SglangReserve(**{**entry, "steps": tuple(map(tuple, entry["steps"]))})  # type: ignore[arg-type]  # likewise
        for entry in found["sglang"]
    )
    return vllm, sglang
