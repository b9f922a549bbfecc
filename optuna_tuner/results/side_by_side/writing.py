"""What differs, as tables, Markdown, a page of HTML, and data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from optuna_tuner.results.side_by_side import CONFIDENCE, Change, Difference, Setting
from optuna_tuner.results.tables import Cell
from optuna_tuner.results.wording import exact, interval, measured, percent
from optuna_tuner.values import Json

OWN = "(engine's own)"
_NOTHING = "-"
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: 0.5rem 0 1.5rem; }}
th, td {{ text-align: left; padding: 0.2rem 1.2rem 0.2rem 0; border-bottom: 1px solid #8886; vertical-align: top; }}
td {{ overflow-wrap: anywhere; }}
p.warning {{ border-left: 4px solid #c60; padding-left: 0.7rem; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


class Section(NamedTuple):
    """A table with its title."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def sections(found: Difference) -> Sequence[Section]:
    """In the order in which people read them; none without rows."""
    sides = found.first.name, found.second.name
    all_of_them = (
        Section("Figures", ("metric", *sides, "change", f"{CONFIDENCE:.0%} interval", ""), _figures(found)),
        Section("Flags", ("flag", *sides), _rows(found.flags, OWN)),
        Section("What the servers made of it", ("setting", *sides), _rows(found.resolved)),
        Section("Circumstances", ("", *sides), _rows(found.circumstances)),
    )
    return [each for each in all_of_them if each.rows]


def title(found: Difference) -> str:
    """What is compared."""
    return f"{found.first.name} and {found.second.name}"


def markdown(found: Difference) -> str:
    """For a merge request or a page."""
    parts = [f"# {_cell(title(found))}", *(f"> {_cell(warning)}" for warning in found.warnings)]
    for section in sections(found):
        rule = ["---"] * len(section.columns)
        lines = (f"| {' | '.join(map(_cell, row))} |" for row in (section.columns, rule, *section.rows))
        parts += [f"## {section.title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def html(found: Difference) -> str:
    """One page that needs nothing else."""
    parts = [f'<p class="warning">{escape(warning)}</p>' for warning in found.warnings]
    parts += [f"<h2>{escape(section.title)}</h2>\n{_table(section)}" for section in sections(found)]
    return _PAGE.format(title=escape(title(found)), body="\n".join(parts))


def document(found: Difference) -> dict[str, Json]:
    """All of it for JSON and YAML. Key names are stable; metrics in their units, changes as shares of the first."""
    named = {"flags": found.flags, "resolved": found.resolved, "circumstances": found.circumstances}
    return {
        **{
            place: {"study": side.study.name, "trial": side.trial.number, "runs": [run.number for run in side.runs]}
            for place, side in (("first", found.first), ("second", found.second))
        },
        "warnings": list(found.warnings),
        "metrics": [_change(change) for change in found.metrics],
        **{
            part: [{"name": row.name, "first": row.first, "second": row.second} for row in rows]
            for part, rows in named.items()
        },
    }


def _change(change: Change) -> dict[str, Json]:
    return {
        "metric": change.metric,
        "first": change.first,
        "second": change.second,
        "runs": list(change.runs),
        "share": change.share,
        "low": change.low,
        "high": change.high,
        "confidence": CONFIDENCE,
        "meaning": change.meaning,
    }


def _figures(found: Difference) -> Sequence[Sequence[str]]:
    return [
        (
            change.metric,
            f"{measured(change.metric, change.first)}{_of(change.runs[0])}",
            f"{measured(change.metric, change.second)}{_of(change.runs[1])}",
            "" if change.share is None else percent(change.share),
            interval(change.low, change.high),
            change.meaning,
        )
        for change in found.metrics
    ]


def _of(runs: int) -> str:
    return f" ({runs} runs)" if runs > 1 else ""


def _rows(settings: Sequence[Setting], nothing: str = _NOTHING) -> Sequence[Sequence[str]]:
    return [(row.name, _said(row.first, nothing), _said(row.second, nothing)) for row in settings]


def _said(value: Cell, nothing: str) -> str:
    return nothing if value is None else exact(value)


def _cell(text: str) -> str:
    """Nothing in it can end a cell, begin a tag or a link."""
    plain = " ".join(text.split())
    return "".join(f"\\{each}" if each in "\\|<>[]`*#" else each for each in plain)


def _table(section: Section) -> str:
    return "\n".join(("<table>", *_html_rows(section), "</table>"))


def _html_rows(section: Section) -> Iterator[str]:
    yield _html_row("th", section.columns)
    yield from (_html_row("td", row) for row in section.rows)


def _html_row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
