"""What rules may speak of: merged flags and the slot, as plain values by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from optuna_tuner.engines.argv import Flags, FlagValue
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory import facts
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.values import Json, Model, Scalar, Slot

# What rules may speak of beside flags. Those of the slot are filled in here, the others by who knows model and GPU.
FACTS: Mapping[str, str] = {
    "gpus": "GPUs of the slot; not known for a slot without",
    "device": "cuda, rocm or cpu; cuda where the slot has GPUs",
    "compute_capability": "of the GPU, times ten: 90 for Hopper",
    "model_heads": "attention (query) heads",
    "model_kv_heads": "key/value heads",
    "model_experts": "routed experts; 0 for a dense model",
    "model_uses_mla": "whether attention is multi-head latent attention",
    "model_is_encoder_decoder": "whether it has an encoder; taken as false where it is not known",
    "model_supports_pipeline": "whether the engine has pipeline parallelism for this model",
    "draft_predicts": "tokens that the draft model predicts at once (its n_predict)",
}
_NUMBER = re.compile(r"[+-]?(\d+|\d*\.\d+|\d+\.\d*)(e[+-]?\d+)?", re.IGNORECASE)
_ALMOST_A_NUMBER = re.compile(r"[+-]?\.?\d")


def model_facts(path: str) -> Mapping[str, Scalar]:
    """What rules may ask of a model; nothing where its config is not on this machine, or not wholly understood."""
    try:
        found = facts.read(path)
    except EnvironmentFaultError:
        return {}
    return told_by(found)


def told_by(found: ModelFacts) -> Mapping[str, Scalar]:
    """The same of a model whose config was read."""
    if found.doubts or not found.heads:
        return {}
    return {
        "model_heads": found.heads,
        "model_kv_heads": found.kv_heads,
        "model_experts": found.experts,
        "model_uses_mla": found.is_mla,
    }


def known_values(model: Model, flags: Flags, slot: Slot) -> dict[str, Scalar]:
    """The values of these flags, what is known of the model, and the slot's GPUs where it has some.

    A member of an object is named `flag__member`, however it was given: as an object, as JSON text, or dotted. What
    cannot be told for certain is left out: lists, numbers with a unit (`8k`), and an object beside dotted members.
    """
    known = dict(model.facts)
    for name, value in flags.items():
        if not _is_overlaid(name, flags):
            known.update(_named(name.replace(".", "__"), _opened(value)))
    if slot.gpus:
        known |= {"gpus": len(slot.gpus), "device": "cuda"}  # a slot's GPUs are found by NVIDIA's library
    return known


def _is_overlaid(name: str, flags: Flags) -> bool:
    """Whether an object is given both as a whole and by dotted members: which of both wins is the engine's affair."""
    whole = name.partition(".")[0]
    return whole in flags and any(other.startswith(f"{whole}.") for other in flags)


def _opened(value: FlagValue) -> Json | FlagValue:
    """JSON text as the object that it stands for."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            read: Json = json.loads(value)
        except ValueError:
            return value
        return read
    return value


def _named(name: str, value: Json | FlagValue) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for member, inner in value.items():
            yield from _named(f"{name}__{member.replace('-', '_')}", inner)
    elif isinstance(value, bool | int | float):
        yield name, value
    elif isinstance(value, str):
        yield from ((name, plain) for plain in _plain(value))


def _plain(text: str) -> Iterator[Scalar]:
    """Text as itself, a number as a number, and nothing for what only begins like one."""
    if _NUMBER.fullmatch(text):
        yield int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    elif not _ALMOST_A_NUMBER.match(text):
        yield text
