"""What the sampled flags of a study change beside the speed, and whether the study says that they may."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Effect
from optuna_tuner.errors import Fault
from optuna_tuner.spec.draft import Draft
from optuna_tuner.spec.quality import NEEDS_BASELINE
from optuna_tuner.spec.shapes import did_you_mean
from optuna_tuner.spec.space import flag_name
from optuna_tuner.spec.study import Part, StudySpec
from optuna_tuner.values import Scalar

MEANING = {Effect.QUALITY: "the model's answers", Effect.PRODUCT: "what clients are promised"}


def known_flags(engine: Part) -> Catalogue | None:
    """The flags of the version that a study names, or of the newest one; None where no version has a catalogue."""
    version = str(engine.options.get("version") or "")
    return (shelf.find(engine.flags_of, version) if version else None) or shelf.newest_shipped(engine.flags_of)


def effect_of(catalogue: Catalogue | None, name: str) -> Effect:
    """What a flag changes, as far as that is known."""
    flag = catalogue.find(name.partition(".")[0]) if catalogue else None
    return flag.effect if flag else Effect.SPEED


def effects(spec: StudySpec) -> Mapping[str, Effect]:
    """The sampled flags and variables that change more than the speed: those that are known to, or said to."""
    catalogue, said = known_flags(spec.engine), spec.quality.flags if spec.quality else ()
    found = {
        name: Effect.QUALITY if name in said else Effect.SPEED if parameter.env else effect_of(catalogue, name)
        for name, parameter in spec.space.items()
    }
    return {name: effect for name, effect in found.items() if effect is not Effect.SPEED}


def asks_for_answers(spec: StudySpec) -> bool:
    """Whether any trial may have to answer like the baseline."""
    return spec.quality is not None and Effect.QUALITY in effects(spec).values()


def altered(spec: StudySpec, given: Mapping[str, Scalar], resolved: Mapping[str, Scalar]) -> Mapping[str, Effect]:
    """Those of them that a configuration gives another value than the engine's default has, as far as that is known.

    `resolved` is what the baseline's server said of itself.
    """
    catalogue = known_flags(spec.engine)
    found = {name: effect for name, effect in effects(spec).items() if name in given}
    return {name: effect for name, effect in found.items() if not _is_default(catalogue, name, given[name], resolved)}


def _is_default(catalogue: Catalogue | None, name: str, value: Scalar, resolved: Mapping[str, Scalar]) -> bool:
    flag = catalogue.find(name) if catalogue else None
    known = (resolved.get(flag.name if flag else name), flag.default if flag else None)
    return any(own == value or str(own).lower() == str(value).lower() for own in known if own is not None)


def check_effects(draft: Draft) -> Iterator[Fault]:
    """Flags that change more than the speed, where the study does not say that they may; a section that cannot work."""
    engine = draft.parts.get("engine")
    catalogue = known_flags(engine) if engine else None
    for written in draft.declared:
        parameter = draft.space.get(written)
        if parameter is not None and not parameter.env:
            yield from _unsaid(draft, written, effect_of(catalogue, written))
    if draft.quality is None:
        return
    if draft.tree.at(("baseline",)) is False:
        yield draft.tree.fault(("baseline",), NEEDS_BASELINE)
    yield from _not_sampled(draft, draft.quality.flags)
    for index, name in enumerate(draft.quality.allow):
        if catalogue and catalogue.find(name) and effect_of(catalogue, name) is not Effect.PRODUCT:
            message = f"{name} changes nothing that clients are promised: leave it out of allow"
            yield draft.tree.fault(("quality", "allow", index), message)


def _unsaid(draft: Draft, written: str, effect: Effect) -> Iterator[Fault]:
    name, quality = flag_name(written), draft.quality
    if effect is Effect.SPEED or (quality is None and draft.tree.at(("quality",)) is not None):
        return  # a section that cannot be read has its own faults
    if effect is Effect.QUALITY and quality is None:
        yield draft.tree.fault(("space", written), f"{_changes(effect)}: {_way_out(draft, 'quality: {}')}", at_key=True)
    if effect is Effect.PRODUCT and (quality is None or name not in quality.allow):
        section = f"quality: {{allow: [{name}]}}"
        yield draft.tree.fault(("space", written), f"{_changes(effect)}: {_way_out(draft, section)}", at_key=True)


def _changes(effect: Effect) -> str:
    return f"changes {MEANING[effect]}, not only the speed"


def _way_out(draft: Draft, section: str) -> str:
    if draft.tree.origins:
        return f"the task format cannot allow that; write a study file with `{section}`, or fix its value"
    return f"add `{section}` to the file to allow it, or fix its value in engine.flags"


def _not_sampled(draft: Draft, names: Iterable[str]) -> Iterator[Fault]:
    sampled = [flag_name(name) for name in draft.declared]
    for index, name in enumerate(names):
        if name not in sampled:
            message = f"{name} is not in space{did_you_mean(name, sampled)}"
            yield draft.tree.fault(("quality", "flags", index), message)
