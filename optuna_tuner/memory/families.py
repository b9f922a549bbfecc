"""How a model family differs from LLaMA's decoder: read from families.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import cast

from optuna_tuner.memory.config import Config, truth
from optuna_tuner.own_data import read_yaml
from optuna_tuner.values import Json


@dataclass(frozen=True, slots=True)
class Family:
    """One family. A switch is a truth value, or the key of the config that holds it."""

    known: bool = True
    qkv_bias: bool | str = False
    o_bias: bool | str = False
    mlp_bias: bool | str = False
    qk_norm: str = ""
    norms: int = 2
    norm_bias: bool = False
    gated: bool = True
    out_gate: bool = False
    sinks: bool = False
    shared_gate: bool = False
    router_bias: bool = False
    expert_bias: bool = False
    parallel: bool = False
    tied: bool = False
    window_every: int = 0
    window: str = ""


def family(model_type: str) -> Family:
    """The family of this model type; one like LLaMA, `known` False, where there is none."""
    return _families().get(model_type, Family(known=False))


def holds(config: Config, switch: bool | str) -> bool:  # noqa: FBT001  the switch is the value that is asked about
    """Whether a family's switch is on in this config."""
    return truth(config, switch) if isinstance(switch, str) else switch


@cache
def _families() -> dict[str, Family]:
    source = files("optuna_tuner.memory").joinpath("data/families.yaml").read_text(encoding="utf-8")
    found = cast("dict[str, dict[str, Json]]", read_yaml(source))
    return {name: Family(**traits) for name, traits in found.items()}  # type: ignore[arg-type]  # checked by a test
