"""A report as one HTML file that needs nothing else: no request leaves it, and nothing that it shows is run.

All text passes through `Markup.format`, which escapes it. Beyond that the page's content security policy allows only
the two scripts that are written here, by their hashes, and no address at all: whatever a log line holds stays text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import singledispatch
from importlib.resources import files

from markupsafe import Markup, escape

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
from optuna_tuner.results.report.document import Plot, Report
from optuna_tuner.results.report.pages import sections

PAGE = Markup(
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="color-scheme" content="light dark">\n<title>{title}</title>\n<style>{style}</style>\n</head>\n'
    "<body>\n<main>\n{body}</main>\n{figures}</body>\n</html>\n"
)
POLICY = "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"
FIRST = Markup('<section id="{id}" class="first">\n<h1>{title}</h1>\n{body}</section>\n')
SECTION = Markup('<section id="{id}">\n<h2>{title}</h2>\n{body}</section>\n')
FIGURE = Markup(
    '<figure><h3>{title}</h3><div class="plot" id="plot-{id}" role="img" aria-label="{title}"></div>'
    "<figcaption>{caption}</figcaption></figure>\n"
)
NO_SCRIPT = Markup("<noscript><p>The figures need JavaScript; every number is in the tables.</p></noscript>\n")
NOTHING = Markup()


def html(report: Report) -> str:
    """The whole page."""
    first, *others = sections(report)
    contents = Markup('<nav aria-label="Contents">{}</nav>\n').format(
        Markup(" ").join(Markup('<a href="#{}">{}</a>').format(each.id, each.title) for each in others)
    )
    body = [_section(FIRST, first), contents, *(_section(SECTION, each) for each in others)]
    scripts = (plotly_js(), own_file("page.js")) if report.plots else ()
    return PAGE.format(
        policy=POLICY.format(scripts=" ".join(map(_hash, scripts)) or "'none'"),
        title=f"{report.study}: optuna-tuner report",
        style=Markup(own_file("page.css")),  # noqa: S704  our own file
        body=NOTHING.join(body),
        figures=_figures(report.plots, scripts),
    )


def plotly_js() -> str:
    """Plotly's whole library, as its Python package ships it: 4.8 MB."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def as_script_data(value: object) -> Markup:
    """JSON that cannot end the element which holds it."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  there is nothing left in it that HTML would read


def own_file(name: str) -> str:
    """A style sheet or a script that lies beside this module."""
    return files("optuna_tuner.results.report").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _figures(plots: Sequence[Plot], scripts: Sequence[str]) -> Markup:
    if not plots:
        return NOTHING
    data = as_script_data({plot.id: dict(plot.plotly) for plot in plots})
    held = Markup('<script type="application/json" id="plots">{}</script>\n').format(data)
    return held + NOTHING.join(Markup("<script>{}</script>\n").format(Markup(each)) for each in scripts)  # noqa: S704  our own files


def _section(shape: Markup, section: Section) -> Markup:
    return shape.format(id=section.id, title=section.title, body=NOTHING.join(map(_block, section.blocks)))


@singledispatch
def _block(block: Block) -> Markup:
    raise TypeError(block)


@_block.register
def _(block: Text) -> Markup:
    return Markup("<p>{}</p>\n").format(block.words)


@_block.register
def _(block: Notice) -> Markup:
    return Markup('<p class="notice" role="note">{}</p>\n').format(block.words)


@_block.register
def _(block: Decision) -> Markup:
    shape = Markup('<div class="decision {}"><strong>{}</strong><p>{}</p></div>\n')
    return shape.format(block.mood, block.what, block.why)


@_block.register
def _(block: Tiles) -> Markup:
    shape = Markup("<div><dt>{}</dt><dd>{}</dd><dd>{}</dd></div>")
    cells = (shape.format(tile.name, tile.value, tile.note) for tile in block.tiles)
    return Markup('<dl class="tiles">{}</dl>\n').format(NOTHING.join(cells))


@_block.register
def _(block: Bullets) -> Markup:
    items = (Markup("<li>{}</li>").format(item) for item in block.items)
    return Markup("<h3>{}</h3>\n<ul>{}</ul>\n").format(block.title, NOTHING.join(items))


@_block.register
def _(block: Code) -> Markup:
    return Markup("<pre><code>{}</code></pre>\n").format(block.text)


@_block.register
def _(block: Picture) -> Markup:
    return FIGURE.format(id=block.plot.id, title=block.plot.title, caption=block.plot.caption)


@_block.register
def _(grid: Grid) -> Markup:
    caption = Markup("<caption>{}</caption>").format(grid.caption) if grid.caption else NOTHING
    head = NOTHING.join(_cell("th", place, title, grid) for place, title in enumerate(grid.titles))
    rows = NOTHING.join(
        Markup("<tr>{}</tr>").format(NOTHING.join(_cell("td", place, text, grid) for place, text in enumerate(row)))
        for row in grid.rows
    )
    top = Markup("<thead><tr>{}</tr></thead>").format(head) if any(grid.titles) else NOTHING
    return Markup('<div class="wide"><table>{}{}<tbody>{}</tbody></table></div>\n').format(caption, top, rows)


def _cell(name: str, place: int, text: str, grid: Grid) -> Markup:
    numeric = Markup(' class="number"') if place in grid.numeric else NOTHING
    words = escape(text)
    if name == "th":  # a long name may be broken where it has a joint
        words = words.replace("_", Markup("_<wbr>"))
    return Markup("<{0}{1}>{2}</{0}>").format(name, numeric, words)
