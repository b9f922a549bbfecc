"""What a page is made of, whatever it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna_tuner.results.report.document import Plot


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    words: str


@dataclass(frozen=True, slots=True)
class Notice:
    """What must be seen before any figure."""

    words: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do and why; `mood` is good, bad or open."""

    what: str
    why: str
    mood: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure: what it is, its value with its unit, and what it depends on."""

    name: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Tiles:
    """The figures of the first page."""

    tiles: Sequence[Tile]


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    title: str
    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of plain cells. Columns in `numeric` are set to the right."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """Something to copy."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure."""

    plot: Plot


Block = Text | Notice | Decision | Tiles | Bullets | Grid | Code | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A headed part of the report."""

    id: str
    title: str
    blocks: Sequence[Block]
