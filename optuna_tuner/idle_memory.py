"""What a worker does with the memory that it needs no more."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Let go of what has ended, and return its memory to the system as far as that is possible.

    A closed store is a cycle with a whole study in it, and Python is in no hurry with those. What it frees then, glibc
    keeps for later unless it is told (`malloc_trim`); other C libraries have no such word.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
