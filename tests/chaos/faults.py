"""Faults that hit one worker, its server, its client or its GPU."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from chaos_client import LIES
from proc_table import lives, send, start_of
from scene import Hit, Kind, Scene, halted, has_server, server_process, supervisor_record
from watch import PHASES, Victim, phase_in_events

Strike = Callable[[Scene, Victim], Hit | None]
WITH_SERVER = frozenset({"start_up", "warm_up", "benchmark", "teardown"})
ANY = WITH_SERVER | {"claim", "between"}
FLOOD_MIB = (20, 60)
LONGER_S = 3.0
REAP_EVERY_S = 6.0
LATE_S = 1.5  # how long the memory of a GPU is still taken after its server has ended


def worker_signal(number: signal.Signals) -> Strike:
    """A signal to the worker, which stands still while it is sent, so that its phase is certain."""

    def strike(scene: Scene, victim: Victim) -> Hit | None:
        with scene.frozen(victim) as now:
            if now is None or not send(victim.pid, victim.start, number):
                return None
            return Hit(phase=now.phase)

    return strike


def stop_worker(scene: Scene, victim: Victim) -> Hit | None:
    """SIGSTOP until somebody has retired it, or well beyond the lease; then SIGCONT."""
    if not send(victim.pid, victim.start, signal.SIGSTOP):
        return None

    def go_on() -> None:
        send(victim.pid, victim.start, signal.SIGCONT)

    scene.undo.append(go_on)
    halted(victim.pid)
    phase, began = scene.watch.again(victim).phase, time.monotonic()

    def look() -> str | None:
        stood_s = time.monotonic() - began
        retired = scene.database.ask(f"SELECT retired FROM tuner_worker WHERE id = '{victim.worker}'")[0]["retired"]  # noqa: S608  ours
        if stood_s < scene.lease_s + 0.5 or (not retired and stood_s < scene.lease_s + LONGER_S):
            return None  # one that was stopped with a lock of the database in its hand cannot be retired
        alive = lives(victim.pid, victim.start)
        go_on()
        return phase if alive else ""

    return Hit(look=look, patience_s=scene.lease_s + 60, missed=go_on)


def client(scene: Scene, victim: Victim) -> tuple[int, int] | None:
    """Pid and start of the load client, before it reports."""
    event = scene.log.last(victim.server, "warm-up", "measure", "report", "lied")
    start = start_of(event["pid"]) if event and event["what"] in {"warm-up", "measure"} else None
    return (event["pid"], start) if event and start is not None else None


def kill_client(scene: Scene, victim: Victim) -> Hit | None:
    """Kill -9 of the load client."""
    return _strike_at(scene, victim, client(scene, victim), signal.SIGKILL)


def server_signal(number: signal.Signals) -> Strike:
    """A signal to the server."""
    return lambda scene, victim: _strike_at(scene, victim, server_process(scene, victim), number)


def kill_supervisor(scene: Scene, victim: Victim) -> Hit | None:
    """Kill -9 of the process that stands between the worker and the server."""
    found = supervisor_record(scene, victim).get("supervisor")
    return _strike_at(scene, victim, found if isinstance(found, list) else None, signal.SIGKILL)


def _strike_at(scene: Scene, victim: Victim, process: Sequence[int] | None, number: signal.Signals) -> Hit | None:
    if process is None:
        return None
    with scene.frozen(victim) as now:
        if now is None or now.phase not in WITH_SERVER or now.attempt != victim.attempt:
            return None
        return Hit(phase=now.phase) if send(process[0], process[1], number) else None


def flood(scene: Scene, victim: Victim) -> Hit | None:
    """Tens of MB of log at once. The server's own events say in which phase it began."""
    if server_process(scene, victim) is None:
        return None
    order = scene.stage.order(f"flood.{victim.server}", str(scene.chance.randint(*FLOOD_MIB)))

    def look() -> str | None:
        events = scene.log.of_server.get(victim.server, [])
        at = next((index for index, event in enumerate(events) if event["what"] == "flood-begin"), None)
        if at is None:
            return None
        # A worker that has entered the warm-up has not yet started the client that says so.
        return max(phase_in_events(events, at), victim.phase, key=PHASES.index)

    return Hit(look=look, missed=lambda: order.unlink(missing_ok=True))


