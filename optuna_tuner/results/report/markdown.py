"""A report as Markdown: for a review, a wiki, a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch

from optuna_tuner.results.markdown import code, page, plain, section, table
from optuna_tuner.results.report.blocks import (
    Block,
    Bullets,
    Code,
    Decision,
    Grid,
    Notice,
    Picture,
    Section,
    Text,
    Tiles,
)
from optuna_tuner.results.report.document import Report
from optuna_tuner.results.report.pages import sections


def markdown(report: Report, drawn: frozenset[str] = frozenset()) -> str:
    """The whole report; `drawn` are the figures that lie beside it as plots/ID.png, the others are only named."""
    first, *others = sections(report)
    top = page(f"# {plain(first.title)}", *_blocks(first, drawn))
    return page(top, *(section(each.title, page(*_blocks(each, drawn))) for each in others)) + "\n"


def _blocks(part: Section, drawn: frozenset[str]) -> Iterator[str]:
    for block in part.blocks:
        if isinstance(block, Picture):
            title, plot = plain(block.plot.title), block.plot
            yield f"![{title}](plots/{plot.id}.png)" if plot.id in drawn else f"**{title}** (a figure of report.html)"
            yield plain(plot.caption)
        else:
            yield _block(block)


@singledispatch
def _block(block: Block) -> str:
    raise TypeError(block)


@_block.register
def _(block: Text) -> str:
    return plain(block.words)


@_block.register
def _(block: Notice) -> str:
    return f"> **{plain(block.words)}**"


@_block.register
def _(block: Decision) -> str:
    return f"**{plain(block.what)}.** {plain(block.why)}"


@_block.register
def _(block: Tiles) -> str:
    return table(("", "", ""), [(tile.name, tile.value, tile.note) for tile in block.tiles])


@_block.register
def _(block: Bullets) -> str:
    return page(f"**{plain(block.title)}**", "\n".join(f"* {plain(item)}" for item in block.items))


@_block.register
def _(block: Code) -> str:
    return code(block.text)


@_block.register
def _(block: Grid) -> str:
    rows = table([plain(each) for each in block.titles], block.rows)
    return page(f"**{plain(block.caption)}**" if block.caption else "", rows)
