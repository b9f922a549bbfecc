"""What is worth searching, as data: the flags of each engine in tiers, and the same things in every engine's words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from optuna_tuner.own_data import read_yaml
from optuna_tuner.spec.space import Parameter
from optuna_tuner.values import Scalar

ALWAYS, MANY_TRIALS, OPT_IN = 1, 2, 3
TIERS: Mapping[int, str] = {
    ALWAYS: "the flags that nearly always matter",
    MANY_TRIALS: "more flags, for 40 trials and more",
    OPT_IN: "also what changes the answers, or is not for every GPU and model",
}
_SUFFIX = ".yaml"

Spends = Literal["", "gpus", "beside tensor", "within tensor", "several gpus"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Strict):
    """One thing to search. `ways` are its flags, with their values: names of newer versions first.

    Attributes:
        spends: what it needs GPUs for. "gpus": as many as its value says. "beside tensor": twice those that share each
            layer; it is searched where they are enough, and one such thing at a time. "within tensor": a part of those
            that share each layer; it is searched where all of them do. "several gpus": more than one.
        experts: whether it is for models with routed experts only.

    """

    is_: str = Field(alias="is")
    tier: int = Field(default=ALWAYS, ge=ALWAYS, le=OPT_IN)
    spends: Spends = ""
    experts: bool = False
    ways: Mapping[str, Parameter] = Field(min_length=1)


class Known(_Strict):
    """A configuration that somebody has published, to be tried first."""

    is_: str = Field(alias="is")
    source: str
    sets: Mapping[str, Scalar] = Field(min_length=1)


class Tiers(_Strict):
    """All that is worth searching in one engine, and the part of a study file that is the engine's own."""

    is_: str = Field(alias="is")
    frame: str
    default_model: str
    parameters: tuple[Item, ...]
    first: tuple[Known, ...] = ()


class Neutral(_Strict):
    """The same thing in several engines: its flag in each, and its values in the words that most of them use."""

    is_: str = Field(alias="is")
    spends: Spends = ""
    experts: bool = False
    values: tuple[Scalar, ...] = Field(min_length=2)
    flags: Mapping[str, str]
    switches: tuple[str, ...] = ()  # engines whose flag is only on or off
    words: Mapping[str, Mapping[Scalar, Scalar]] = Field(default_factory=dict)

    def item(self, engine: str) -> Item:
        """What it is in one engine. Raises KeyError where the engine has nothing of the kind."""
        own = self.words.get(engine, {})
        choices = [own.get(value, value) for value in self.values]
        domain = {"type": "switch"} if engine in self.switches else {"type": "choice", "choices": choices}
        return Item.model_validate(
            {
                "is": self.is_,
                "tier": OPT_IN,
                "spends": self.spends,
                "experts": self.experts,
                "ways": {self.flags[engine]: domain},
            }
        )


class _Neutrals(_Strict):
    parallelism: Mapping[str, Neutral]
    quantization: Mapping[str, Neutral]


NEUTRAL = tuple(_Neutrals.model_fields)


def engines() -> tuple[str, ...]:
    """The engines that have tiers, sorted."""
    return tuple(sorted(entry.name.removesuffix(_SUFFIX) for entry in _folder("tiers").iterdir()))


@cache
def tiers_of(engine: str) -> Tiers:
    """The tiers of one engine. Raises FileNotFoundError for one that has none."""
    return Tiers.model_validate(read_yaml((_folder("tiers") / f"{engine}{_SUFFIX}").read_text(encoding="utf-8")))


@cache
def neutrals(name: str) -> Mapping[str, Neutral]:
    """What `parallelism` or `quantization` consists of, by names that belong to no engine."""
    read = _Neutrals.model_validate(read_yaml(_folder(f"neutral{_SUFFIX}").read_text(encoding="utf-8")))
    found: Mapping[str, Neutral] = getattr(read, name)
    return found


def tensor_flag(engine: str) -> str:
    """The flag for how many GPUs share each layer; empty where an engine has none."""
    return neutrals("parallelism")["tensor"].flags.get(engine, "")


def _folder(name: str) -> Traversable:
    return files("optuna_tuner.presets") / name
