"""A log that keeps its beginning and its end, and never more than so many bytes."""

from __future__ import annotations

import os
from contextlib import suppress

OLD, NEW = ".old", ".new"  # the rolling end lies in two files beside the first one


class BoundedLog:
    """Writes a flood into at most `max_bytes` of disk: the first fifth for ever, the rest rolls in two halves.

    A full disk loses log lines and nothing else.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self._path = path
        self._half = max_bytes * 2 // 5
        self._left = max_bytes - 2 * self._half
        self._rolling = False
        self._file = self._open(path)

    def write(self, data: bytes) -> None:
        """Append."""
        while data and self._has_room():
            part, data = data[: self._left], data[self._left :]
            self._left -= len(part)
            with suppress(OSError):
                os.write(self._file, part)

    def _has_room(self) -> bool:
        """False where a full disk has none for another file; the next words try again."""
        if self._left <= 0:
            with suppress(OSError):
                self._roll()
        return self._left > 0

    def _roll(self) -> None:
        if self._rolling:
            with suppress(FileNotFoundError):  # an earlier roll came no further than this
                os.replace(self._path + NEW, self._path + OLD)  # noqa: PTH105  pathlib doubles the start-up
        self._rolling = True
        fresh = self._open(self._path + NEW)
        os.close(self._file)
        self._file, self._left = fresh, self._half

    @staticmethod
    def _open(path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)


def read(path: str) -> str:
    """The log so far. Where bytes were left out, a line says so."""
    first, old, new = (_content(path + suffix) for suffix in ("", OLD, NEW))
    gap = b"\n[... the middle of this log was not kept ...]\n" if old else b""
    return (first + gap + old + new).decode(errors="replace")


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  pathlib doubles the start-up
            return file.read()
    except FileNotFoundError:
        return b""
