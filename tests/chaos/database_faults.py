"""Faults that hit everybody: the database, the disk, the clock. Their phase is that of the worker that was waited for.

Those that make the database unreadable are waited out here: nothing else can be aimed meanwhile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from faults import ANY
from raw_rows import Away, RawDatabase
from scene import Hit, Kind, Scene
from watch import Victim, Watch

HOLD_S = (0.8, 2.0)
DOWN_S = (1.0, 3.0)
CLOCK_S = (-3600, 3600)  # steps to and from which the wall clock jumps
LIFE = ("tuner_attempt", "tuner_event", "tuner_resource", "trial_params", "INTO trials", "trial_values")  # not beats
_TABLES = ("tuner_study", "tuner_worker", "tuner_attempt", "tuner_resource", "tuner_event", "trials", "trial_params")
_LOCK = {
    "sqlite": ("BEGIN EXCLUSIVE",),
    "postgresql": (
        "BEGIN",
        "SET LOCAL lock_timeout = '2s'",
        f"LOCK TABLE {', '.join(_TABLES)} IN ACCESS EXCLUSIVE MODE",
    ),
    "mysql": ("SET lock_wait_timeout = 2", f"LOCK TABLES {', '.join(f'{table} WRITE' for table in _TABLES)}"),
}


def lock(scene: Scene, victim: Victim) -> Hit | None:
    """An exclusive lock on the database or its tables. Who holds it sees the phase: nobody can move."""
    locker = RawDatabase(scene.url)
    try:
        for statement in _LOCK[locker.kind]:
            locker.ask(statement)
        phase = Watch(locker, scene.log).again(victim).phase
        time.sleep(scene.span(*HOLD_S))
    except Away:  # somebody held it for too long, or a deadlock was found: no fault of ours then
        return None
    finally:
        locker.close()
    return Hit(phase=phase)


def fill(name: str) -> Callable[[Scene, Victim], Hit | None]:
    """No byte is left on the file system that holds the database, or the artifacts."""

    def strike(scene: Scene, victim: Victim) -> Hit | None:
        ballast = scene.disks[name] / "ballast"
        try:
            _fill(ballast)
            phase = scene.watch.again(victim).phase
            full = _free(ballast.parent) == 0
            time.sleep(scene.span(*HOLD_S))
        except Away:
            return None
        finally:
            ballast.unlink(missing_ok=True)
        return Hit(phase=phase) if full else None

    return strike


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while (free := _free(file.parent)) > 0:
            os.posix_fallocate(out.fileno(), out.seek(0, os.SEEK_END), free)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bfree * found.f_frsize


def jump(scene: Scene, victim: Victim) -> Hit | None:
    """The wall clock of all workers jumps by an hour or two; the monotonic one goes on."""
    if scene.clock is None or "libfaketime" not in Path(f"/proc/{victim.pid}/maps").read_text(encoding="utf-8"):
        return None
    with scene.frozen(victim) as now:
        if now is None:
            return None
        was = scene.clock.read_text(encoding="ascii").strip()
        steps = [step for step in (*CLOCK_S, 0) if f"{step:+d}" != was]
        draft = scene.clock.with_suffix(".new")
        draft.write_text(f"{scene.chance.choice(steps):+d}\n", encoding="ascii")
        draft.rename(scene.clock)
        return Hit(phase=now.phase)


def restart(scene: Scene, victim: Victim) -> Hit | None:
    """The database server dies, and is started again at once."""
    return _away(scene, victim, 0.0)


def outage(scene: Scene, victim: Victim) -> Hit | None:
    """The database server dies, and stays away for some seconds; or it stands still for as long."""
    if scene.chance.random() < 0.5:
        return _away(scene, victim, scene.span(*DOWN_S))
    server = scene.server
    with scene.frozen(victim) as now:
        if now is None or server is None:
            return None
        server.freeze()
        phase = now.phase
    time.sleep(scene.span(*DOWN_S))
    server.thaw()
    return Hit(phase=phase)


def _away(scene: Scene, victim: Victim, seconds: float) -> Hit | None:
    server = scene.server
    with scene.frozen(victim) as now:
        if now is None or server is None:
            return None
        server.kill()
        phase = now.phase
    time.sleep(seconds)
    server.start()
    return Hit(phase=phase)


def black_hole(scene: Scene, victim: Victim) -> Hit | None:
    """Nothing that is sent to the database arrives, and nobody says so."""
    proxy = scene.proxy
    with scene.frozen(victim) as now:
        if now is None or proxy is None:
            return None
        proxy.mode("black-hole")
        phase = now.phase
    time.sleep(scene.span(*DOWN_S))
    proxy.mode("pass")
    return Hit(phase=phase)


def cut(scene: Scene, victim: Victim) -> Hit | None:
    """The connection is lost at a commit: just before it, or after it and before its reply."""
    proxy = scene.proxy
    if proxy is None or proxy.armed:
        return None
    before = sum(count for name, count in proxy.landed.items() if name.startswith("cut"))
    with scene.frozen(victim) as now:
        if now is None:
            return None
        proxy.cut_next_commit(before=scene.chance.random() < 1 / 3, containing=scene.chance.choice(LIFE))
        phase = now.phase

    def look() -> str | None:
        landed = sum(count for name, count in proxy.landed.items() if name.startswith("cut"))
        return phase if landed > before else None

    return Hit(look=look, patience_s=10)


def kinds(scene: Scene) -> tuple[Kind, ...]:
    """Those that this scene has the means for."""
    found = [Kind("exclusive lock", ANY, lock, whole=True)]
    found += [Kind(name, ANY, fill(name), whole=True) for name in scene.disks]
    if scene.clock is not None:
        found.append(Kind("clock jump", ANY, jump, whole=True))
    if scene.server is not None:
        found += [
            Kind("database restart", ANY, restart, whole=True),
            Kind("database outage", ANY, outage, whole=True),
        ]
    if scene.proxy is not None:
        found += [
            Kind("black hole", ANY, black_hole, whole=True),
            Kind("cut at commit", ANY, cut, whole=True),
        ]
    return tuple(found)
