"""Flags to command-line arguments, by each engine's way to spell them. Pure, and never for a shell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from optuna_tuner.catalog.catalogue import Catalogue, plain
from optuna_tuner.values import Json, Params, Scalar

FlagValue = Scalar | Sequence[Scalar] | Mapping[str, Json]
Flags = Mapping[str, FlagValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelling:
    """How one version of an engine wants its flags written.

    Attributes:
        catalogue: the flags of that version, or of the newest one that is known where the study names none.
        aliases: short names that users write and that no version has -> the canonical name.
        says_no: whether a false switch is written `--no-name` where the catalogue does not know it; elsewhere it is
            left out, because the engine knows only the positive form and its default is off.
        words: flags that look like switches but take a word, with the words for false and true.
        equals: whether `--name=value` is understood. It is used where a value starts with a dash.
        reserved: flags that the tuner itself sets.

    """

    catalogue: Catalogue
    aliases: Mapping[str, str] = field(default_factory=dict)
    says_no: bool = False
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    equals: bool = True
    reserved: frozenset[str] = frozenset()

    def canonical(self, flag: str) -> str:
        """The one name of a flag. A name that is not known is kept, with underscores."""
        name = self.aliases.get(plain(flag), plain(flag))
        found = self.catalogue.find(name)
        return found.name if found else name

    def merged(self, fixed: Flags, params: Params) -> Flags:
        """The study's fixed flags overridden by the sampled ones, by canonical name, in alphabetical order."""
        both = [*fixed.items(), *params.flags.items()]
        return dict(sorted({self.canonical(name): value for name, value in both}.items()))

    def argv(self, flags: Flags) -> tuple[str, ...]:
        """The arguments for these flags, in their order."""
        return tuple(argument for name, value in flags.items() for argument in self._arguments(name, value))

    def _arguments(self, name: str, value: FlagValue) -> tuple[str, ...]:
        flag = self.catalogue.find(name)
        option = flag.spellings[0] if flag else f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            if name in self.words:
                return (option, self.words[name][value])
            if value:
                return (option,)
            negatable = flag.negatable if flag else self.says_no
            return (f"--no-{option.lstrip('-')}",) if negatable else ()
        words = _words(value)
        if len(words) == 1 and words[0].startswith("-") and self.equals:
            return (f"{option}={words[0]}",)
        return (option, *words)


def whole(flags: Flags, name: str, default: int = 1) -> int:
    """A flag that counts something; the default where it is absent or no whole number."""
    value = flags.get(name, default)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _words(value: FlagValue) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        return (json.dumps(dict(value), separators=(",", ":"), sort_keys=True),)
    if isinstance(value, str | int | float):
        return (str(value),)
    return tuple(str(item) for item in value)
