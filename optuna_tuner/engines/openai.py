"""A server that runs already and speaks OpenAI's API, whichever program it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.contracts import Engine
from optuna_tuner.engines.asking import MODELS, answer
from optuna_tuner.engines.llama_cpp import LlamaCpp
from optuna_tuner.engines.server_metrics import read_any_page
from optuna_tuner.engines.sglang import Sglang
from optuna_tuner.engines.vllm import Vllm
from optuna_tuner.spec.space import STRICT
from optuna_tuner.values import Cause, Diagnosis, Endpoint, Launch, Metrics, Model, Params, Scalar, Slot

OWNERS: Mapping[str, type[Engine]] = {"vllm": Vllm, "sglang": Sglang, "llamacpp": LlamaCpp}  # as /v1/models says it


class OpenAiOptions(BaseModel):
    """Options of `engine: {kind: openai}`: none. Its flags are whatever it was started with."""

    model_config = STRICT


class OpenAi(Engine):
    """Any server of OpenAI's API, for the deployer `running`. It asks the engine that the server says it is."""

    kind: ClassVar[str] = "openai"
    summary: ClassVar[str] = "any running server that speaks OpenAI's API; nothing of it is started or changed"
    Options: ClassVar[type[BaseModel]] = OpenAiOptions
    runs_already: ClassVar[bool] = True

    def __init__(self, options: BaseModel) -> None:
        self._options = options

    def canonical(self, flag: str) -> str:
        """Underscores; it has no flags of ours."""
        return flag.strip().lstrip("-").replace("-", "_")

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:  # noqa: ARG002  nothing is started
        """Nothing to start; the server is there when it lists its models."""
        return Launch(argv=(), model=model, ready_path=MODELS)

    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:  # noqa: ARG002  the parameters are enough
        """Every flag: nobody can change those of a server that runs."""
        given = sorted({**params.flags, **params.env})
        return f"{given[0]} cannot be set: the server runs already" if given else None

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:  # noqa: ARG002  it has no log of ours
        """That it ended; why stands in a log that is not ours."""
        return Diagnosis(cause=Cause.CRASHED, evidence="the server ended; its log is with whoever started it")

    def told(self, page: str) -> Metrics:
        """By the names of whichever engine wrote the page."""
        return read_any_page(page)

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:
        """As the engine that the server says it is reads it; empty for a stranger."""
        known = OWNERS.get(_owner(endpoint))
        return {} if known is None else known(known.Options()).effective_config(endpoint, log)

    def identify(self, endpoint: Endpoint) -> str | None:
        """The wanted model if the server lists it, else the first of its list."""
        names = [name for name in _listed(endpoint, "id") if name]
        return endpoint.model if endpoint.model in names else next(iter(names), None)


def _owner(endpoint: Endpoint) -> str:
    return next(iter(_listed(endpoint, "owned_by")), "")


def _listed(endpoint: Endpoint, key: str) -> list[str]:
    """One value of each model that the server lists."""
    found = answer(endpoint, MODELS)
    models = found.get("data") if isinstance(found, dict) else None
    return (
        [str(each.get(key) or "") for each in models or [] if isinstance(each, dict)]
        if isinstance(models, list)
        else []
    )
