"""A worker between two studies holds no memory that it does not need."""

from __future__ import annotations

import ctypes

import psutil
import pytest

from optuna_tuner.idle_memory import give_back

PIECES = 100_000
KIB = 1 << 10


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc")
def test_what_was_freed_below_something_that_lives_goes_back_to_the_system() -> None:
    process = psutil.Process()
    pieces = [bytes(KIB) for _ in range(PIECES)]
    del pieces[:-1]  # the last lies above all others
    before = process.memory_info().rss
    give_back()
    assert before - process.memory_info().rss > PIECES * KIB / 2
