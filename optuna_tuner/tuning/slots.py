"""What one worker owns on this host: GPUs, or CPU cores where there are none."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from optuna_tuner import home
from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers import local_end, local_server
from optuna_tuner.errors import ConflictError, DeployerError, EnvironmentFaultError, TunerError
from optuna_tuner.tuning import gpus
from optuna_tuner.tuning.gpus import find_gpus
from optuna_tuner.values import Slot

_SERVER_ENDS_S = 15.0  # the server of a worker that was just killed may hold its device for so long
_LEFTOVER_GRACE_S = 3.0  # nobody waits for a dead worker's server, and its device is wanted

logger = logging.getLogger(__name__)


def slots_for(deployer: Deployer, workers: int) -> tuple[Slot, ...]:
    """The slots of so many workers: shares of this host, or slots elsewhere where the deployer's servers are not here.

    Raises EnvironmentFaultError when this host has too little for all.
    """
    if deployer.host_bound:
        return find_slots(workers)
    return tuple(_elsewhere(deployer, number) for number in range(workers))


def _elsewhere(deployer: Deployer, number: int) -> Slot:
    gpus_there = tuple(f"{deployer.kind}-gpu-{place}" for place in range(deployer.gpus))
    return Slot(name=f"{deployer.kind}-{number}", host=socket.gethostname(), gpus=gpus_there, elsewhere=True)


def find_slots(workers: int, gpus_per_slot: int | None = None) -> tuple[Slot, ...]:
    """Divide this host among so many workers.

    GPUs go to the workers in equal numbers, or `gpus_per_slot` to each; those in quarantine to nobody. Without a GPU,
    or for none, each worker has an equal number of the CPU cores that this process may use; one of them is left to the
    load client when there are two or more, and the slot's cores are the server's. Raises EnvironmentFaultError when
    there is too little for all.
    """
    found = find_gpus()
    if found and gpus_per_slot != 0:
        return divide_gpus(found, workers, gpus_per_slot, _in_quarantine(found.values()))
    return divide_cores(sorted(os.sched_getaffinity(0)), workers)


def _in_quarantine(uuids: Iterable[str]) -> Mapping[str, str]:
    """Those of these GPUs that nobody may use, and what is to be said of each."""
    if gpus.quarantined():
        gpus.lift()
    ill = gpus.quarantined()
    return {uuid: gpus.in_words(uuid, *ill[uuid]) for uuid in uuids if uuid in ill}


def divide_gpus(
    found: Mapping[int, str], workers: int, each: int | None, ill: Mapping[str, str] | None = None
) -> tuple[Slot, ...]:
    """The slots of so many workers on these GPUs, given by index and UUID, without those in quarantine (`ill`).

    A slot is as wide as it would be if all GPUs were healthy: the width belongs to what is measured.
    """
    wanted = each or max(1, len(found) // workers)
    healthy = [index for index in sorted(found) if found[index] not in (ill or {})]
    if workers * wanted > len(healthy):
        raise EnvironmentFaultError(
            f"{workers} workers with {wanted} GPUs each want {workers * wanted} GPUs; this process may use "
            f"{'; '.join((str(len(healthy)), *(ill or {}).values()))}"
        )
    shares = _shares(healthy, workers, wanted)
    return tuple(
        Slot(name=f"gpu-{_spans(share)}", host=socket.gethostname(), gpus=tuple(found[index] for index in share))
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


@contextmanager
def holding_for(deployer: Deployer, name: str | None = None) -> Iterator[Slot]:
    """Own a slot as `holding_free` does; where the deployer's servers are not here there is one for everybody."""
    if deployer.host_bound:
        with holding_free(name) as slot:
            yield slot
        return
    slot = _elsewhere(deployer, 0)
    yield replace(slot, name=name) if name else slot


