"""What a launch and its measurement come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from optuna_tuner.errors import NotFoundError
from optuna_tuner.memory.layout import Settings
from optuna_tuner.simulation import sglang_server, vllm_server
from optuna_tuner.simulation.flags import Flags
from optuna_tuner.simulation.levels import Group, Level
from optuna_tuner.simulation.place import FAREWELL_S, Place
from optuna_tuner.simulation.server import Refusal, Server
from optuna_tuner.simulation.steps import Steps
from optuna_tuner.simulation.traffic import Traffic
from optuna_tuner.values import Cause, Scalar

Resolve = Callable[[Place, Flags], Server | Refusal]
_ENGINES: Mapping[str, tuple[Resolve, frozenset[str]]] = {
    "sglang": (sglang_server.sglang_server, sglang_server.KNOWN),
    "vllm": (vllm_server.vllm_server, vllm_server.KNOWN),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one configuration, without noise.

    Attributes:
        cause: why it does not serve; None where it does. What a constraint makes of the levels is not its matter.
        why: the same in words; empty where it serves.
        start_s: seconds from the launch to the first answer, or to the failure.
        levels: one for each load level of the traffic, in their order; empty where it does not serve.

    """

    cause: Cause | None = None
    why: str = ""
    start_s: float
    levels: tuple[Level, ...] = ()

    @property
    def seconds(self) -> float:
        """Of the whole trial."""
        return self.start_s + sum(each.seconds for each in self.levels) + FAREWELL_S


def known_flags(engine: str) -> frozenset[str]:
    """The flags that make a difference to the simulation. Raises NotFoundError for an engine that it does not know."""
    if engine not in _ENGINES:
        raise NotFoundError(f'the simulation does not know the engine "{engine}"; known: {", ".join(_ENGINES)}')
    return _ENGINES[engine][1]


def resolved(engine: str, place: Place, flags: Mapping[str, Scalar]) -> Server | Refusal:
    """The server that these flags give, or why there is none. Pure and deterministic.

    Raises NotFoundError for an engine that the simulation does not know, ValueError for a flag that it does not know,
    TypeError for a value of another sort.
    """
    unknown = sorted(flags.keys() - known_flags(engine))
    if unknown:
        raise ValueError(f"the simulation of {engine} does not know the flag {unknown[0]}")
    return _ENGINES[engine][0](place, Flags(flags))


def steps_of(place: Place, server: Server, flags: Mapping[str, Scalar]) -> Steps:
    """How long the steps of this server take, which these flags gave."""
    shape = place.shape(Settings(quantization=str(flags.get("quantization", ""))))
    return Steps(place.accelerator, shape, server)


def outcome(engine: str, place: Place, traffic: Traffic, flags: Mapping[str, Scalar]) -> Outcome:
    """What these flags come to. Pure and deterministic. Raises as `resolved` does."""
    found = resolved(engine, place, flags)
    if isinstance(found, Refusal):
        return Outcome(cause=found.cause, why=found.why, start_s=found.seconds)
    group = Group(steps_of(place, found, flags), found, traffic)
    return Outcome(start_s=found.start_s, levels=tuple(map(group.level, traffic.levels)))
