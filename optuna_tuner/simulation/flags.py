"""Flags by name, read as what they should be; a flag that is not there has its engine's default."""

from __future__ import annotations

from collections.abc import Mapping

from optuna_tuner.values import Scalar


class Flags:
    """The flags of one launch. Each method raises TypeError, which names the flag, for a value of another sort."""

    def __init__(self, given: Mapping[str, Scalar]) -> None:
        self._given = given

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def whole(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} should be a whole number, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        """Any number."""
        value = self._given.get(name, default)
        if isinstance(value, bool | str):
            raise TypeError(f"{name} should be a number, not {value!r}")
        return float(value)

    def on(self, name: str, default: bool) -> bool:  # noqa: FBT001  a default like the others
        """A switch."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be true or false, not {value!r}")
        return value

    def text(self, name: str, default: str) -> str:
        """A word."""
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise TypeError(f"{name} should be text, not {value!r}")
        return value
