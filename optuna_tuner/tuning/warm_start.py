"""What older studies found, as configurations that a new one tries first.

An older study may have run another version of the engine, on other GPUs, over another space. So a configuration is
carried over flag by flag: by its name in the new version, with the nearest value that the new space has; what has no
place there is left to the engine. Whatever changes on the way is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.catalog.history import absence
from optuna_tuner.contracts import Engine, Kinds
from optuna_tuner.errors import ConflictError
from optuna_tuner.plugins import make
from optuna_tuner.search.objection import Objection
from optuna_tuner.spec.effects import MEANING, effect_of, known_flags
from optuna_tuner.spec.space import Choice, Parameter, Switch, params_of, written_in
from optuna_tuner.spec.study import StudySpec, values_of
from optuna_tuner.store.records import AttemptKind, AttemptRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.foreseen import anywhere
from optuna_tuner.values import Params, Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One configuration of an older study, as the new one tries it; `changes` says what became of its flags."""

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


NOTHING_FOUND = Found()


def warmed(store: Store, spec: StudySpec, kinds: Kinds) -> StudySpec:
    """The study with what its older studies found added to `first`.

    It is looked for once, when the study is made; from then on it is what it was. Raises as `found`.
    """
    if spec.warm_start is None:
        return spec
    known = _known(store, spec.name)
    if known is None:
        more = [each.chosen for each in found(store, spec, kinds).taken]
    else:
        more = [each for each in known.first if each not in spec.first]
    return spec.model_copy(update={"first": (*spec.first, *more)})


def _known(store: Store, name: str) -> StudySpec | None:
    record = next((each for each in store.studies.all() if each.name == name), None)
    return None if record is None else StudySpec.model_validate_json(record.spec_json)


def found(store: Store, spec: StudySpec, kinds: Kinds) -> Found:
    """The best configurations of the older studies, in the order in which they are named; none once it is made.

    Raises NotFoundError for an older study that is not there, and ConflictError for one of another engine.
    """
    if spec.warm_start is None or _known(store, spec.name) is not None:
        return NOTHING_FOUND
    way = _Way(spec, cast("Engine", make(kinds, "engines", spec.engine)), anywhere(spec, kinds))
    taken: list[Taken] = []
    remarks: list[str] = []
    for name in spec.warm_start.studies:
        record = store.studies.get(name)
        older = StudySpec.model_validate_json(record.spec_json)
        if older.engine.kind != spec.engine.kind:
            raise ConflictError(
                f'warm_start: study "{name}" is of {older.engine.kind}, whose flags mean nothing to {spec.engine.kind}'
            )
        remarks += _differences(name, older, spec)
        carried = way.carried(name, _best_first(older, store.attempts.of(record.id)))
        new = [each for each in carried if each.chosen not in (other.chosen for other in taken)]
        new = [each for each in new if each.chosen not in spec.first][: spec.warm_start.best]
        if not new:
            remarks.append(f'study "{name}" has nothing that can be tried here and is not tried already')
        taken += new
    return Found(taken=tuple(taken), remarks=tuple(remarks))


def _best_first(spec: StudySpec, attempts: Sequence[AttemptRecord]) -> Sequence[AttemptRecord]:
    """What ran and kept the promise, the best by the older study's own goals first; each as its search saw it."""
    searched = [each for each in attempts if each.kind is not AttemptKind.BASELINE and not each.kind.again]
    good = [each for each in searched if _is_feasible(each)]
    losses = {each.id: _losses(spec, each) for each in good}

    def beaten_by(attempt: AttemptRecord) -> int:
        mine = losses[attempt.id]
        return sum(other != mine and all(map(float.__le__, other, mine)) for other in losses.values())

    return sorted(good, key=lambda each: (beaten_by(each), each.number or 0))


def _is_feasible(attempt: AttemptRecord) -> bool:
    outcome = attempt.outcome
    if outcome is None or outcome.cause is not None or not outcome.values:
        return False
    return outcome.same_as is None and all(excess <= 0 for excess in outcome.constraints.values())


def _losses(spec: StudySpec, attempt: AttemptRecord) -> Sequence[float]:
    values = attempt.outcome.values if attempt.outcome else ()
    signs = (-1.0 if each.direction == "maximize" else 1.0 for each in spec.goals.objectives)
    return [sign * value for sign, value in zip(signs, values, strict=True)]


class _Way:
    """From an older study's space into the new one's."""

    def __init__(self, spec: StudySpec, engine: Engine, objection: Objection) -> None:
        self._space, self._objection, self._catalogue = spec.space, objection, engine.catalogue()
        self._engine = engine
        self._own = {name if each.env else engine.canonical(name): name for name, each in spec.space.items()}

    def carried(self, study: str, attempts: Sequence[AttemptRecord]) -> Iterator[Taken]:
        """Those that have a place here and are not known to fail, each once."""
        seen: list[Mapping[str, Scalar]] = []
        for attempt in attempts:
            taken = self._taken(f'study "{study}", trial {attempt.number}', attempt.params or Params())
            if taken.chosen and taken.chosen not in seen and not self._objection(params_of(self._space, taken.chosen)):
                seen.append(taken.chosen)
                yield taken

    def _taken(self, source: str, params: Params) -> Taken:
        changes: list[str] = []
        placed: dict[str, Scalar] = {}
        for name, value in values_of(params).items():
            here = self._own.get(name) or self._own.get(self._new_name(name))
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

    def _new_name(self, name: str) -> str:
        canonical = self._engine.canonical(name)
        if self._catalogue is None or self._catalogue.find(canonical) is not None:
            return canonical
        return absence(self._catalogue, canonical).new_name or canonical


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


def _differences(name: str, older: StudySpec, spec: StudySpec) -> Iterator[str]:
    """What makes the older study's figures another thing than the new one's, for people."""
    if older.model.name != spec.model.name:
        yield f'study "{name}" served {older.model.name}, not {spec.model.name}'
    versions = [str(each.engine.options.get("version") or "a version that it does not name") for each in (older, spec)]
    if versions[0] != versions[1]:
        yield f'study "{name}" ran {older.engine.kind} {versions[0]}, not {versions[1]}'
    catalogue, before, now = known_flags(spec.engine), older.fixed_flags, spec.fixed_flags
    for flag in sorted(before.keys() | now.keys()):
        effect = effect_of(catalogue, flag)
        if effect is not Effect.SPEED and before.get(flag) != now.get(flag):
            values = (f"{flag}={each[flag]}" if flag in each else f"no {flag}" for each in (before, now))
            yield f'study "{name}" had {next(values)}, this one has {next(values)}: it changes {MEANING[effect]}'
