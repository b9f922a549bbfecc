"""Checks of engine, deployer and benchmark against the plugins that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import ValidationError

from optuna_tuner.contracts import Benchmark, Deployer, Engine, Kinds, Plugin
from optuna_tuner.errors import Fault, UnknownPluginError
from optuna_tuner.spec.draft import Draft
from optuna_tuner.spec.faults import faults_of, show
from optuna_tuner.spec.shapes import did_you_mean
from optuna_tuner.spec.study import Part

GROUPS: Mapping[str, str] = {"engine": "engines", "deployer": "deployers", "benchmark": "benchmarks"}


@dataclass(slots=True)
class Plugins:
    """The study's plugins as far as they could be made, and why the others could not."""

    made: dict[str, Plugin] = field(default_factory=dict)
    unknown: list[Fault] = field(default_factory=list)  # kinds that are not installed
    faults: list[Fault] = field(default_factory=list)

    @property
    def engine(self) -> Engine | None:
        """The engine, to ask for the true names of flags."""
        return cast("Engine | None", self.made.get("engine"))

    @property
    def deployer(self) -> Deployer | None:
        """The deployer, to ask what it cannot do."""
        return cast("Deployer | None", self.made.get("deployer"))

    @property
    def benchmark(self) -> Benchmark | None:
        """The benchmark, to ask for its metrics."""
        return cast("Benchmark | None", self.made.get("benchmark"))


def make_plugins(draft: Draft, kinds: Kinds) -> Plugins:
    """Make each part's plugin from its options. Plugins do nothing when they are made."""
    plugins = Plugins()
    for name, part in draft.parts.items():
        plugin = _find(draft, name, part.kind, kinds, plugins)
        if plugin is not None:
            _make(draft, name, part, plugin, plugins)
    return plugins


def _find(draft: Draft, name: str, kind: str, kinds: Kinds, plugins: Plugins) -> type[Plugin] | None:
    known = kinds.names(GROUPS[name])
    path = (name, "kind")
    if kind not in known:
        hint = did_you_mean(kind, known)
        message = f"unknown kind {show(kind)}{hint or ';'} installed {GROUPS[name]}: {', '.join(known) or 'none'}"
        plugins.unknown.append(draft.tree.fault(path, message))
        return None
    try:
        return kinds.plugin(GROUPS[name], kind)
    except UnknownPluginError as error:
        plugins.faults.append(draft.tree.fault(path, error.faults[0].message))
    except (ImportError, AttributeError) as error:
        plugins.faults.append(draft.tree.fault(path, f"kind {show(kind)} is installed but cannot be loaded: {error}"))
    return None


def _make(draft: Draft, name: str, part: Part, plugin: type[Plugin], plugins: Plugins) -> None:
    try:
        plugins.made[name] = plugin(plugin.Options.model_validate(dict(part.options)))
    except ValidationError as error:
        plugins.faults.extend(faults_of(error, draft.tree, plugin.Options, (name,)))