@contextmanager
def holding_free(name: str | None = None) -> Iterator[Slot]:
    """Own the slot of this name, or else the first that is free, the largest ones first.

    Raises ConflictError when it, or all, are held, and EnvironmentFaultError when there is none of this name, or when
    what nobody holds cannot be used.
    """
    slots = _all_slots()
    if name is None:
        with ExitStack() as stack:
            yield _first_free(slots.values(), stack)
        return
    if name not in slots:
        raise EnvironmentFaultError(f'this host has no slot "{name}"; it has {", ".join(slots)}')
    with holding(slots[name]):
        yield slots[name]


def _first_free(slots: Iterable[Slot], stack: ExitStack) -> Slot:
    reasons: list[TunerError] = []
    for slot in slots:
        try:
            stack.enter_context(holding(slot, wait_s=0))
        except (ConflictError, EnvironmentFaultError) as error:
            reasons.append(error)
        else:
            return slot
    kind = ConflictError if any(isinstance(each, ConflictError) for each in reasons) else EnvironmentFaultError
    raise kind("; ".join(dict.fromkeys(map(str, reasons))))


@contextmanager
def holding(slot: Slot, *, wait_s: float | None = None) -> Iterator[None]:
    """Own the slot's GPUs or cores on this host, whatever the study. The kernel gives them back if this process dies.

    A device is free only when the last server on it has ended, too, and a GPU only when its memory is back. So what a
    dead worker left there is ended first; that and the GPU are waited for, at most `wait_s` each (default 15 s and
    `gpus.BACK_S`). Raises ConflictError, which says who holds what, and EnvironmentFaultError for a GPU that is full
    or in quarantine. A slot elsewhere has nothing to own.
    """
    if slot.elsewhere:
        yield
        return
    with ExitStack() as stack:
        for device in slot.devices:
            _hold(stack, device, slot)
        for device in slot.devices:
            _end_leftovers(device)
            _wait_for_server(device, _SERVER_ENDS_S if wait_s is None else wait_s)
        with gpus.taken(slot.gpus, wait_s):
            yield


def _hold(stack: ExitStack, device: str, slot: Slot) -> None:
    holder = home.locks_folder() / f"{device}.holder"
    try:
        home.locks_folder().mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(home.locks_folder() / f"{device}.lock", timeout=0))
    except Timeout:
        raise ConflictError(f"{device} on {slot.host} is held by {_who(holder)}") from None
    except OSError as error:
        raise EnvironmentFaultError(f"{device} cannot be locked: {error}") from error
    with suppress(OSError):  # a full disk: nobody can read then who holds it, but it is held
        holder.write_text(f"process {os.getpid()} as slot {slot.name}", encoding="utf-8")


def _end_leftovers(device: str) -> None:
    """End servers on a device that we hold: their worker, whose lock we got, is dead, and maybe their supervisor."""
    for server in local_server.on_device(device):
        logger.warning("ending %s, which a dead worker left on %s", server.name, device)
        try:
            local_end.end(server, _LEFTOVER_GRACE_S)
        except (DeployerError, OSError) as error:
            raise ConflictError(f"a dead worker's server is still on {device}: {error}") from error
        server.forget()


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
    """Every slot that there may be, also those with a GPU in quarantine: whoever asks for one is told so."""
    found = find_gpus()
    if found:
        some = (divide_gpus(found, workers, None) for workers in range(1, len(found) + 1))
    else:
        cores = sorted(os.sched_getaffinity(0))
        some = (divide_cores(cores, workers) for workers in range(1, len(cores) + 1))
    return {slot.name: slot for slots in some for slot in slots}


def _shares(items: Sequence[int], count: int, each: int) -> list[Sequence[int]]:
    return [items[number * each : (number + 1) * each] for number in range(count)]


def _spans(numbers: Sequence[int]) -> str:
    """Short and unambiguous: 0-3 for 0, 1, 2, 3; 0.2 for 0 and 2."""
    first, last = numbers[0], numbers[-1]
    if last - first + 1 == len(numbers):
        return str(first) if first == last else f"{first}-{last}"
    return ".".join(map(str, numbers))
