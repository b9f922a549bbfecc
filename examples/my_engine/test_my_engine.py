"""The promises of an engine, kept: run `pytest` in this folder."""

from typing import ClassVar

from my_engine import MyEngine

from optuna_tuner.testing.engine_cases import EngineCases
from optuna_tuner.values import Cause, Params


class TestMyEngine(EngineCases):
    """All cases of `EngineCases`, for this engine."""

    engine_class = MyEngine
    good = Params(flags={"slots": 4})
    aliases: ClassVar = {"-s": "slots", "ttft-ms": "ttft_ms"}
    logs: ClassVar = {
        "fake: out of memory\n": (1, Cause.OUT_OF_MEMORY_POOL),
        "fake: error: unrecognized arguments: --nope\n": (2, Cause.BAD_FLAG),
    }
