"""GPUs: which there are, whether their memory is back, and the quarantine of those that do not come back.

A server's processes may be gone while its GPU is still full: the driver frees memory after the process has ended, and
a hung driver never does. So a GPU is free only when NVML says so.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from optuna_tuner import home
from optuna_tuner.clock import Deadline, poll
from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.memory.gpus import Gpu, told_by_nvml
from optuna_tuner.tuning import nvml
from optuna_tuner.tuning.nvml import Look

BACK_S = 60.0  # a GPU's memory comes back within a second or two; longer, and it may never
_EVERY_S = 0.25
_GROWTH = 0.05  # of the total: what may be used more than before, since other programs of the host breathe
_IDLE = 0.10  # of the total: the driver's own share and a desktop's; a server takes far more
_IDLE_MIB = 1024  # but a small GPU's driver and desktop take so much

logger = logging.getLogger(__name__)
_found_mib: dict[str, int] = {}  # used memory of the GPUs that this process owns, when it took them


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Why nobody may use a GPU, since when (UTC, ISO 8601), and how little must be used for it to come back."""

    since: str
    reason: str
    free_at_mib: int


def find_gpus() -> Mapping[int, str]:
    """UUIDs of the GPUs that this process may use, by index; none without a driver or without nvidia-ml-py.

    `CUDA_VISIBLE_DEVICES`, which a batch system sets, is kept. Raises EnvironmentFaultError when NVML breaks off.
    """
    with nvml.session() as open_nvml:
        return visible(open_nvml.uuids()) if open_nvml else {}


def visible(uuids: Mapping[int, str]) -> Mapping[int, str]:
    """Those of a host's GPUs that `CUDA_VISIBLE_DEVICES` names by index or by the beginning of a UUID.

    Like CUDA, it stops at the first name that fits no GPU.
    """
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return dict(uuids)
    chosen: dict[int, str] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        found = [index for index, uuid in uuids.items() if name == str(index) or uuid.startswith(name)]
        if not found:
            break
        chosen[found[0]] = uuids[found[0]]
    return chosen


def largest_mib(uuids: Iterable[str]) -> int | None:
    """Memory of the largest of these GPUs, all of it; None for none of them, and where NVML does not tell of each."""
    looks = _looks(uuids).values()
    return None if any(look.illness for look in looks) else max((look.total_mib for look in looks), default=None)


def kind_of(uuids: Sequence[str]) -> Gpu | None:
    """What these GPUs are; None where they differ, are not known, or NVML does not tell."""
    with nvml.session() as open_nvml:
        models = {open_nvml.model(uuid) for uuid in uuids} if open_nvml else set()
    model = models.pop() if len(models) == 1 else None
    return told_by_nvml(*model) if model else None


@contextmanager
def taken(uuids: Sequence[str], wait_s: float | None = None) -> Iterator[None]:
    """Use these GPUs, whose locks the caller holds; wait up to `wait_s` (default BACK_S) until they are free.

    Raises EnvironmentFaultError for one in quarantine, for one that is ill, and for one that is full: where foreign
    processes fill it, it names them; where nobody does, not even after BACK_S, it goes to quarantine.
    """
    demand_healthy(uuids)
    full = _wait_for(uuids, wait_s)
    for uuid, look in full.items():
        if look.illness or (wait_s is None and not look.pids):
            _quarantine(uuid, look)
    demand_healthy(uuids)
    if full:
        raise EnvironmentFaultError(_busy(full))
    looks = _looks(uuids)
    _found_mib.update({uuid: look.used_mib for uuid, look in looks.items()})
    try:
        yield
    finally:
        for uuid in looks:
            _found_mib.pop(uuid, None)


def come_back(uuids: Sequence[str], wait_s: float | None = None) -> bool:
    """Wait up to `wait_s` (default BACK_S) until the memory of these GPUs is back after a server's end.

    False when it is not; those that did not come back are in quarantine then. The caller holds the GPUs' locks.
    """
    waited = quarantined().keys() & set(uuids)
    full = _wait_for(uuids, 0 if waited else wait_s)
    for uuid, look in full.items():
        _quarantine(uuid, look)
    return not full


def busy(uuids: Sequence[str]) -> str | None:
    """Who fills one of these GPUs now, so that a server cannot be started there; None when they are free."""
    full = _wait_for(uuids, 0)
    return _busy(full) if full else None


