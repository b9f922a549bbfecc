"""NVML for a machine without GPUs: put this file's folder on PYTHONPATH, and `import pynvml` finds it.

The GPUs are the files of the folder `$OPTUNA_TUNER_FAKE_GPUS`: one file a GPU, its name is the UUID, for example
`GPU-fake-0`; it holds the GPU's memory in MiB, or nothing for 81920.

A server takes a GPU by an exclusive flock of its file, as the fake server does; while somebody holds it,
also by an inherited descriptor, the GPU's memory is used. Locks are only looked at here, never taken.

Files beside a GPU's own make it ill: `UUID.stuck` (memory is used, by nobody that can be seen), `UUID.lost` (NVML says
that the GPU is lost, as after an Xid error), `UUID.mig` (it is divided into MIG instances), `UUID.gone` (NVML does not
know it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VARIABLE = "OPTUNA_TUNER_FAKE_GPUS"
NAME = "Fake GPU"  # of each
_MIB = 1 << 20
_TOTAL_MIB, _IDLE = 81920, 512 * _MIB  # a driver keeps some for itself
_BUSY = 0.9  # of the memory


class NVMLError(Exception):
    """What every call may raise."""


class NVMLError_Uninitialized(NVMLError):  # noqa: N801, N818  pynvml's name
    """A call before nvmlInit or after nvmlShutdown."""


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818  pynvml's name
    """There is no driver: the variable names no folder."""


class NVMLError_NotFound(NVMLError):  # noqa: N801, N818  pynvml's name
    """No GPU has this index or UUID."""


class NVMLError_GpuIsLost(NVMLError):  # noqa: N801, N818  pynvml's name
    """It has fallen off the bus."""


class Memory(NamedTuple):
    """In bytes."""

    total: int
    free: int
    used: int


class Utilization(NamedTuple):
    """In percent of the time."""

    gpu: int
    memory: int


class ProcessInfo(NamedTuple):
    """A process on a GPU."""

    pid: int
    usedGpuMemory: int  # noqa: N815  pynvml's name


_users = 0  # nvmlInit counts its callers, and the last nvmlShutdown closes


def nvmlInit() -> None:  # noqa: N802  pynvml's name
    """Begin to use NVML."""
    global _users  # noqa: PLW0603  NVML's state is the process's own
    if not os.environ.get(VARIABLE) or not _folder().is_dir():
        raise NVMLError_LibraryNotFound
    _users += 1


def nvmlShutdown() -> None:  # noqa: N802  pynvml's name
    """End one use of NVML."""
    global _users  # noqa: PLW0603  as above
    _demand_open()
    _users -= 1


def nvmlDeviceGetCount() -> int:  # noqa: N802  pynvml's name
    """How many GPUs there are."""
    return len(_uuids())


def nvmlDeviceGetHandleByIndex(index: int) -> str:  # noqa: N802  pynvml's name
    """The handle of the GPU with this number."""
    uuids = _uuids()
    if not 0 <= index < len(uuids):
        raise NVMLError_NotFound
    return uuids[index]


def nvmlDeviceGetHandleByUUID(uuid: str) -> str:  # noqa: N802  pynvml's name
    """The handle of the GPU with this name."""
    if uuid not in _uuids():
        raise NVMLError_NotFound
    return uuid


def nvmlDeviceGetUUID(handle: str) -> str:  # noqa: N802  pynvml's name
    """The GPU's name."""
    return _healthy(handle)


def nvmlDeviceGetName(handle: str) -> str:  # noqa: N802  pynvml's name
    """The GPU's model."""
    _healthy(handle)
    return NAME


def nvmlSystemGetDriverVersion() -> str:  # noqa: N802  pynvml's name
    """The driver's version."""
    _demand_open()
    return "0.0"


def nvmlDeviceGetMemoryInfo(handle: str) -> Memory:  # noqa: N802  pynvml's name
    """How much memory is used."""
    busy = _beside(_healthy(handle), "stuck") or next(_holders(handle), None) is not None
    total = _total(handle)
    used = int(_BUSY * total) if busy else _IDLE
    return Memory(total=total, free=total - used, used=used)


def nvmlDeviceGetUtilizationRates(handle: str) -> Utilization:  # noqa: N802  pynvml's name
    """How much of the time it works: nearly always while a process holds it."""
    busy = next(_holders(_healthy(handle)), None) is not None
    return Utilization(gpu=97, memory=62) if busy else Utilization(gpu=0, memory=0)


def nvmlDeviceGetPowerUsage(handle: str) -> int:  # noqa: N802  pynvml's name
    """What it draws, in milliwatts."""
    return 640_000 if next(_holders(_healthy(handle)), None) is not None else 70_000


def nvmlDeviceGetMigMode(handle: str) -> list[int]:  # noqa: N802  pynvml's name
    """Whether it is divided into MIG instances, now and after the next reset."""
    mode = int(_beside(_healthy(handle), "mig"))
    return [mode, mode]


def nvmlDeviceGetComputeRunningProcesses(handle: str) -> list[ProcessInfo]:  # noqa: N802  pynvml's name
    """Who uses it: every process that holds its lock."""
    used = int(_BUSY * _total(handle))
    return [ProcessInfo(pid=pid, usedGpuMemory=used) for pid in _holders(_healthy(handle))]


def _folder() -> Path:
    return Path(os.environ.get(VARIABLE, ""))


def _demand_open() -> None:
    if _users == 0:
        raise NVMLError_Uninitialized


def _uuids() -> list[str]:
    _demand_open()
    names = sorted(path.name for path in _folder().iterdir())
    return [name for name in names if "." not in name and not _beside(name, "gone")]


def _total(uuid: str) -> int:
    return int((_folder() / uuid).read_text(encoding="ascii") or _TOTAL_MIB) * _MIB


def _beside(uuid: str, illness: str) -> bool:
    return (_folder() / f"{uuid}.{illness}").exists()


def _healthy(uuid: str) -> str:
    _demand_open()
    if _beside(uuid, "lost"):
        raise NVMLError_GpuIsLost
    return uuid


def _holders(uuid: str) -> Iterator[int]:
    """Processes with a locked descriptor of the file. /proc/locks names only the one that locked it, dead or alive."""
    file = os.stat(_folder() / uuid)  # noqa: PTH116  beside the other look at descriptors
    if f":{file.st_ino} " not in Path("/proc/locks").read_text(encoding="ascii"):
        return  # nobody: spare the look at all descriptors of all processes
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208  names are enough
        if any(_is_locked(pid, fd) for fd in _descriptors(pid, (file.st_dev, file.st_ino))):
            yield int(pid)


def _descriptors(pid: str, wanted: tuple[int, int]) -> Iterator[str]:
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208  names are enough
    except OSError:  # it has ended, or is another user's
        return
    for name in names:
        try:
            found = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116  a link that only stat follows
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == wanted:
            yield name


def _is_locked(pid: str, fd: str) -> bool:
    try:
        return "FLOCK" in Path(f"/proc/{pid}/fdinfo/{fd}").read_text(encoding="ascii")
    except OSError:
        return False
