"""What older studies found, as configurations that a new one tries first.

An older study may have run another version of the engine, on other GPUs, over another space. So its configurations are
carried over flag by flag.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.contracts import Engine, Kinds
from optuna_tuner.errors import ConflictError
from optuna_tuner.plugins import make
from optuna_tuner.spec.effects import MEANING, effect_of, known_flags
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.store.records import AttemptKind, AttemptRecord
from optuna_tuner.store.store import Store
from optuna_tuner.tuning.carrying import NOTHING_FOUND, Found, Taken, Way
from optuna_tuner.tuning.foreseen import anywhere
from optuna_tuner.values import Params


def found(store: Store, spec: StudySpec, kinds: Kinds) -> Found:
    """The best configurations of the older studies, in the order in which they are named.

    Raises NotFoundError for an older study that is not there, and ConflictError for one of another engine.
    """
    if spec.warm_start is None:
        return NOTHING_FOUND
    way = Way(spec, cast("Engine", make(kinds, "engines", spec.engine)), anywhere(spec, kinds))
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
        ran = _best_first(older, store.attempts.of(record.id))
        carried = way.carried((f'study "{name}", trial {each.number}', each.params or Params()) for each in ran)
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