def demand_healthy(uuids: Iterable[str]) -> None:
    """Raise EnvironmentFaultError when one of these GPUs is in quarantine and does not come back just now."""
    ill = quarantined()
    if any(uuid in ill for uuid in uuids):
        lift()
        ill = quarantined()
    words = [in_words(uuid, *ill[uuid]) for uuid in uuids if uuid in ill]
    if words:
        raise EnvironmentFaultError("; ".join(words))


def in_words(uuid: str, since: str, reason: str) -> str:
    """What a user is told of a GPU in quarantine."""
    back = "it comes back by itself when its memory is free; see optuna-tuner doctor"
    return f"{uuid} is in quarantine since {since}: {reason}; {back}"


def quarantined() -> Mapping[str, tuple[str, str]]:
    """The GPUs of this host that nobody may use: since when (UTC, ISO 8601), and why."""
    return {uuid: (each.since, each.reason) for uuid, each in _files()}


def lift() -> tuple[str, ...]:
    """Take those out of quarantine whose memory is back; returns which. Two at once do no harm."""
    files = dict(_files())
    back = [
        uuid for uuid, look in _looks(files).items() if not look.illness and look.used_mib <= files[uuid].free_at_mib
    ]
    for uuid in back:
        home.quarantine_file(uuid).unlink(missing_ok=True)
        logger.warning("%s came back from quarantine", uuid)
    return tuple(back)


def _wait_for(uuids: Sequence[str], wait_s: float | None) -> Mapping[str, Look]:
    """Those that are not free after so long; empty when all are, and where there is no NVML to ask."""
    full: Mapping[str, Look] = {}

    def look() -> bool | None:
        nonlocal full
        full = {uuid: each for uuid, each in _looks(uuids).items() if not _is_free(uuid, each)}
        return None if full else True

    poll(look, Deadline.after(BACK_S if wait_s is None else wait_s), _EVERY_S)
    return full


def _looks(uuids: Iterable[str]) -> Mapping[str, Look]:
    """Without NVML there is nothing to see, unless there was when the GPUs were taken: then the driver is gone."""
    wanted = tuple(uuids)
    if not wanted:
        return {}
    with nvml.session() as open_nvml:
        if open_nvml:
            return {uuid: open_nvml.look(uuid) for uuid in wanted}
    return {uuid: Look(illness="NVML does not answer any more") for uuid in wanted if uuid in _found_mib}


def _is_free(uuid: str, look: Look) -> bool:
    return not look.illness and look.used_mib <= _free_at_mib(uuid, look)


def _free_at_mib(uuid: str, look: Look) -> int:
    before = _found_mib.get(uuid)
    if before is not None:
        return before + int(_GROWTH * look.total_mib)
    return max(int(_IDLE * look.total_mib), _IDLE_MIB)


def _busy(full: Mapping[str, Look]) -> str:
    return "; ".join(f"{uuid} is busy: {_use(look)}" for uuid, look in full.items())


def _use(look: Look) -> str:
    if look.illness:
        return look.illness
    who = f"by {nvml.names(look.pids)}" if look.pids else "by nobody that can be seen from here"
    return f"{look.used_mib} of {look.total_mib} MiB are used {who}"


def _quarantine(uuid: str, look: Look) -> None:
    reason = look.illness or f"its memory did not come back: {_use(look)}"
    since = datetime.now(UTC).isoformat(timespec="seconds")
    note = Quarantine(since=since, reason=reason, free_at_mib=_free_at_mib(uuid, look))
    logger.error("%s goes to quarantine: %s", uuid, reason)
    file = home.quarantine_file(uuid)
    if file.exists():
        return  # since it was first seen
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(asdict(note)), encoding="utf-8")
        draft.replace(file)
    except OSError:  # a full disk: whoever wants this GPU next sees for himself that it is full
        logger.exception("%s cannot be written", file)


def _files() -> Iterator[tuple[str, Quarantine]]:
    for file in sorted(home.locks_folder().glob(f"[!.]*{home.QUARANTINE}")):
        note = _read(file)
        if note:
            yield file.name.removesuffix(home.QUARANTINE), note


def _read(file: Path) -> Quarantine | None:
    try:
        return Quarantine(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:  # it came back just now
        return None
    except (OSError, ValueError, TypeError):
        return Quarantine(since="an unknown time", reason=f"{file} cannot be read", free_at_mib=_IDLE_MIB)
