"""How a configuration from elsewhere comes into a study's space.

It may be of another version of the engine, other GPUs, another space. So it is carried over flag by flag: by its name
in the study's version, with the nearest value that the space has; what has no place there is left to the engine.
Whatever changes on the way is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from optuna_tuner.catalog.history import absence
from optuna_tuner.contracts import Engine
from optuna_tuner.search.objection import Objection
from optuna_tuner.spec.space import Choice, Parameter, Switch, params_of, written_in
from optuna_tuner.spec.study import StudySpec, values_of
from optuna_tuner.values import Params, Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One configuration from elsewhere, as this study tries it; `changes` says what became of its flags."""

    source: str
    chosen: Mapping[str, Scalar]
    changes: tuple[str, ...]

    def __str__(self) -> str:
        flags = " ".join(f"{name}={value}" for name, value in self.chosen.items())
        return "; ".join((f"{self.source}: {flags}", *self.changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is tried first, and what one should know of it, for people."""

    taken: tuple[Taken, ...] = ()
    remarks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # of where it comes from

    @property
    def lines(self) -> tuple[str, ...]:
        """For people: where it comes from, then each configuration."""
        return (*self.notes, *map(str, self.taken))


NOTHING_FOUND = Found()


class Way:
    """From elsewhere into a study's space."""

    def __init__(self, spec: StudySpec, engine: Engine, objection: Objection) -> None:
        self._space, self._objection, self._catalogue = spec.space, objection, engine.catalogue()
        self._engine = engine
        self._own = {name if each.env else engine.canonical(name): name for name, each in spec.space.items()}

    def carried(self, found: Iterable[tuple[str, Params]]) -> Iterator[Taken]:
        """Those that have a place here and are not known to fail, each once; each comes with where it is from."""
        seen: list[Mapping[str, Scalar]] = []
        for source, params in found:
            taken = self._taken(source, params)
            if taken.chosen and taken.chosen not in seen and not self._objection(params_of(self._space, taken.chosen)):
                seen.append(taken.chosen)
                yield taken

    def place(self, name: str) -> str | None:
        """What the space calls a flag or a variable; None where it has none like it."""
        return self._own.get(name) or self._own.get(self.new_name(name))

    def new_name(self, name: str) -> str:
        """The canonical name of a flag in the version of this study."""
        canonical = self._engine.canonical(name)
        if self._catalogue is None or self._catalogue.find(canonical) is not None:
            return canonical
        return absence(self._catalogue, canonical).new_name or canonical

    def _taken(self, source: str, params: Params) -> Taken:
        changes: list[str] = []
        placed: dict[str, Scalar] = {}
        for name, value in values_of(params).items():
            here = self.place(name)
            own = None if here is None else _nearest(self._space[here], value)
            if here is None or own is None:
                changes.append(f"left out {name}={value}")
                continue
            if here != name:
                changes.append(f"{name} is {here} here")
            if own != value:
                changes.append(f"{here} moved from {value} to {own}")
            placed[here] = own
        chosen: dict[str, Scalar] = {}
        for name, parameter in self._space.items():
            if name in placed and parameter.applies(chosen):
                chosen[name] = placed[name]
        idle = (
            f"left out {name}={value}: its `when` does not hold" for name, value in placed.items() if name not in chosen
        )
        return Taken(source=source, chosen=chosen, changes=(*changes, *idle))


def _nearest(parameter: Parameter, value: Scalar) -> Scalar | None:
    """The parameter's own value that is nearest to this one; None where there is none like it."""
    if isinstance(parameter, Switch) and value in {0, 1}:  # so the environment has off and on
        return bool(value)
    own = written_in({"": parameter}, {"": value})[""]
    if parameter.takes(own):
        return own
    if isinstance(value, bool | str) or isinstance(parameter, Switch):
        return None
    if isinstance(parameter, Choice):
        numbers = [each for each in parameter.choices if not isinstance(each, bool | str)]
        return min(numbers, key=lambda each: abs(each - value), default=None)
    return parameter.nearest(value)
