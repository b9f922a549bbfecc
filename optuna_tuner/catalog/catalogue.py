"""What a catalogue says: the flags of one version of one engine, exactly as that version's own parser has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from pydantic import JsonValue


class FlagType(StrEnum):
    """What one word after a flag is read as."""

    SWITCH = "switch"  # takes no word: on or absent, and off where it is negatable
    INT = "int"  # a whole number; `1k` and the like where the engine takes them
    FLOAT = "float"
    TEXT = "text"
    JSON = "json"  # an object, also given by dotted flags where the engine takes them


class Effect(StrEnum):
    """What changes beside speed and memory when a flag changes."""

    SPEED = "speed"  # nothing: the same answers
    QUALITY = "quality"  # the answers: quantization, KV cache dtype
    PRODUCT = "product"  # what is promised to clients: the longest context, the parsers, the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag of one version.

    Attributes:
        name: the canonical name, as the engine's own settings call it, with underscores and without dashes.
        spellings: every way to write it, with its dashes, the canonical one first. `--no-` forms are not listed.
        type: what one word is read as.
        many: whether it takes several words.
        choices: the only values that are taken; empty where any value of the type is.
        default: what the parser has when the flag is absent. None is "unset": the engine chooses.
        default_is_known: False where the default could not be read; `default` is None then.
        default_from: what the engine chooses by when it is unset ("GPU memory"); empty where nothing is known.
        negatable: whether a `--no-` form exists.
        deprecated: empty, or what the engine says to use instead.
        renamed_to: the canonical name of the flag that takes its place; empty if there is none.
        effect: what changes beside speed.
        recompiles: whether another value makes the engine compile anew, so that the first start takes minutes longer.

    """

    name: str
    spellings: tuple[str, ...]
    type: FlagType
    many: bool = False
    choices: tuple[str | int | float, ...] = ()
    default: JsonValue = None
    default_is_known: bool = True
    default_from: str = ""
    negatable: bool = False
    deprecated: str = ""
    renamed_to: str = ""
    effect: Effect = Effect.SPEED
    recompiles: bool = False


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All flags of one version of one engine.

    `source` says what it was made from and how: the wheel's file name and SHA-256, or the command that was asked.
    """

    engine: str
    version: str
    source: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Flag]:
        """Each flag by each of its names: canonical and spelled, with underscores and without leading dashes."""
        spelled = {plain(spelling): flag for flag in self.flags for spelling in flag.spellings}
        return spelled | {flag.name: flag for flag in self.flags}

    def find(self, written: str) -> Flag | None:
        """The flag that somebody means; None where this version has none of that name."""
        return self.by_name.get(plain(written))

    def names(self) -> Iterable[str]:
        """The canonical names, in the order of the catalogue."""
        return (flag.name for flag in self.flags)


def plain(written: str) -> str:
    """`--max-num-seqs`, `max-num-seqs` and `max_num_seqs` are one name."""
    return written.strip().lstrip("-").replace("-", "_")
