"""What a planted bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """`old` must be in the package's file exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """`promise` is what it breaks; at least one of the tests must turn red."""

    name: str
    promise: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]

    def edits_by_file(self) -> dict[str, list[tuple[str, str]]]:
        """As they are applied."""
        found: dict[str, list[tuple[str, str]]] = {}
        for edit in self.edits:
            found.setdefault(edit.file, []).append((edit.old, edit.new))
        return found


def bug(name: str, promise: str, change: tuple[str, str, str], *tests: str, also: tuple[Edit, ...] = ()) -> Bug:
    """Of one change, as (file, old, new)."""
    file, old, new = change
    return Bug(name=name, promise=promise, edits=(Edit(file=file, old=old, new=new), *also), tests=tests)
