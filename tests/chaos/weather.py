"""A store behind a proxy, or behind its own driver on SQLite: commits are cut on request, and rows are read raw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from commit_cuts import Cut, Cutter
from real_databases import rows
from sqlalchemy import make_url
from tcp_proxy import TcpProxy

from optuna_tuner.store.records import AttemptRecord, StudyRecord, WorkerRecord
from optuna_tuner.store.store import Store
from optuna_tuner.values import Slot

_ATTEMPTS = "attempt_id IN (SELECT id FROM tuner_attempt WHERE study_id = '{}')"
_OF_A_STUDY = {
    "tuner_study": "id = '{}'",
    "tuner_worker": "study_id = '{}'",
    "tuner_attempt": "study_id = '{}'",
    "tuner_resource": _ATTEMPTS,
    "tuner_event": _ATTEMPTS,
}


class Knife(Protocol):
    """What cuts commits."""

    def cut(self, *, before: bool, containing: str) -> None:
        """Cut the next commit of a transaction that wrote this."""

    @property
    def pending(self) -> bool:
        """Whether the cut has not come yet."""


class ProxyKnife:
    """Cuts the line to a server."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.proxy = proxy

    def cut(self, *, before: bool, containing: str) -> None:
        self.proxy.cut_next_commit(before=before, containing=containing)

    @property
    def pending(self) -> bool:
        return bool(self.proxy.armed)


class DriverKnife:
    """SQLite has no line: its driver says that the disk failed, before or after the commit."""

    def __init__(self, store: Store) -> None:
        self._cutter = Cutter(store)

    def cut(self, *, before: bool, containing: str) -> None:  # noqa: ARG002  the very next commit of this process it is
        self._cutter.cut_next(Cut.BEFORE if before else Cut.AFTER)

    @property
    def pending(self) -> bool:
        return self._cutter.pending


@dataclass(slots=True)
class World:
    """A store with a study and a worker of its own. `url` leads straight to the database, past any proxy."""

    url: str
    store: Store
    knife: Knife
    study: StudyRecord
    worker: WorkerRecord
    before: bool = False

    def afresh(self, *, before: bool) -> World:
        """The same store with another study and worker."""
        return _world(self.url, self.store, self.knife, before=before)

    @contextmanager
    def cut(self, containing: str) -> Iterator[None]:
        """Cut the commit of the write in the body. It must have come there, and only once."""
        self.knife.cut(before=self.before, containing=containing)
        yield
        assert not self.knife.pending

    def count(self, table: str, where: str = "1 = 1") -> int:
        """Rows of our study, read raw."""
        mine = _OF_A_STUDY[table].format(self.study.id)
        (found,) = rows(self.url, f"SELECT count(*) FROM {table} WHERE {mine} AND {where}")  # noqa: S608  our own words
        return int(found[0])

    def events(self, kind: str, attempt: AttemptRecord) -> int:
        """How often something is told of an attempt."""
        return self.count("tuner_event", f"kind = '{kind}' AND attempt_id = '{attempt.id}'")

    def claimed(self) -> AttemptRecord:
        """A running attempt of our worker."""
        attempt = self.store.attempts.claim(self.study.id, self.worker.id, baseline=False)
        assert attempt is not None
        return attempt

    def register(self) -> WorkerRecord:
        """One more worker."""
        return register(self.store, self.study.id)


def register(store: Store, study_id: str) -> WorkerRecord:
    """A worker of this study."""
    slot = Slot(name="gpu-0", host="h", gpus=("GPU-1",))
    return store.workers.register(study_id=study_id, slot=slot, host="h", boot_id="b", pid=1, pid_start=1.0)


@contextmanager
def world(url: str, kind: str) -> Iterator[World]:
    """A store on this empty database, with knives out."""
    if kind == "sqlite":
        with Store.open(url) as store:
            yield _world(url, store, DriverKnife(store))
        return
    with TcpProxy(make_url(url).port or 0, kind="mysql" if kind == "mysql" else "postgresql") as proxy:
        through = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
        with Store.open(through) as store:
            yield _world(url, store, ProxyKnife(proxy))


def _world(url: str, store: Store, knife: Knife, *, before: bool = False) -> World:
    study = store.studies.add(name=f"weather {uuid4()}", spec_json="{}", space_hash="", budget=10)
    return World(url, store, knife, study, register(store, study.id), before)


def tmpfs_is_possible(folder: Path) -> bool:
    """Whether this process may mount at all: it needs root and CAP_SYS_ADMIN."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff"))
    return bool(capabilities >> 21 & 1) and folder.is_dir()
