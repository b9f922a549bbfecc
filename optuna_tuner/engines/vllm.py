"""vLLM: `vllm serve`."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.argv import Flags, Spelling, whole
from optuna_tuner.engines.asking import answer, counted, scalars, served_model
from optuna_tuner.engines.diagnosis import diagnosed
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
ALIASES = {
    "tp_size": "tensor_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "dp_size": "data_parallel_size",
    "O": "optimization_level",
    "max_seq_len": "max_model_len",
}


def spelling(version: str | None) -> Spelling:
    """How a version wants its flags written; for None, the newest one that is known."""
    return Spelling(
        catalogue=shelf.nearest("vllm", version),
        aliases=ALIASES,
        says_no=True,
        reserved=frozenset({"api_key", "host", "model", "model_tag", "port", "served_model_name", "tokenizer"}),
    )


CONFIG_LINE = re.compile(r"Initializing a V\d LLM engine .*?with config: (.*)")
ARGUMENTS_LINE = re.compile(r"non-default args: (\{.*\})")
BATCHED_TOKENS_LINE = re.compile(r"Chunked prefill is enabled with max_num_batched_tokens=(\d+)")
NO_SETTING = frozenset({"host", "model", "model_tag", "port", "served_model_name", "tokenizer"})


class VllmOptions(EngineOptions):
    """vLLM's options."""

    spell: ClassVar[Callable[[str | None], Spelling]] = staticmethod(spelling)


class Vllm(Engine):
    """`vllm serve`. Held against vLLM 0.32.0: its parser, its logs and its refusals on a CPU."""

    kind = "vllm"
    summary = "vLLM's OpenAI-compatible server"
    Options = VllmOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = VllmOptions.model_validate(options)

    def canonical(self, flag: str) -> str:
        """The one name of a flag."""
        return self._options.spelling.canonical(flag)

    def catalogue(self) -> Catalogue | None:
        """The flags of the version that the study names."""
        return self._options.catalogue(self.kind)

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """`vllm serve MODEL ...`, every switch said aloud."""
        flags = self._options.spelling.merged(self._options.flags, params)
        tokenizer = () if model.tokenizer == model.path else ("--tokenizer", model.tokenizer)
        argv = (
            *(self._options.command or ("vllm", "serve")),
            model.path,
            *("--host", "{host}", "--port", "{port}", "--served-model-name", model.name),
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
        """The root cause, read through "Engine core initialization failed"."""
        return diagnosed(self.kind, log, exit_code)

    def retractions(self, endpoint: Endpoint, log: str) -> int | None:  # noqa: ARG002  the log of 0.32 never tells
        """By its counter at `/metrics`; vLLM calls them preemptions."""
        return counted(endpoint, "vllm:num_preemptions_total")

    def told(self, page: str) -> Metrics:
        """By the names of server_metrics.yaml."""
        return read_page(self.kind, page)

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:
        """From the lines in which vLLM logs its arguments and configuration, and from `/version`."""
        told = {**_logged(log), **scalars(answer(endpoint, "/version"))}
        named = {self._options.spelling.canonical(name): value for name, value in told.items()}
        return dict(sorted((name, value) for name, value in named.items() if name not in NO_SETTING))

    def settled(self, resolved: Mapping[str, Scalar]) -> frozenset[str]:
        """The scheduler's batch alone, whose final size is logged; of others the log may repeat what was asked."""
        return frozenset({"max_num_batched_tokens"}) & resolved.keys()

    def identify(self, endpoint: Endpoint) -> str | None:
        """The model that `/v1/models` lists."""
        return served_model(endpoint)


def _world(flags: Flags) -> int:
    return (
        whole(flags, "tensor_parallel_size")
        * whole(flags, "pipeline_parallel_size")
        * whole(flags, "prefill_context_parallel_size")
        * whole(flags, "data_parallel_size_local", whole(flags, "data_parallel_size"))
    )


def _logged(log: str) -> dict[str, Scalar]:
    """What the log says of arguments and configuration; later lines are nearer to what runs."""
    found: dict[str, Scalar] = {}
    for line in log.splitlines():
        if given := ARGUMENTS_LINE.search(line):
            found |= _arguments(given[1])
        if tokens := BATCHED_TOKENS_LINE.search(line):
            found["max_num_batched_tokens"] = int(tokens[1])
        if config := CONFIG_LINE.search(line):
            found |= dict(_settings(config[1]))
    return found


def _settings(text: str) -> Iterator[tuple[str, Scalar]]:
    """`a=1, b=C(x=2), c=word` -> a and c: plain values at the outer level; None is not set."""
    for part in re.split(r", (?=\w+=)", _without_brackets(text)):
        name, _, value = part.partition("=")
        plain = _literal(value)
        if isinstance(plain, bool | int | float | str):
            yield name.strip(), plain
        elif value != "None" and re.fullmatch(r"[\w.]+", value):
            yield name.strip(), value.removeprefix("torch.")


def _without_brackets(text: str) -> str:
    while (shorter := re.sub(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}", "<>", text)) != text:
        text = shorter
    return text


def _arguments(text: str) -> dict[str, Scalar]:
    given = _literal(text)
    if not isinstance(given, dict):
        return {}
    return {str(name): value for name, value in given.items() if isinstance(value, bool | int | float | str)}


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # a cut line tells nothing
        return None
