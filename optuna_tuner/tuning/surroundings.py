"""Where a trial ran, for those who read its figures later: machine, GPUs and driver, software, git commit, job."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import psutil

from optuna_tuner import __version__
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.tuning import nvml
from optuna_tuner.values import Json

GIT_S = 5.0
# What a cluster tells of where a worker runs; nothing of this is a secret.
JOB_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_JOB_NODELIST",
    "SLURMD_NODENAME",
    "SLURM_CLUSTER_NAME",
    "PBS_JOBID",
    "LSB_JOBID",
)


@cache
def surroundings(gpus: tuple[str, ...]) -> dict[str, Json]:
    """What this process knows of its machine and software, as JSON; asked once. What cannot be known is left out."""
    known: dict[str, Json] = {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "architecture": platform.machine(),
        "cpu": _cpu(),
        "logical_cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        **_gpus(gpus),
        "versions": {"optuna-tuner": __version__, "python": platform.python_version(), **_packages()},
        "git_commit": _git_commit(Path.cwd()),
        "job": {name: os.environ[name] for name in JOB_VARIABLES if name in os.environ},
    }
    return {name: value for name, value in known.items() if value not in (None, "", {})}


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _gpus(uuids: Sequence[str]) -> dict[str, Json]:
    """Those of the slot, and the driver's version; nothing without NVML."""
    if not uuids:
        return {}
    try:
        with nvml.session() as open_nvml:
            return {} if open_nvml is None else open_nvml.about(uuids)
    except EnvironmentFaultError:
        return {}


def _packages() -> dict[str, Json]:
    """Every package of this Python, by the name of its folder: to read what lies in them takes 0.1 s of CPU.

    Source: "Recording installed projects", Python Packaging User Guide: {name}-{version}.dist-info.
    """
    folders = [folder.stem for entry in reversed(sys.path) for folder in Path(entry).glob("*-*.dist-info")]
    found = {name.replace("_", "-").lower(): version for name, _, version in (each.rpartition("-") for each in folders)}
    return dict(sorted(found.items()))


def _git_commit(folder: Path) -> str | None:
    """The commit of the folder where the worker was started, with "-dirty" for changed files; None outside of git."""
    git = shutil.which("git")
    if git is None:
        return None
    argv = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=GIT_S, check=False)  # noqa: S603  our own words
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None
