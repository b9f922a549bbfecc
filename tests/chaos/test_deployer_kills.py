"""The worst moment of each deployer: its server runs, and nobody has noted where.

All moments are in `python benchmarks/chaos.py deployer-kills --help`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from lane import lane


@pytest.mark.parametrize("deployer", ["docker", "kubernetes", "slurm"])
def test_a_server_that_nobody_noted_is_found_and_ended(deployer: str, tmp_path: Path) -> None:
    words = ["--deployer", deployer, "--only", "unnoted", "--each", "1", "--keep", str(tmp_path)]
    assert "1 of 1 kills played, 0 failed" in lane("deployer-kills", *words)
