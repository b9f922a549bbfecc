"""ClusterBaseModels and ClusterServingRuntimes that come with the package: data files, each held against `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from optuna_tuner.deployers.kubernetes_parts import STRICT
from optuna_tuner.deployers.kubernetes_words import Subdomain
from optuna_tuner.deployers.ome.shapes import problems
from optuna_tuner.own_data import read_yaml
from optuna_tuner.spec.misfits import refuse

_SUFFIX = ".yaml"


class Preset(BaseModel):
    """One of them."""

    model_config = STRICT

    kind: Literal["ClusterBaseModel", "ClusterServingRuntime"] = Field(description="What it is to OME.")
    name: Subdomain = Field(description="Of the object, where a study gives it no other.")
    summary: str = Field(alias="is", description="What it is, for people.")
    engine: str = Field(default="", description="The engine that its image holds.")
    spec: Mapping[str, JsonValue] = Field(description="As OME takes it.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        refuse(problems(self.kind, self.spec))
        return self


def names(kind: str = "") -> tuple[str, ...]:
    """All presets, or those of one kind, sorted."""
    found = (each.name.removesuffix(_SUFFIX) for each in _folder().iterdir() if each.name.endswith(_SUFFIX))
    return tuple(sorted(name for name in found if kind in {"", load(name).kind}))


@cache
def load(name: str) -> Preset:
    """One preset, by a name of `names`."""
    return Preset.model_validate(read_yaml(_folder().joinpath(f"{name}{_SUFFIX}").read_text(encoding="utf-8")))


_folder = cache(lambda: files("optuna_tuner.deployers.ome") / "preset_files")
