"""Where a server, its machine and the load client can be looked at while it is measured. Looking never raises."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Protocol

import httpx
import psutil

from optuna_tuner.clock import now
from optuna_tuner.errors import EnvironmentFaultError, TrialError
from optuna_tuner.http import authorization, client, whole
from optuna_tuner.tuning import nvml
from optuna_tuner.tuning.deployment import Server
from optuna_tuner.values import Metrics

ASK_S = 2.0
TRIES = 3  # a server that gave no page so often has none
SHORTEST_S = 0.05  # between two looks at CPU time, which is counted in hundredths of a second
FAMILY_EVERY_S = 5.0  # to find all processes of a family costs a look at every process of the machine
GUARD = "optuna_tuner.benchmarks.client_guard"
GIB = 1 << 30


class Sight(Protocol):
    """Something to look at."""

    def look(self) -> Metrics:
        """What is seen now, by names of `optuna_tuner.metrics.SEEN` without a statistic; nothing is no error."""

    def close(self) -> None:
        """Look no more."""


class Page:
    """The server's own `/metrics`, on one connection that stays open."""

    def __init__(self, server: Server) -> None:
        self._engine, self._url = server.setting.parts.engine, f"{server.endpoint.url}/metrics"
        self._client = client(ASK_S, authorization(server.endpoint))
        self._failed, self._told = 0, False

    def look(self) -> Metrics:
        """What the engine reads in it. A page of more than `optuna_tuner.http.LARGEST_ANSWER` bytes is not read."""
        if self._failed >= TRIES and not self._told:
            return {}
        try:
            with self._client.stream("GET", self._url, follow_redirects=True) as answer:
                found = self._engine.told(whole(answer).raise_for_status().text)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            found = {}
        self._told = self._told or bool(found)
        self._failed += not found
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class Processes:
    """CPU and memory of the server's processes, and of the load client's busiest one."""

    def __init__(self, pid: int | None, *, clients: bool = True) -> None:
        """`clients`: load clients run on this machine."""
        self._pid, self._has_clients = pid, clients
        self._family: tuple[psutil.Process, ...] = ()
        self._clients: tuple[psutil.Process, ...] = ()
        self._used_s: Mapping[psutil.Process, float] = {}
        self._host = _host_s()
        self._at = self._family_at = -FAMILY_EVERY_S

    @property
    def pids(self) -> Collection[int]:
        """Of the server, as they were last seen."""
        return {each.pid for each in self._family}

    def look(self) -> Metrics:
        """Since the last look; the first one only begins."""
        at = now()
        if at - self._at < SHORTEST_S:
            return {}
        if at - self._family_at >= FAMILY_EVERY_S:
            self._family, self._clients, self._family_at = tuple(_family(self._pid)), self._found(), at
        used_s = {each: seconds for each in {*self._family, *self._clients} if (seconds := _used_s(each)) is not None}
        cores = {
            each: (used_s[each] - before) / (at - self._at) for each, before in self._used_s.items() if each in used_s
        }
        host, before = _host_s(), self._host
        first, self._at, self._used_s, self._host = not self._used_s, at, used_s, host
        return {} if first else dict(self._seen(cores, _use(before, host)))

    def _found(self) -> tuple[psutil.Process, ...]:
        return tuple(_clients()) if self._has_clients else ()

    def _seen(self, cores: Mapping[psutil.Process, float], host: float) -> Iterator[tuple[str, float]]:
        yield "host_cpu_use", host
        if self._clients:
            yield "client_cpu_cores", max(cores.get(each, 0.0) for each in self._clients)
        if self._family:
            own = [cores.get(each, 0.0) for each in self._family]
            yield "server_cpu_cores", sum(own)
            yield "server_busiest_process_cores", max(own)
            yield "server_memory_gib", sum(map(_resident, self._family)) / GIB

    def close(self) -> None:
        """Nothing is held."""


class Gpus:
    """The slot's GPUs where they are on this machine, else those on which the server's processes compute."""

    def __init__(self, server: Server, processes: Processes) -> None:
        self._stack = ExitStack()
        own = server.setting.slot.gpus if server.setting.parts.deployer.host_bound else ()
        self._nvml = self._stack.enter_context(nvml.session()) if own or processes.pids else None
        self._uuids = own or self._of(processes)

    def _of(self, processes: Processes) -> tuple[str, ...]:
        try:
            return self._nvml.used_by(processes.pids) if self._nvml else ()
        except EnvironmentFaultError:
            return ()

    def look(self) -> Metrics:
        """By NVML."""
        return self._nvml.work(self._uuids) if self._nvml and self._uuids else {}

    def close(self) -> None:
        """Let go of NVML."""
        self._stack.close()


def sights(server: Server) -> tuple[Sight, ...]:
    """All that can be looked at of a server that is to be measured."""
    processes = Processes(_main_process(server), clients=not server.setting.parts.deployer.hosts_clients)
    processes.look()  # finds them, for the GPUs
    return (Page(server), processes, Gpus(server, processes))


def _main_process(server: Server) -> int | None:
    try:
        return server.setting.parts.deployer.process(server.handle)
    except TrialError:
        return None


def _family(pid: int | None) -> Iterator[psutil.Process]:
    with suppress(psutil.Error):
        if pid is not None:
            yield (found := psutil.Process(pid))
            yield from found.children(recursive=True)


def _clients() -> Iterator[psutil.Process]:
    """The worker, which may be the load client itself, and the programs that it runs as one."""
    me = psutil.Process()
    yield me
    with suppress(psutil.Error):
        for child in me.children():
            with suppress(psutil.Error):
                if GUARD in child.cmdline():
                    yield from child.children(recursive=True)


def _used_s(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return None
    return float(times.user + times.system)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _host_s() -> tuple[float, float]:
    """CPU time of this machine since its start: all of it, and what was idle."""
    times = psutil.cpu_times()
    return sum(times[:8]), times.idle + times.iowait  # what guests used is in user and nice already


def _use(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Share of the CPU time between two looks that was not idle."""
    passed, idle = after[0] - before[0], after[1] - before[1]
    return min(1.0, max(0.0, 1 - idle / passed)) if passed > 0 else 0.0