def lie(scene: Scene, victim: Victim) -> Hit | None:
    """A benchmark that reports what cannot be."""
    kinds = sorted(LIES)
    told = [event["kind"] for event in scene.log.all if event["what"] == "lied"]
    kind = min(kinds, key=lambda each: (told.count(each), scene.chance.random()))
    order = scene.stage.order(f"lie.{victim.server}", kind)

    def look() -> str | None:
        return "benchmark" if scene.log.last(victim.server, "lied") else None

    return Hit(look=look, missed=lambda: order.unlink(missing_ok=True))


def chosen_port(scene: Scene, victim: Victim) -> int:
    """The port that its server will listen on; 0 when there is none yet, and when it does already."""
    port = supervisor_record(scene, victim).get("port")
    begun = scene.log.last(victim.server, "listening", "server-failed")
    return port if isinstance(port, int) and not begun else 0


def steal_port(scene: Scene, victim: Victim) -> Hit | None:
    """Listen on the port that the supervisor has chosen, before the server does."""
    port = chosen_port(scene, victim)
    if not port:
        return None
    thief = socket.socket()
    try:
        thief.bind(("127.0.0.1", port))
    except OSError:
        thief.close()
        return None
    thief.listen()

    def look() -> str | None:
        failed = scene.log.last(victim.server, "server-failed")
        if failed is None:
            return None
        thief.close()
        return "start_up" if "in use" in failed["error"] else ""

    return Hit(look=look, missed=thief.close)


def keep_memory(scene: Scene, victim: Victim) -> Hit | None:
    """The GPU's memory comes back late: some time after its server has ended."""
    process = server_process(scene, victim)
    if process is None:
        return None
    stuck = scene.stage.folder / "fake_gpus" / f"{victim.gpu}.stuck"
    if stuck.exists():
        return None
    with scene.frozen(victim) as now:
        if now is None or now.attempt != victim.attempt or not lives(*process):
            return None
        phase = now.phase
        stuck.touch()
    ended: list[float] = []

    def look() -> str | None:
        if not ended and not lives(*process):
            ended.append(time.monotonic())
        if not ended or time.monotonic() < ended[0] + LATE_S:
            return None
        give_back(stuck)
        return phase

    return Hit(look=look, patience_s=20, missed=lambda: give_back(stuck))


def give_back(stuck: Path) -> None:
    """The memory is free again."""
    stuck.unlink(missing_ok=True)


def has_database_open(scene: Scene, pid: int) -> bool:
    """Whether a process has begun its work: it has opened the database."""
    sign = "studies.db" if scene.database.kind == "sqlite" else "socket:"
    with suppress(OSError):
        return any(sign in str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir())
    return False


def reaper_works(scene: Scene) -> bool:
    """Whether an `optuna-tuner reap` is at it; one is started now and then."""
    now = time.monotonic()
    if scene.reaper is None or scene.reaper.poll() is not None:
        if now >= scene.next_reaper:
            scene.reaper = scene.stage.spawn("reap.log", "reap", extra=scene.crew.extra)
            scene.next_reaper = now + REAP_EVERY_S
        return False
    return has_database_open(scene, scene.reaper.pid)


def kill_reaper(scene: Scene, victim: Victim) -> Hit | None:
    """Kill -9 of `optuna-tuner reap` at its work."""
    reaper = scene.reaper
    with scene.frozen(victim) as now:
        if now is None or reaper is None or reaper.poll() is not None or not has_database_open(scene, reaper.pid):
            return None
        reaper.kill()
        return Hit(phase=now.phase) if reaper.wait() == -signal.SIGKILL else None


KINDS = (
    Kind("worker kill -9", ANY, worker_signal(signal.SIGKILL)),
    Kind("worker SIGTERM", ANY, worker_signal(signal.SIGTERM)),
    Kind("worker SIGSTOP", ANY, stop_worker),
    Kind("server kill -9", WITH_SERVER, server_signal(signal.SIGKILL), possible=has_server),
    Kind("server SIGSTOP", WITH_SERVER, server_signal(signal.SIGSTOP), possible=has_server),
    Kind("supervisor kill -9", WITH_SERVER, kill_supervisor),
    Kind(
        "client kill -9", frozenset({"warm_up", "benchmark"}), kill_client, possible=lambda *at: client(*at) is not None
    ),
    Kind("log flood", WITH_SERVER, flood, possible=has_server),
    Kind("benchmark lies", frozenset({"benchmark"}), lie),
    Kind("port stolen", frozenset({"start_up"}), steal_port, possible=lambda *at: chosen_port(*at) > 0),
    Kind("GPU memory late", frozenset({"benchmark", "teardown"}), keep_memory, possible=has_server),
    Kind("reaper kill -9", ANY, kill_reaper, whole=True, fleeting=True, ready=reaper_works),
)
