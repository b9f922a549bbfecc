"""llama.cpp: the embedded server, or any `llama-server`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.argv import Flags, Spelling
from optuna_tuner.engines.asking import answer, scalars, served_model
from optuna_tuner.engines.diagnosis import diagnosed
from optuna_tuner.engines.embedded import GGUF_NAME, LAUNCHER, RESOLVED
from optuna_tuner.engines.identity import identity
from optuna_tuner.engines.known_rules import remarks, rewritten
from optuna_tuner.engines.known_values import known_values
from optuna_tuner.engines.options import EngineOptions
from optuna_tuner.engines.server_metrics import read_page
from optuna_tuner.values import Diagnosis, Endpoint, Launch, Metrics, Model, Params, Scalar, Slot

# Names that users write and that no version has; all others are in the catalogues.
ALIASES = {"n_parallel": "parallel", "cb": "cont_batching", "kvu": "kv_unified"}


def spelling(version: str | None) -> Spelling:
    """How a version wants its flags written; for None, the newest one that is known."""
    return Spelling(
        catalogue=shelf.nearest("llama_cpp", version),
        aliases=ALIASES,
        says_no=True,
        words={"flash_attn": ("off", "on")},
        equals=False,
        reserved=frozenset({"alias", "api_key", "host", "metrics", "model", "port", "props", "slots"}),
    )


THREADS_LINE = re.compile(r"\bn_threads = (\d+)")
UNIFIED_LINE = re.compile(r"kv_unified = '?true")


EMBEDDED = "embedded"  # the catalogue's version of the launcher's own flags


class LlamaCppOptions(EngineOptions):
    """llama.cpp's options. Without a `command` the embedded server is used."""

    spell: ClassVar[Callable[[str | None], Spelling]] = staticmethod(spelling)

    @classmethod
    def version_of(cls, options: Mapping[str, object]) -> str | None:
        """The embedded server has the flags of this package's own launcher, whatever llama.cpp it is built on."""
        return super().version_of(options) if options.get("command") else EMBEDDED


class LlamaCpp(Engine):
    """llama.cpp's HTTP server: ours in this Python environment, or a `llama-server` given as `command`."""

    kind = "llama_cpp"
    summary = "llama.cpp's batching server; without a command the embedded one, which needs no installation"
    Options = LlamaCppOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = LlamaCppOptions.model_validate(options)

    def canonical(self, flag: str) -> str:
        """The one name of a flag: llama-server's long one."""
        return self._options.spelling.canonical(flag)

    def catalogue(self) -> Catalogue | None:
        """The flags of the version that the study names."""
        return self._options.catalogue(self.kind)

    def render(self, model: Model, params: Params, slot: Slot) -> Launch:
        """The launch; a folder stands for the `model.gguf` in it. `llama-server` gets its read-only endpoints on."""
        command, flags = self._options.command, self._flags(params, slot)
        endpoints = () if command is None else ("--metrics", "--props", "--slots")
        argv = (
            *(command or (sys.executable, "-m", LAUNCHER)),
            *("--model", gguf_file(model.path), "--alias", model.name, "--host", "{host}", "--port", "{port}"),
            *endpoints,
            *self._options.spelling.argv(flags),
        )
        return Launch(
            argv=argv,
            env=self._options.variables(params.env),
            secrets=self._options.secret_names(),
            gpus=len(slot.gpus),
            image=self._options.image,
            model=model,
        )

    def reject(self, model: Model, params: Params, slot: Slot) -> str | None:  # noqa: ARG002  the flags are enough
        """Only flags that the tuner sets itself: llama.cpp refuses the rest within a second, and says why."""
        flags = self._options.spelling.merged(self._options.flags, params)
        taken = sorted(self._options.spelling.reserved & flags.keys())
        return f"{taken[0]} is set by the tuner itself" if taken else None

    def identity(self, model: Model, params: Params, slot: Slot) -> Mapping[str, Scalar]:
        """By what llama.cpp is known to rewrite; the threads are those of the slot where none are asked for."""
        flags = self._flags(params, slot)
        changed = rewritten(self.kind, self._options.named_version, known_values(model, flags, slot))
        variables = self._options.variables(params.env)
        return identity(self._options.spelling, self.catalogue(), {**flags, **changed}, variables)

    def settled(self, resolved: Mapping[str, Scalar]) -> frozenset[str]:
        """All that the embedded server parsed; a llama-server tells of its slots alone, not of what follows."""
        names = () if self._options.command else self._options.spelling.catalogue.names()
        return frozenset(names) & resolved.keys()

    def remarks(self, model: Model, params: Params, slot: Slot) -> tuple[str, ...]:
        """By the known rules."""
        return remarks(self.kind, self._options.named_version, known_values(model, self._flags(params, slot), slot))

    def _flags(self, params: Params, slot: Slot) -> Flags:
        flags = self._options.spelling.merged(self._options.flags, params)
        return flags if self._options.command else _as_many_threads_as_cores(flags, slot)

    def diagnose(self, log: str, exit_code: int | None) -> Diagnosis:
        """By llama.cpp's messages on stderr; the Python error of the embedded server says nothing."""
        return diagnosed(self.kind, log, exit_code)

    def told(self, page: str) -> Metrics:
        """By the names of server_metrics.yaml."""
        return read_page(self.kind, page)

    def effective_config(self, endpoint: Endpoint, log: str) -> Mapping[str, Scalar]:
        """From `/props` and `/slots`, and from the log where the embedded server tells what it resolved."""
        return dict(sorted({**_logged(log), **_told(endpoint, unified=bool(UNIFIED_LINE.search(log)))}.items()))

    def identify(self, endpoint: Endpoint) -> str | None:
        """The model that `/v1/models` lists."""
        return served_model(endpoint)


def gguf_file(path: str) -> str:
    """The GGUF file that a model path means: itself, or `model.gguf` in the folder."""
    return path if path.endswith(".gguf") else f"{path.rstrip('/')}/{GGUF_NAME}"


def _as_many_threads_as_cores(flags: Flags, slot: Slot) -> Flags:
    """llama.cpp counts the host's cores, not the slot's: its threads would spin waiting for each other's core."""
    if "threads" in flags or not slot.cores:
        return flags
    return dict(sorted({**flags, "threads": len(slot.cores)}.items()))


def _logged(log: str) -> Mapping[str, Scalar]:
    found: dict[str, Scalar] = {}
    for line in log.splitlines():
        if line.startswith(RESOLVED):
            try:
                found |= scalars(json.loads(line.removeprefix(RESOLVED)))
            except ValueError:  # a cut line tells nothing
                continue
        elif threads := THREADS_LINE.search(line):
            found["threads"] = int(threads[1])
    return found


def _told(endpoint: Endpoint, *, unified: bool) -> Mapping[str, Scalar]:
    """The slots, and the context of all of them together."""
    slots = answer(endpoint, "/slots")
    sizes = [slot.get("n_ctx") for slot in slots if isinstance(slot, dict)] if isinstance(slots, list) else []
    known = [size for size in sizes if isinstance(size, int)]
    told: dict[str, Scalar] = (
        {"parallel": len(known), "ctx_size": max(known) if unified else sum(known)} if known else {}
    )
    props = scalars(answer(endpoint, "/props"))
    return told | {name: props[name] for name in ("build_info", "model_ftype") if name in props}
