"""Rules between an engine's flags, as data: what each version of it is known to refuse, to rewrite or to warn of.

`rules/ENGINE.yaml` holds them. Its sections:

* `checked`: the versions whose sources were read for these rules.
* `assumed`: which of them a study may run that does not say its engine's version.
* `otherwise`: what a flag is where nobody gives it, as an expression, where that is certain; in some versions only,
  where it says so. Quantities that several rules need are named here too.
* `since`: the version that brought a flag, for flags that not all checked versions have.
* `rules`: each with a condition in the language of `optuna_tuner.spec.rules`; the versions that it holds for; a message
  with the values in braces; its source; what the engine does; and two configurations that nearly agree, of which one
  breaks the rule and one keeps it. Where it is exactly known what an engine rewrites, the rule also says which flags it
  sets to what (`sets`, expressions in the same language), and names another configuration that is the same server as
  the one that breaks the rule (`same`).

A rule fires only where every value that it speaks of is known, so that nothing is refused by guessing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Annotated, Self

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from optuna_tuner.own_data import read_yaml
from optuna_tuner.spec.rules import RuleError, evaluate, holds, names
from optuna_tuner.values import Scalar


class Effect(StrEnum):
    """What an engine does with a configuration that a rule forbids."""

    REFUSES = "refuses"  # it says why and ends
    CRASHES = "crashes"  # it ends with an error of something else
    REWRITES = "rewrites"  # it runs with other values than were asked for
    WARNS = "warns"  # it runs

    @property
    def rejects(self) -> bool:
        """Whether no server comes of it."""
        return self in {Effect.REFUSES, Effect.CRASHES}


def _specifiers(text: object) -> SpecifierSet:
    return SpecifierSet(str(text), prereleases=True)


def _version(text: object) -> Version:
    return Version(str(text))


Versions = Annotated[SpecifierSet, BeforeValidator(_specifiers)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class KnownRule(_Strict):
    """One rule. `breaks` is a configuration that it forbids, `keeps` the nearest one that it allows.

    `sets` is what the engine makes of flags where the rule is broken, and `same` the server that `breaks` becomes.
    """

    id: str
    forbid: str
    versions: Versions
    because: str
    source: str
    effect: Effect
    breaks: Mapping[str, Scalar]
    keeps: Mapping[str, Scalar]
    sets: Mapping[str, str] = Field(default_factory=dict)
    same: Mapping[str, Scalar] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_shown_to_set(self) -> Self:
        if bool(self.sets) != bool(self.same) or (self.sets and self.effect is not Effect.REWRITES):
            raise ValueError(
                f"{self.id}: only a rewriting rule sets flags, and then it names a server that is the same"
            )
        return self

    def message(self, values: Mapping[str, Scalar]) -> str:
        """Why these values cannot stand together, for people."""
        shown = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
        return self.because.format_map(shown)


class Otherwise(_Strict):
    """What something is where nobody gives it, in these versions."""

    expression: str = Field(alias="is")
    versions: Versions = Field(default_factory=lambda: _specifiers(""))


def _otherwise(given: object) -> object:
    return {"is": given} if isinstance(given, str) else given


class RuleBook(_Strict):
    """All that is known of one engine."""

    checked: tuple[Annotated[Version, BeforeValidator(_version)], ...]
    assumed: Versions
    otherwise: Mapping[str, Annotated[Otherwise, BeforeValidator(_otherwise)]]
    since: Mapping[str, Annotated[Version, BeforeValidator(_version)]]
    rules: tuple[KnownRule, ...]

    @cached_property
    def possible(self) -> tuple[Version, ...]:
        """The versions that a study may run that names none."""
        return tuple(version for version in self.checked if version in self.assumed)

    def completed(self, version: Version | None, given: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
        """The values that were given, and those that are certain without being given."""
        values = dict(given)
        for name, each in self.otherwise.items():
            if name in given or not self._covers(each.versions, version):
                continue
            try:
                found = evaluate(each.expression, values)
            except (KeyError, RuleError, ArithmeticError):
                continue
            if not isinstance(found, tuple):
                values[name] = found
        return values

    def certain(self, rule: KnownRule, version: Version | None, given: AbstractSet[str]) -> bool:
        """Whether this version has the rule.

        Where the version is not known, every version that it may be must refuse: by this rule, or because it does not
        know a flag that was given.
        """
        if version is not None:
            return version in rule.versions
        flags = names(rule.forbid) & given & self.since.keys()
        return all(each in rule.versions or any(self.since[name] > each for name in flags) for each in self.possible)

    def _covers(self, versions: SpecifierSet, version: Version | None) -> bool:
        return all(each in versions for each in (self.possible if version is None else (version,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that a configuration breaks, and the message with the values in it."""

    rule: KnownRule
    message: str


def findings(engine: str, version: str | None, given: Mapping[str, Scalar]) -> Iterator[Finding]:
    """Every known rule of this version that these values break, whatever its effect, in the order of the book.

    `given` are the flags by canonical name (`a.b` as `a__b`), and what is known of the model, the slot and the GPU.
    """
    book, release = rule_book(engine), parsed(version)
    values = book.completed(release, given)
    for rule in book.rules:
        if holds(rule.forbid, values) and book.certain(rule, release, given.keys()):
            yield Finding(rule=rule, message=rule.message(values))


def broken(engine: str, version: str | None, given: Mapping[str, Scalar]) -> str | None:
    """Why the engine cannot start with these values, as far as it is known; None where no rule says that it cannot."""
    return next((each.message for each in findings(engine, version, given) if each.rule.effect.rejects), None)


def remarks(engine: str, version: str | None, given: Mapping[str, Scalar]) -> tuple[str, ...]:
    """What the engine rewrites or warns of in these values, as far as it is known."""
    return tuple(each.message for each in findings(engine, version, given) if not each.rule.effect.rejects)


def rewritten(engine: str, version: str | None, given: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """The flags that the engine is exactly known to change from what is given, with what it makes of them.

    The rules are applied in the order of the book, each to what those before it have made.
    """
    book, release = rule_book(engine), parsed(version)
    values, changed = book.completed(release, given), dict[str, Scalar]()
    for rule in book.rules:
        if rule.sets and holds(rule.forbid, values) and book.certain(rule, release, given.keys()):
            found = {name: evaluate(expression, values) for name, expression in rule.sets.items()}
            changed |= {name: value for name, value in found.items() if not isinstance(value, tuple)}
            values = book.completed(release, {**given, **changed})
    return changed


@lru_cache(maxsize=8)
def rule_book(engine: str) -> RuleBook:
    """The rules of one engine, read once. Raises FileNotFoundError for an engine that has none."""
    text = (files("optuna_tuner.engines") / "rules" / f"{engine}.yaml").read_text(encoding="utf-8")
    return RuleBook.model_validate(read_yaml(text))


def parsed(version: str | None) -> Version | None:
    """A version as it is compared; None where it is not known, or no release number."""
    try:
        return None if version is None else Version(version)
    except InvalidVersion:
        return None
