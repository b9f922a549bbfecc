"""Loaded by every Python of the soak's workers, whose wall clock libfaketime moves.

libfaketime 0.9.10 (Debian 12) with DONT_FAKE_MONOTONIC breaks clock_nanosleep, and so `time.sleep` of Python 3.11: it
fails with EINVAL. All other ways to wait work, so sleep waits in one of them.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    """As time.sleep."""
    select.select([], [], [], float(seconds))


time.sleep = sleep
