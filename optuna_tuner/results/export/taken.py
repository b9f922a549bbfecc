"""One trial, rendered as its worker rendered it, and where its server is to listen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import cast

from pydantic import JsonValue

from optuna_tuner.contracts import Deployer, Engine, Kinds
from optuna_tuner.errors import DeployerError, ExportError
from optuna_tuner.plugins import make
from optuna_tuner.results.export import Export
from optuna_tuner.results.trials import TrialView
from optuna_tuner.results.views import StudyView
from optuna_tuner.spec.space import params_of
from optuna_tuner.spec.study import Part
from optuna_tuner.values import Json, Launch, Model, Slot

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9_.:-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """All that a format may say. The placeholders of host and port are still in `launch`."""

    study: StudyView
    trial: TrialView
    engine: Engine
    launch: Launch
    slot: Slot
    asked: Export
    kinds: Kinds

    @property
    def argv(self) -> tuple[str, ...]:
        """The command, with its address."""
        host, port = self.asked.host, str(self.asked.port)
        return tuple(word.replace("{host}", host).replace("{port}", port) for word in self.launch.argv)

    @property
    def url(self) -> str:
        """Where it answers, from its own machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.asked.host, self.asked.host)  # noqa: S104  compared, not opened
        return f"http://{in_url(host)}:{self.asked.port}"

    @property
    def name(self) -> str:
        """Study and trial, as Docker takes a name."""
        words = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.study.name).strip("-._")
        return f"{words or 'study'}-trial-{self.trial.number}"

    @property
    def flags(self) -> Mapping[str, Json]:
        """The study's fixed flags, overridden by the trial's, by canonical name; what is left to the engine is out."""
        fixed = self.study.spec.engine.options.get("flags")
        own = params_of(self.study.spec.space, self.trial.params).flags
        both = [*(fixed.items() if isinstance(fixed, dict) else ()), *own.items()]
        return dict(sorted({self.engine.canonical(name): value for name, value in both}.items()))

    def body(
        self, kind: str, changes: Mapping[str, JsonValue] | None = None, name: str | None = None
    ) -> Mapping[str, Json]:
        """What this deployer would send, with the study's options where the study uses it; under our name or this one.

        GPUs are kept as a number and cores not at all: those of the trial's machine are nobody else's.
        """
        part = self.study.spec.deployer
        options = {**(part.options if part.kind == kind else {}), **(changes or {}), "kind": kind}
        deployer = cast("Deployer", make(self.kinds, "deployers", Part.model_validate(options)))
        try:
            return deployer.render(self.launch, name or self.name, {}, replace(self.slot, cores=())).body
        except DeployerError as error:
            raise ExportError(str(error)) from error


def take(study: StudyView, trial: TrialView, asked: Export, model: Model, kinds: Kinds) -> Taken:
    """Render a trial again, on a slot like the one that it had. Raises ExportError."""
    if not _HOST.fullmatch(asked.host):
        raise ExportError(f'"{asked.host}" is no address to listen on; it is written like 127.0.0.1 or 0.0.0.0')
    if trial.machine is None:
        raise ExportError(f"it is not known any more on which machine {trial.name} ran")
    engine = cast("Engine", make(kinds, "engines", study.spec.engine))
    launch = engine.render(model, params_of(study.spec.space, trial.params), trial.machine)
    launch = replace(launch, image=asked.image or launch.image)
    return Taken(study=study, trial=trial, engine=engine, launch=launch, slot=trial.machine, asked=asked, kinds=kinds)


def variable(name: str) -> str:
    """A name that a shell can set and read. Raises ExportError for another one."""
    if not _VARIABLE.fullmatch(name):
        raise ExportError(f'no shell can set the variable "{name}"; take --to json')
    return name


def in_url(host: str) -> str:
    """An IPv6 address needs brackets before a port."""
    return f"[{host}]" if ":" in host else host


def published(asked: Export) -> str:
    """Host and port as Docker publishes them. Raises ExportError for a name: Docker takes addresses only."""
    try:
        ip_address(asked.host)
    except ValueError:
        raise ExportError(
            f'Docker publishes a port on an IP address such as 127.0.0.1, not on "{asked.host}"'
        ) from None
    return f"{in_url(asked.host)}:{asked.port}"
