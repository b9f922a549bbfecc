"""Markdown that shows what is in it, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!~$&])")


def plain(text: str) -> str:
    """Text as text: one line, nothing in it means anything."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """A block of code, fenced longer than any fence inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.strip()}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain cells; empty when there are no rows."""
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def section(title: str, body: str) -> str:
    """A headed section; nothing when there is nothing to say."""
    return f"## {title}\n\n{body}" if body else ""


def page(*parts: str) -> str:
    """Parts, with an empty line between; the empty ones are left out."""
    return "\n\n".join(part for part in parts if part)
