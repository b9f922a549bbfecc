"""A server that is none: the model of vLLM or SGLang behind real HTTP, for rehearsals without a GPU.

    python -m optuna_tuner.simulation.serve '{"like": "vllm", "gpu": "L40S", ...}' MODEL --host 127.0.0.1 --port 8000

The first argument is a `Setting` as JSON; all others are the true engine's. It reads these with the catalogue of the
engine's version, works out the server that they give, and streams tokens when the steps of that server would end.
Where they give none, it ends with the engine's own last lines and exit code. No figure of it was measured on a GPU.
"""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from optuna_tuner.catalog import shelf
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory import facts
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.simulation import engine_log
from optuna_tuner.simulation.accelerators import accelerator
from optuna_tuner.simulation.arguments import Asked, read, refuse
from optuna_tuner.simulation.batch import Replica
from optuna_tuner.simulation.clockwork import Servers
from optuna_tuner.simulation.engine_log import say
from optuna_tuner.simulation.outcome import resolved, steps_of
from optuna_tuner.simulation.place import Place
from optuna_tuner.simulation.server import Refusal, Server
from optuna_tuner.simulation.serving import Serving, SimulatedConnection
from optuna_tuner.values import Cause, Json, Scalar
from optuna_tuner.wire.completions import Phrases
from optuna_tuner.wire.exact_loop import exact_loop

CONTEXT = 8192  # tokens, of a model whose config does not say its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is simulated: `gpus` of the kind `gpu` under the engine `like`.

    `config` is the model's config.json; without one, it is read where the model is. `startup_s` is the time of a start,
    which would take minutes.
    """

    like: str
    version: str
    gpu: str
    gpus: int
    startup_s: float
    config: Mapping[str, Json] | None = None

    @property
    def title(self) -> str:
        """Whose model this is."""
        return f"{self.like} {self.version} on {self.gpus} x {self.gpu}"

    def place(self, model: str, length: int) -> Place:
        """Where it would run; `length` is the longest sequence that was asked for, 0 for the model's own.

        Raises EnvironmentFaultError where the model's config is not known.
        """
        found = self.facts(model)
        return Place(
            version=self.version,
            accelerator=accelerator(self.gpu),
            gpus=self.gpus,
            facts=found,
            max_model_len=length or found.context or CONTEXT,
            patience_s=math.inf,
        )

    def facts(self, model: str) -> ModelFacts:
        """What is known of the model. Raises EnvironmentFaultError where its config is not on this machine."""
        return facts.of(self.config) if self.config is not None else facts.read(model)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then end with code 0; or fail as the engine does."""
    told, *rest = sys.argv[1:] if argv is None else argv
    setting = Setting(**json.loads(told))
    say(f"simulated: {setting.title}; a model of it, without a GPU: no figure is a measurement")
    asked = read(setting.like, shelf.nearest(setting.like, setting.version), rest)
    say(engine_log.arguments(setting.like, asked.given))
    place, found = _resolve(setting, asked)
    if isinstance(found, Refusal) and found.cause is Cause.BAD_COMBINATION:
        engine_log.fail(setting.like, found, place.max_model_len)
    loop = exact_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, loop.stop)
    loop.call_later(setting.startup_s, _start, loop, setting, asked, place, found)
    loop.run_forever()


def _resolve(setting: Setting, asked: Asked) -> tuple[Place, Server | Refusal]:
    try:
        place = setting.place(asked.model, asked.length)
        return place, resolved(setting.like, place, asked.flags)
    except EnvironmentFaultError as error:
        say(f"ValueError: Invalid repository ID or local directory specified: '{asked.model}'.\nsimulated: {error}")
        raise SystemExit(1) from error
    except (TypeError, ValueError) as error:
        refuse(setting.like, str(error))


def _start(
    loop: asyncio.AbstractEventLoop, setting: Setting, asked: Asked, place: Place, found: Server | Refusal
) -> None:
    """The start is over, one way or the other. What runs out of memory under load is ready first."""
    if isinstance(found, Refusal) and found.cause is not Cause.OUT_OF_MEMORY_RUNTIME:
        engine_log.fail(setting.like, found, place.max_model_len)
    serving = Serving(
        engine=setting.like,
        version=setting.version,
        model=asked.name,
        length=place.max_model_len,
        told=_told(asked, found),
        servers=found if isinstance(found, Refusal) else _servers(loop, place, found, asked.flags),
        phrases=Phrases(asked.name, "simulated-1"),
    )
    listening = loop.create_server(lambda: SimulatedConnection(serving), asked.host, asked.port, backlog=4096)
    loop.create_task(listening).add_done_callback(partial(_listens, setting.like, found))


def _listens(engine: str, found: Server | Refusal, listening: asyncio.Task[asyncio.Server]) -> None:
    if (fault := listening.exception()) is not None:
        say(f"OSError: {fault}")
        raise SystemExit(1)
    for line in engine_log.resolved(engine, found) if isinstance(found, Server) else ():
        say(line)
    say(engine_log.ready(engine))


def _servers(loop: asyncio.AbstractEventLoop, place: Place, found: Server, flags: Mapping[str, Scalar]) -> Servers:
    steps = steps_of(place, found, flags)
    return Servers(loop, [Replica(steps, found) for _ in range(found.replicas)])


def _told(asked: Asked, found: Server | Refusal) -> Mapping[str, Scalar]:
    """What was asked for, and what the model made of flags that were not."""
    if isinstance(found, Refusal):
        return asked.given
    made: dict[str, Scalar] = {"chunked_prefill_size": found.step_tokens, "page_size": found.block}
    return {**made, **asked.given}


if __name__ == "__main__":
    main()
