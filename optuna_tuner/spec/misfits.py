"""Values that are sound one by one but do not fit together: all of them are told, each with its field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic_core import PydanticCustomError

MISFITS = "misfits"  # the type of pydantic's error that carries them


class Misfit(NamedTuple):
    """One complaint about a field of the model that is being read."""

    path: tuple[str | int, ...]  # from the model downwards
    message: str


def refuse(misfits: Iterable[Misfit]) -> None:
    """Raise one pydantic error that carries all misfits, if there are any."""
    found = list(misfits)
    if found:
        text = "; ".join(f"{'.'.join(map(str, misfit.path))} {misfit.message}" for misfit in found)
        raise PydanticCustomError(MISFITS, "{text}", {"text": text, MISFITS: found})
