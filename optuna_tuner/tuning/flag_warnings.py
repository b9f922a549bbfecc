"""What a user should know of the flags of a study that is not wrong."""

from __future__ import annotations

from collections.abc import Iterator

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Effect, Flag
from optuna_tuner.contracts import Engine
from optuna_tuner.spec.effects import MEANING
from optuna_tuner.spec.study import StudySpec


def flag_warnings(spec: StudySpec, engine: Engine) -> Iterator[str]:
    """That the flags could not be checked, that some are deprecated, or that a search would change more than speed."""
    catalogue = engine.catalogue()
    if catalogue is None:
        engine_name = spec.engine.flags_of
        known = shelf.versions(engine_name)
        if known:
            yield (
                f"the flags are not checked before the run: engine.version names no {engine_name} whose flags are "
                f"known; {known[0]} to {known[-1]} are, others by: optuna-tuner catalog refresh"
            )
        return
    sampled = [name for name, parameter in spec.space.items() if not parameter.env]
    for name in (*spec.fixed_flags, *sampled):
        flag = catalogue.find(name)
        if flag is not None and flag.deprecated:
            yield f"{flag.spellings[0]} is deprecated in {catalogue.engine} {catalogue.version}: {flag.deprecated}"
    for flag in filter(None, map(catalogue.find, sampled) if spec.quality is None else ()):
        yield from _more_than_speed(flag)


def _more_than_speed(flag: Flag) -> Iterator[str]:
    if flag.effect is not Effect.SPEED:
        yield f"{flag.spellings[0]} changes {MEANING[flag.effect]}, not only the speed: compare more than the score"
