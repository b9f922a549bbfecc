"""NVML, NVIDIA's own account of its GPUs, behind a small typed surface. No error of its library leaves this file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.values import Json, Metrics

MIB = 1 << 20
SHARES = ("gpu_busy", "gpu_memory_busy")  # the mean of several GPUs; the rest is added up


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One GPU as it is now. `illness` says why it cannot be used at all; then the rest means nothing."""

    used_mib: int = 0
    total_mib: int = 0
    pids: tuple[int, ...] = ()  # of compute processes, as far as this container and user may know
    illness: str = ""


class Nvml:
    """NVML while it is open. It is never kept open: a session costs some 0.1 s, and outlives no driver."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    def uuids(self) -> Mapping[int, str]:
        """Names by index. One that has fallen off the bus is left out. Raises EnvironmentFaultError."""
        nvml = self._library
        try:
            count = int(nvml.nvmlDeviceGetCount())
        except nvml.NVMLError as error:
            raise EnvironmentFaultError(f"NVML does not list the GPUs: {_words(error)}; see nvidia-smi") from error
        named = ((index, self._uuid(index)) for index in range(count))
        return {index: uuid for index, uuid in named if uuid is not None}

    def _uuid(self, index: int) -> str | None:
        nvml = self._library
        try:
            return str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError:
            return None

    def look(self, uuid: str) -> Look:
        """How full it is, and by whom."""
        nvml = self._library
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            return Look(illness=f"NVML says: {_words(error)}")
        if self._is_divided(handle):
            return Look(illness="it is divided into MIG instances, and only whole GPUs are used")
        used, total = int(memory.used) // MIB, int(memory.total) // MIB
        return Look(used_mib=used, total_mib=total, pids=self._pids(handle))

    def work(self, uuids: Sequence[str]) -> Metrics:
        """What these GPUs do now, by names of `optuna_tuner.metrics.SEEN`; nothing unless NVML tells it of each."""
        told = [found for uuid in uuids if (found := self._work(uuid))]
        if not told or len(told) < len(uuids):
            return {}
        shared = set.intersection(*(set(each) for each in told))
        sums = {name: sum(each[name] for each in told) for name in shared}
        return {name: value / len(told) if name in SHARES else value for name, value in sums.items()}

    def _work(self, uuid: str) -> dict[str, float]:
        nvml = self._library
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            busy, memory = nvml.nvmlDeviceGetUtilizationRates(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError:
            return {}
        found = {
            "gpu_busy": int(busy.gpu) / 100,
            "gpu_memory_busy": int(busy.memory) / 100,
            "gpu_memory_gib": int(memory.used) / MIB / 1024,
        }
        with suppress(nvml.NVMLError):  # a virtual GPU does not tell it
            found["gpu_power_w"] = int(nvml.nvmlDeviceGetPowerUsage(handle)) / 1000
        return found

    def used_by(self, pids: Collection[int]) -> tuple[str, ...]:
        """The GPUs on which one of these processes computes."""
        return tuple(uuid for uuid in self.uuids().values() if set(self.look(uuid).pids) & set(pids))

    def about(self, uuids: Sequence[str]) -> dict[str, Json]:
        """What these GPUs are, and the driver's version; what NVML does not tell is left out."""
        return {"gpus": [self._named(uuid) for uuid in uuids], **self._driver()}

    def _named(self, uuid: str) -> dict[str, Json]:
        model = self.model(uuid)
        return {"uuid": uuid, **({"name": model[0], "memory_mib": model[1]} if model else {})}

    def model(self, uuid: str) -> tuple[str, int] | None:
        """What the GPU is called, and its memory in MiB; None where NVML does not tell."""
        nvml = self._library
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
            name, memory = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError:
            return None
        return str(name), int(memory.total) // MIB

    def _driver(self) -> dict[str, Json]:
        nvml = self._library
        try:
            return {"driver": str(nvml.nvmlSystemGetDriverVersion())}
        except nvml.NVMLError:
            return {}

    def _is_divided(self, handle: object) -> bool:
        nvml = self._library
        try:
            return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
        except nvml.NVMLError:  # most GPUs know no MIG
            return False

    def _pids(self, handle: object) -> tuple[int, ...]:
        nvml = self._library
        try:
            return tuple(sorted({int(each.pid) for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}))
        except nvml.NVMLError:  # a virtual GPU, or no right to know
            return ()


@contextmanager
def session() -> Iterator[Nvml | None]:
    """NVML for as long as it is asked; None without nvidia-ml-py or without a driver that answers."""
    library = _opened()
    if library is None:
        yield None
        return
    try:
        yield Nvml(library)
    finally:
        with suppress(library.NVMLError):  # the driver went away meanwhile: nothing is left to close
            library.nvmlShutdown()


def _opened() -> ModuleType | None:
    try:
        import pynvml  # noqa: PLC0415  an extra, and slow to load
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    library: ModuleType = pynvml
    return library


def names(pids: tuple[int, ...]) -> str:
    """Processes for people: number, and the command where it can be seen."""
    return ", ".join(f"{pid} ({command})" if (command := _command(pid)) else str(pid) for pid in pids)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__.removeprefix("NVMLError_")
