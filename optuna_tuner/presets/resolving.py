"""Tiers -> the search space of exactly one version of an engine, on slots of so many GPUs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Catalogue, Flag
from optuna_tuner.catalog.history import absence
from optuna_tuner.engines.known_rules import broken
from optuna_tuner.presets.tiers import Item, Known, Spends, neutrals, tensor_flag, tiers_of
from optuna_tuner.spec.catalogued import refusal
from optuna_tuner.spec.space import Choice, Parameter
from optuna_tuner.values import Scalar

Conditions = dict[str, Scalar | list[Scalar]]  # a parameter's `when`

FEWEST = 2  # values; one is nothing to search


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a space is made for. `model` is what rules may ask of the model; empty where nothing is known of it."""

    engine: str
    version: str
    gpus: int = 1
    model: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def catalogue(self) -> Catalogue:
        """The version's flags. Raises NotFoundError, which names the nearest versions."""
        return shelf.load(self.engine, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One parameter of a space, and what it is."""

    name: str
    is_: str
    parameter: Parameter
    flag: Flag
    spends: Spends = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What can be searched, what is known to be worth trying first, and what was left out and why."""

    entries: tuple[Entry, ...]
    first: tuple[Known, ...]
    left_out: Mapping[str, str]

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The space as a study has it."""
        return {entry.name: entry.parameter for entry in self.entries}


def resolve(setup: Setup, tier: int, beside: Sequence[str] = ()) -> Space:
    """The space of an engine up to this tier, with the neutral presets `beside` it. Raises NotFoundError."""
    tiers = tiers_of(setup.engine)
    items = [item for item in tiers.parameters if item.tier <= tier]
    items += [item for name in beside for item in items_of(name, setup.engine)]
    space = resolve_items(setup, items)
    known = tuple(each for each in tiers.first if _fits(each, space.parameters))
    return Space(entries=space.entries, first=known, left_out=space.left_out)


def items_of(name: str, engine: str) -> Iterator[Item]:
    """What a neutral preset is in one engine; what the engine has nothing of is not told."""
    for each in neutrals(name).values():
        if engine in each.flags:
            yield each.item(engine)


def resolve_items(setup: Setup, items: Iterable[Item]) -> Space:
    """The space of these things. A flag that comes twice has the values of its last one."""
    entries: dict[str, Entry] = {}
    left_out: dict[str, str] = {}
    for item in items:
        found = _resolved(setup, item, entries)
        if isinstance(found, Entry):
            entries[found.name] = found
        else:
            left_out[next(iter(item.ways))] = found
    kept = {name: reason for name, reason in left_out.items() if name not in entries}
    return Space(entries=tuple(entries.values()), first=(), left_out=kept)


def _resolved(setup: Setup, item: Item, before: Mapping[str, Entry]) -> Entry | str:
    """The first way that this version has, with the values that can work; else why there is none."""
    if item.experts and not setup.model.get("model_experts"):
        return "for models with experts" if setup.model else "for models with experts; --model says which it is"
    if item.spends and setup.gpus < FEWEST:
        return "needs more than one GPU in a slot"
    catalogue, conditions = setup.catalogue, _conditions(setup, item, before)
    if conditions is None:
        return "no number of GPUs that share a layer leaves room for it"
    for name, parameter in item.ways.items():
        flag = catalogue.find(name)
        if flag is not None:
            fitted = _fitted(setup, item, flag, parameter)
            if fitted is None:
                return f"fewer than two of its values can work with {setup.gpus} GPUs and this model or version"
            fitted = fitted.model_copy(update={"when": conditions})
            return Entry(name=name, is_=item.is_, parameter=fitted, flag=flag, spends=item.spends)
    return absence(catalogue, next(iter(item.ways))).reason


def _conditions(setup: Setup, item: Item, before: Mapping[str, Entry]) -> Conditions | None:
    """When it is searched, so that no layout needs more GPUs than there are; None where that is never."""
    tensor = before.get(tensor_flag(setup.engine))
    sizes = _sizes(tensor) if tensor else [1]
    if item.spends == "within tensor":
        return {tensor.name: max(sizes)} if tensor else None
    if item.spends == "beside tensor":
        others: Conditions = {each.name: 1 for each in before.values() if each.spends == item.spends}
        room: list[Scalar] = [size for size in sizes if 2 * size <= setup.gpus]
        if not room:
            return None
        return {tensor.name: room, **others} if tensor else others
    return {}


def _sizes(tensor: Entry) -> list[int]:
    choices = tensor.parameter.choices if isinstance(tensor.parameter, Choice) else ()
    return [size for size in choices if isinstance(size, int)]


def _fitted(setup: Setup, item: Item, flag: Flag, parameter: Parameter) -> Parameter | None:
    if not isinstance(parameter, Choice):
        return parameter
    choices = [value for value in parameter.choices if not refusal(flag, value) and _may_work(setup, item, flag, value)]
    return parameter.model_copy(update={"choices": tuple(choices)}) if len(choices) >= FEWEST else None


def _may_work(setup: Setup, item: Item, flag: Flag, value: Scalar) -> bool:
    """Whether the GPUs are enough, and no known rule refuses it by itself, or where all GPUs share each layer."""
    if item.spends in {"gpus", "within tensor"} and isinstance(value, int) and value > setup.gpus:
        return False
    known: dict[str, Scalar] = {**setup.model, "gpus": setup.gpus, "device": "cuda", flag.name: value}
    if item.spends == "within tensor":
        known[tensor_flag(setup.engine)] = _largest(setup)
    return broken(setup.engine, setup.version, known) is None


def _largest(setup: Setup) -> int:
    """The most GPUs that can share each layer."""
    tensor = neutrals("parallelism")["tensor"]
    known: dict[str, Scalar] = {**setup.model, "gpus": setup.gpus, "device": "cuda"}
    sizes = [size for size in tensor.values if isinstance(size, int) and size <= setup.gpus]
    name = tensor.flags[setup.engine]
    return max(size for size in sizes if broken(setup.engine, setup.version, {**known, name: size}) is None)


def _fits(known: Known, space: Mapping[str, Parameter]) -> bool:
    return all(name in space and space[name].takes(value) for name, value in known.sets.items())
