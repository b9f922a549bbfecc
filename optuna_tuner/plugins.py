"""Kind -> class, by entry points, lazily. Built-ins take the same road as strangers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from optuna_tuner.contracts import Benchmark, Deployer, Engine, Kinds, Plugin
from optuna_tuner.errors import Fault, UnknownPluginError
from optuna_tuner.spec.study import Part

GROUPS: dict[str, type] = {"engines": Engine, "deployers": Deployer, "benchmarks": Benchmark}


@cache
def _installed() -> Mapping[str, Mapping[str, EntryPoint]]:
    """By group and name; all at once, since to look reads a file of every installed package."""
    found = entry_points()
    return {group: {point.name: point for point in found.select(group=f"optuna_tuner.{group}")} for group in GROUPS}


class InstalledKinds:
    """The plugins of this Python environment."""

    def names(self, group: str) -> tuple[str, ...]:
        """All installed kinds of a group, sorted."""
        return tuple(sorted(_installed()[group]))

    def plugin(self, group: str, kind: str) -> type[Plugin]:
        """The class of one kind. Raises UnknownPluginError, which names the known ones."""
        point = _installed()[group].get(kind)
        if point is None:
            known = ", ".join(self.names(group))
            message = f'unknown kind "{kind}"; installed {group}: {known}'
            raise UnknownPluginError([Fault(file="", line=0, column=0, path=f"{group[:-1]}.kind", message=message)])
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, GROUPS[group]) and issubclass(loaded, Plugin)):
            message = f"entry point {point.value} is no {GROUPS[group].__name__}"
            raise UnknownPluginError([Fault(file="", line=0, column=0, path=f"{group[:-1]}.kind", message=message)])
        return loaded


def make(kinds: Kinds, group: str, part: Part) -> Plugin:
    """One plugin of a study, with the options that its part gives. Raises UnknownPluginError."""
    plugin = kinds.plugin(group, part.kind)
    return plugin(plugin.Options.model_validate(dict(part.options)))
