"""A lane of the campaign in a process of its own, which has no thread when it forks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from players import SKIPPED
from stage import ROOT


def lane(*arguments: str) -> str:
    """What `python benchmarks/chaos.py ARGUMENTS` printed. Fails with its words; skips where the lane does."""
    command = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode == SKIPPED:
        pytest.skip(ran.stdout.strip())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
