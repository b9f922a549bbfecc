"""A stranger's engine: all that optuna-tuner must know of a server program, in one file.

The program is the fake server which optuna-tuner ships, so that this runs everywhere. Yours goes in its place.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import ClassVar

import httpx
from pydantic import BaseModel, ConfigDict, Field

from optuna_tuner.contracts import Engine
from optuna_tuner.values import Cause, Diagnosis, Endpoint, Launch, Model, Params, Scalar, Slot

PROGRAM = (sys.executable, "-m", "optuna_tuner.testing.fake_server")
ALIASES = {"s": "slots"}
SIGNS = ((r"out of memory", Cause.OUT_OF_MEMORY_POOL), (r"error: unrecognized arguments", Cause.BAD_FLAG))


class MyOptions(BaseModel):
    """What a study file may say under `engine:`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flags: Mapping[str, Scalar] = Field(default_factory=dict, description="Flags that every trial has.")


class MyEngine(Engine):
    """The program above, as an engine."""

    kind: ClassVar[str] = "my_engine"
    summary: ClassVar[str] = "an example of an engine of one's own"
    Options: ClassVar[type[BaseModel]] = MyOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = MyOptions.model_validate(options.model_dump())

    def canonical(self, flag: str) -> str:
        """The one name of a flag."""
        name = flag.lstrip("-").replace("-", "_")
        return ALIASES.get(name, name)

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """Pure: the command line. The deployer replaces {host} and {port}."""
        flags = {self.canonical(name): value for name, value in {**self._options.flags, **params.flags}.items()}
        words = [word for name in sorted(flags) for word in (f"--{name.replace('_', '-')}", str(flags[name]))]
        argv = (*PROGRAM, "--host", "{host}", "--port", "{port}", "--model", model.name, *words)
        return Launch(argv=argv, env=dict(params.env), gpus=len(slot.gpus), model=model)

    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:  # noqa: ARG002  the flags are enough
        """What is known to be wrong before any launch."""
        return "slots must be above zero" if params.flags.get("slots") == 0 else None

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """What the log of a server that ended means, with the line that shows it."""
        for pattern, cause in SIGNS:
            for line in log.splitlines():
                if re.search(pattern, line):
                    return Diagnosis(cause=cause, evidence=line)
        return Diagnosis(cause=Cause.CRASHED, evidence=f"ended with exit code {exit_code}")

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:  # noqa: ARG002  it is asked
        """What the running server says of its flags."""
        found = _get(endpoint, "/props")
        return {name: value for name, value in found.items() if isinstance(value, bool | int | float)}

    def identify(self, endpoint: Endpoint) -> str | None:
        """The model that it serves; None while it does not answer."""
        models = _get(endpoint, "/v1/models").get("data")
        return str(models[0]["id"]) if isinstance(models, list) and models else None


def _get(endpoint: Endpoint, path: str) -> Mapping[str, object]:
    try:
        found = httpx.get(f"{endpoint.url}{path}", timeout=5, trust_env=False).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
