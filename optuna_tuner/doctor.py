"""What is missing on this machine, and how to get it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass

from optuna_tuner.deployers.docker import found_daemon
from optuna_tuner.deployers.kubernetes_cluster import found_cluster
from optuna_tuner.deployers.slurm_cluster import Cluster
from optuna_tuner.deployers.slurm_options import SlurmOptions
from optuna_tuner.errors import DeployerError, StoreError, TunerError
from optuna_tuner.home import HOME_VARIABLE, home
from optuna_tuner.other_programs import AICONFIGURATOR, GENAI_BENCH, GUIDELLM, VLLM, Executable
from optuna_tuner.store.store import Store
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.slots import find_slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked for. `needed` is False for what only some studies use."""

    name: str
    ok: bool
    found: str
    how_to_get: str = ""
    needed: bool = False


def checks(storage: str) -> tuple[Check, ...]:
    """Look at everything that a study may stand on."""
    return (
        _python(),
        _home(),
        _database(storage),
        _slots(),
        _quarantine(),
        _slurm(),
        _kubernetes(),
        _extra("embedded server", "xllamacpp", "embedded"),
        _client("genai-bench", GENAI_BENCH.executable()),
        _client("guidellm", GUIDELLM.executable()),
        _client("vllm bench", VLLM),
        _client("aiconfigurator", AICONFIGURATOR.executable()),
        _docker(),
        _extra("GPU discovery", "pynvml", "gpu"),
        _extra("GP sampler", "torch", "gp"),
        _extra("PostgreSQL driver", "psycopg", "postgresql"),
        _extra("MySQL driver", "pymysql", "mysql"),
    )


def _python() -> Check:
    return Check(name="Python", ok=True, found=sys.version.split()[0], needed=True)


def _home() -> Check:
    """Whether what is kept on this machine can be written: the folder, or the nearest one above it that exists."""
    folder = home().absolute()
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    ok = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    found = str(folder) if ok else f"{nearest} cannot be written"
    return Check(
        name="home folder", ok=ok, found=found, how_to_get=f"let {HOME_VARIABLE} name another folder", needed=True
    )


def _database(storage: str) -> Check:
    try:
        store = Store.open(storage)
    except StoreError as error:
        return Check(name="database", ok=False, found=str(error), how_to_get="--storage, or mend it", needed=True)
    found = store.masked_url
    store.close()
    return Check(name="database", ok=True, found=found, needed=True)


def _slots() -> Check:
    try:
        slot = find_slots(1)[0]
    except TunerError as error:
        return Check(name="slot", ok=False, found=str(error), needed=True)
    cores = f"{len(slot.cores)} of {len(os.sched_getaffinity(0))} CPU cores for the server"
    found = f"{len(slot.gpus)} GPUs" if slot.gpus else f"no GPU found; {cores}"
    return Check(name="slot", ok=True, found=found, needed=True)


def _quarantine() -> Check:
    """GPUs whose memory did not come back; those that did come back meanwhile are free again by this very look."""
    gpus.lift()
    ill = "; ".join(f"{uuid} since {since}: {reason}" for uuid, (since, reason) in gpus.quarantined().items())
    how = "end what holds the memory (nvidia-smi), or reset the GPU; it then comes back by itself"
    return Check(name="GPU quarantine", ok=not ill, found=ill or "no GPU in it", how_to_get=how)


def _slurm() -> Check:
    """Whether a cluster answers to the commands that are here; a study may reach another one by ssh."""
    how = "run on a login node, or name one in the study: deployer.host"
    if shutil.which("scontrol") is None:
        return Check(name="Slurm", ok=False, found="not installed", how_to_get=how)
    try:
        return Check(name="Slurm", ok=True, found=Cluster(SlurmOptions()).answers())
    except DeployerError as error:
        return Check(name="Slurm", ok=False, found=str(error).rpartition("scontrol: ")[2], how_to_get=how)


def _kubernetes() -> Check:
    """The cluster that a study means which names none."""
    try:
        found = found_cluster()
    except DeployerError as error:
        how = "pip install 'optuna-tuner[kubernetes]', and let KUBECONFIG or the study name a cluster"
        return Check(name="Kubernetes", ok=False, found=str(error), how_to_get=how)
    return Check(name="Kubernetes", ok=True, found=found)


def _extra(name: str, module: str, extra: str) -> Check:
    ok = importlib.util.find_spec(module) is not None
    return Check(
        name=name, ok=ok, found=module if ok else "not installed", how_to_get=f"pip install 'optuna-tuner[{extra}]'"
    )


def _client(name: str, program: Executable) -> Check:
    found, missing = program.find(None), program.missing(None)
    return Check(name=name, ok=missing is None, found=str(found or "not found"), how_to_get=missing or "")


def _docker() -> Check:
    """The daemon that a study means which names none."""
    try:
        found = found_daemon()
    except DeployerError as error:
        how = "pip install 'optuna-tuner[docker]', and start dockerd, or let DOCKER_HOST name a daemon"
        return Check(name="Docker daemon", ok=False, found=str(error), how_to_get=how)
    return Check(name="Docker daemon", ok=True, found=found)
