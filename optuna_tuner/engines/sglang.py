"""SGLang: `python3 -m sglang.launch_server`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.argv import Flags, Spelling, whole
from optuna_tuner.engines.asking import answer, served_model, texts
from optuna_tuner.engines.diagnosis import diagnosed, retractions
from optuna_tuner.engines.expectations import expected
from optuna_tuner.engines.identity import identity
from optuna_tuner.engines.known_rules import broken, remarks, rewritten
from optuna_tuner.engines.known_values import known_values
from optuna_tuner.engines.memory_flags import said_of_memory
from optuna_tuner.engines.options import EngineOptions
from optuna_tuner.engines.server_metrics import read_page
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.values import Diagnosis, Endpoint, Launch, Metrics, Model, Params, Scalar, Slot

# Names that users write and that no version has; all others are in the catalogues.
ALIASES = {"dp": "dp_size", "pp": "pp_size", "tp": "tp_size"}


def spelling(version: str | None) -> Spelling:
    """How a version wants its flags written; for None, the newest one that is known."""
    return Spelling(
        catalogue=shelf.nearest("sglang", version),
        aliases=ALIASES,
        reserved=frozenset(
            {"admin_api_key", "api_key", "host", "model_path", "port", "served_model_name", "tokenizer_path"}
        ),
    )


# What `/server_info` tells beside the flags, and what differs between two starts with the same flags.
NO_SETTING = frozenset(
    {
        "api_key",
        "admin_api_key",
        "dist_init_addr",
        "host",
        "internal_states",
        "launch_command",
        "max_total_num_tokens",
        "model_path",
        "nccl_port",
        "port",
        "random_seed",
        "served_model_name",
        "status",
        "tokenizer_path",
    }
)


class SglangOptions(EngineOptions):
    """SGLang's options."""

    spell: ClassVar[Callable[[str | None], Spelling]] = staticmethod(spelling)


class Sglang(Engine):
    """`sglang.launch_server`. It needs a GPU and has not been run here.

    Its flags are held by golden tests against the argument definitions of the released wheel 0.5.23. Two traps: a
    false switch is left out, since SGLang knows only the positive form and its default is off; and SGLang rewrites
    many values silently, so that only `effective_config` tells which server ran.
    """

    kind = "sglang"
    summary = "SGLang's OpenAI-compatible server (needs a GPU; held by tests against its argument definitions)"
    Options = SglangOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = SglangOptions.model_validate(options)

    def canonical(self, flag: str) -> str:
        """The one name of a flag: the attribute of SGLang's ServerArgs."""
        return self._options.spelling.canonical(flag)

    def catalogue(self) -> Catalogue | None:
        """The flags of the version that the study names."""
        return self._options.catalogue(self.kind)

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """`python3 -m sglang.launch_server --model-path MODEL ...`; false switches are left out."""
        flags = self._options.spelling.merged(self._options.flags, params)
        tokenizer = () if model.tokenizer == model.path else ("--tokenizer-path", model.tokenizer)
        argv = (
            *(self._options.command or ("python3", "-m", "sglang.launch_server")),
            *("--model-path", model.path, "--host", "{host}", "--port", "{port}", "--served-model-name", model.name),
            *tokenizer,
            *self._options.spelling.argv(flags),
        )
        return Launch(
            argv=argv,
            env=self._options.variables(params.env),
            secrets=self._options.secret_names(),
            gpus=_world(flags) if slot.gpus else 0,
            image=self._options.image,
            model=model,
        )

    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:
        """By the known rules of the study's version."""
        flags = self._options.spelling.merged(self._options.flags, params)
        taken = sorted(self._options.spelling.reserved & flags.keys())
        if taken:
            return f"{taken[0]} is set by the tuner itself"
        return broken(self.kind, self._options.named_version, known_values(model, flags, slot))

    def identity(self, model: Model, params: Params, slot: Slot) -> Mapping[str, Scalar]:
        """By the known rewrites and the plain defaults of the study's version."""
        flags = self._options.spelling.merged(self._options.flags, params)
        changed = rewritten(self.kind, self._options.named_version, known_values(model, flags, slot))
        variables = self._options.variables(params.env)
        return identity(self._options.spelling, self.catalogue(), {**flags, **changed}, variables)

    def remarks(self, model: Model, params: Params, slot: Slot) -> tuple[str, ...]:
        """By the known rules of the study's version."""
        flags = self._options.spelling.merged(self._options.flags, params)
        return remarks(self.kind, self._options.named_version, known_values(model, flags, slot))

    def memory(self, params: Params) -> tuple[Layout, Settings] | None:
        """By the flags of memory_flags.yaml."""
        flags = self._options.spelling.merged(self._options.flags, params)
        return said_of_memory(self.kind, self.catalogue(), flags, self._options.variables(params.env))

    def expects(self, flag: str, value: Scalar) -> float:
        """By expectations.yaml."""
        return expected(self.kind, self.canonical(flag), value)

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """By SGLang's messages; the two kinds of missing memory ask for opposite remedies."""
        return diagnosed(self.kind, log, exit_code)

    def retractions(self, endpoint: Endpoint, log: str) -> int | None:  # noqa: ARG002  the log tells
        """From the lines in which SGLang tells of them."""
        return retractions(self.kind, log)

    def told(self, page: str) -> Metrics:
        """By the names of server_metrics.yaml."""
        return read_page(self.kind, page)

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:  # noqa: ARG002  SGLang tells it
        """From `/server_info`, or `/get_server_info` before 0.5.4."""
        told = texts(answer(endpoint, "/server_info"), NO_SETTING)
        told = told or texts(answer(endpoint, "/get_server_info"), NO_SETTING)
        return {self._options.spelling.canonical(name): value for name, value in told.items()}

    def settled(self, resolved: Mapping[str, Scalar]) -> frozenset[str]:
        """All flags that it tells: it tells the whole of its resolved ServerArgs, lists and objects too."""
        return frozenset(self._options.spelling.catalogue.names()) & resolved.keys()

    def identify(self, endpoint: Endpoint) -> str | None:
        """The model that `/v1/models` lists."""
        return served_model(endpoint)


def _world(flags: Flags) -> int:
    replicas = 1 if flags.get("enable_dp_attention") is True else whole(flags, "dp_size")
    return whole(flags, "tp_size") * whole(flags, "pp_size") * replicas
