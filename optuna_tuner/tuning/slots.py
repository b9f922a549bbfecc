"""What one worker owns on this host: GPUs, or CPU cores where there are none."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from optuna_tuner import home
from optuna_tuner.errors import ConflictError, EnvironmentFaultError
from optuna_tuner.values import Slot

_SERVER_ENDS_S = 15.0  # the server of a worker that was just killed may hold its device for so long


def find_slots(workers: int, gpus_per_slot: int | None = None) -> tuple[Slot, ...]:
    """Divide this host among so many workers.

    GPUs go to the workers in equal numbers, or `gpus_per_slot` to each. Without a GPU, or for none, each worker has an
    equal number of the CPU cores that this process may use; one of them is left to the load client when there are two
    or more, and the slot's cores are the server's. Raises EnvironmentFaultError when there is too little for all.
    """
    gpus = find_gpus()
    if gpus and gpus_per_slot != 0:
        return divide_gpus(gpus, workers, gpus_per_slot)
    return divide_cores(sorted(os.sched_getaffinity(0)), workers)


def divide_gpus(gpus: Mapping[int, str], workers: int, each: int | None) -> tuple[Slot, ...]:
    """The slots of so many workers on these GPUs, given by index and UUID."""
    wanted = each or max(1, len(gpus) // workers)
    if workers * wanted > len(gpus):
        raise EnvironmentFaultError(
            f"{workers} workers with {wanted} GPUs each want {workers * wanted} GPUs; this process may use {len(gpus)}"
        )
    shares = _shares(sorted(gpus), workers, wanted)
    return tuple(
        Slot(name=f"gpu-{_spans(share)}", host=socket.gethostname(), gpus=tuple(gpus[index] for index in share))
        for share in shares
    )


def divide_cores(cores: Sequence[int], workers: int) -> tuple[Slot, ...]:
    """The slots of so many workers on these cores."""
    each = len(cores) // workers
    if each == 0:
        raise EnvironmentFaultError(
            f"{workers} workers want a CPU core each for their servers; this process may use {len(cores)}: "
            f"ask for {len(cores)} workers at most"
        )
    servers = [share[:-1] if each > 1 else share for share in _shares(cores, workers, each)]
    return tuple(Slot(name=f"cpu-{_spans(share)}", host=socket.gethostname(), cores=tuple(share)) for share in servers)


def find_gpus() -> Mapping[int, str]:
    """UUIDs of the GPUs that this process may use, by index; none without a driver or without nvidia-ml-py.

    `CUDA_VISIBLE_DEVICES`, which a batch system sets, is kept.
    """
    try:
        import pynvml  # noqa: PLC0415  an extra, and slow to load
    except ImportError:
        return {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return visible([str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles])
    finally:
        pynvml.nvmlShutdown()


def visible(uuids: Sequence[str]) -> Mapping[int, str]:
    """Those of a host's GPUs that `CUDA_VISIBLE_DEVICES` names by index or by the beginning of a UUID.

    Like CUDA, it stops at the first name that fits no GPU.
    """
    everything = dict(enumerate(uuids))
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return everything
    chosen: dict[int, str] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        found = [index for index, uuid in everything.items() if name == str(index) or uuid.startswith(name)]
        if not found:
            break
        chosen[found[0]] = everything[found[0]]
    return chosen


@contextmanager
def holding_free(name: str | None = None) -> Iterator[Slot]:
    """Own the slot of this name, or else the first that nobody holds, the largest ones first.

    Raises ConflictError when it, or all, are held, and EnvironmentFaultError when there is none of this name.
    """
    slots = _all_slots()
    if name is not None:
        if name not in slots:
            raise EnvironmentFaultError(f'this host has no slot "{name}"; it has {", ".join(slots)}')
        slots = {name: slots[name]}
    with ExitStack() as stack:
        yield _first_free(slots.values(), stack)


def _first_free(slots: Iterable[Slot], stack: ExitStack) -> Slot:
    reasons: list[str] = []
    for slot in slots:
        try:
            stack.enter_context(holding(slot, wait_s=0))
        except ConflictError as conflict:
            reasons.append(str(conflict))
        else:
            return slot
    raise ConflictError("; ".join(dict.fromkeys(reasons)))


@contextmanager
def holding(slot: Slot, *, wait_s: float = _SERVER_ENDS_S) -> Iterator[None]:
    """Own the slot's GPUs or cores on this host, whatever the study. The kernel gives them back if this process dies.

    A device is free only when the last server on it has ended, too: its supervisor holds a lock of its own until then.
    Raises ConflictError, which says who holds what.
    """
    home.locks_folder().mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for device in slot.devices:
            _hold(stack, device, slot)
        for device in slot.devices:
            _wait_for_server(device, wait_s)
        yield


def _hold(stack: ExitStack, device: str, slot: Slot) -> None:
    holder = home.locks_folder() / f"{device}.holder"
    try:
        stack.enter_context(FileLock(home.locks_folder() / f"{device}.lock", timeout=0))
    except Timeout:
        raise ConflictError(f"{device} on {slot.host} is held by {_who(holder)}") from None
    holder.write_text(f"process {os.getpid()} as slot {slot.name}", encoding="utf-8")


def _who(holder: Path) -> str:
    try:
        return holder.read_text(encoding="utf-8") or "another process"
    except FileNotFoundError:
        return "another process"


def _wait_for_server(device: str, wait_s: float) -> None:
    try:
        with FileLock(home.server_lock(device), timeout=wait_s):
            return
    except Timeout:
        raise ConflictError(f"a server still runs on {device}, though its worker is gone") from None


def _all_slots() -> Mapping[str, Slot]:
    most = len(find_gpus()) or len(os.sched_getaffinity(0))
    return {slot.name: slot for workers in range(1, most + 1) for slot in find_slots(workers)}


def _shares(items: Sequence[int], count: int, each: int) -> list[Sequence[int]]:
    return [items[number * each : (number + 1) * each] for number in range(count)]


def _spans(numbers: Sequence[int]) -> str:
    """Short and unambiguous: 0-3 for 0, 1, 2, 3; 0.2 for 0 and 2."""
    first, last = numbers[0], numbers[-1]
    if last - first + 1 == len(numbers):
        return str(first) if first == last else f"{first}-{last}"
    return ".".join(map(str, numbers))
