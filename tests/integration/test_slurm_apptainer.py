"""The promises of a deployer, kept by jobs of a real Slurm cluster whose servers run in Apptainer.

Debian 12 has no Apptainer: tests/lanes/apptainer.sh gets one, and runs this.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import JsonValue
from slurm_cluster import SlurmCluster
from test_slurm import TestSlurm as BareSlurm

from optuna_tuner import home
from optuna_tuner.testing import small_servers
from optuna_tuner.values import Status


@pytest.fixture(autouse=True)
def own_home(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch, container: JsonValue) -> None:
    folder = str(slurm.folder / "servers")
    TestApptainer.cluster = slurm
    TestApptainer.options = {
        "folder": folder,
        "address": "127.0.0.1",
        "poll_s": 1,
        "mem": "400M",
        "apptainer": container,
    }
    monkeypatch.setenv(home.HOME_VARIABLE, str(slurm.folder / "home"))


class TestApptainer(BareSlurm):
    """All that a bare job keeps, from inside a container."""

    not_found: ClassVar[str] = 'apptainer: "no-such-command": executable file not found in $PATH'

    def test_an_image_that_is_not_there_is_the_machines_fault(self, tmp_path: Path) -> None:
        deployer = self.deployer(apptainer={"image": "/nowhere/vllm.sif"})
        request = deployer.render(self.launch(small_servers.ANSWERS), "case-no-image", {"study": "cases"}, self.slot)
        handle = deployer.start(request, tmp_path)
        try:
            assert "could not open image /nowhere/vllm.sif" in self.seen(deployer, handle, Status.LOST).detail
        finally:
            deployer.stop(handle, 0)
