"""Ways in which a database is away for a while."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle

from raw_rows import connect
from real_databases import Server
from tcp_proxy import TcpProxy


@dataclass(slots=True, kw_only=True)
class Fault:
    """One time without a database."""

    name: str
    seconds: float
    away: Callable[[float], None]


def kill_and_wait(running: Server) -> Callable[[float], None]:
    """The server dies as in a crash, stays dead, and is started again."""

    def away(seconds: float) -> None:
        running.kill()
        time.sleep(seconds)
        running.start()

    return away


def refuse(proxy: TcpProxy) -> Callable[[float], None]:
    """Connections are reset, and refused for a while."""

    def away(seconds: float) -> None:
        proxy.mode("refuse")
        proxy.reset()
        time.sleep(seconds)
        proxy.mode("pass")

    return away


def lock(url: str) -> Callable[[float], None]:
    """Somebody holds an exclusive lock."""

    def away(seconds: float) -> None:
        with closing(connect(url, patience_s=60)) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            other.execute("COMMIT")

    return away


def faults_of(arguments: argparse.Namespace, url: str, running: Server | None, proxy: TcpProxy | None) -> list[Fault]:
    """All faults in their order: outages of both kinds in turns, then restarts."""
    if running is None or proxy is None:
        return [
            Fault(name="exclusive lock", seconds=arguments.seconds, away=lock(url)) for _ in range(arguments.outages)
        ]
    kinds = cycle([("server dead", kill_and_wait(running)), ("line refused", refuse(proxy))])
    outages = [
        Fault(name=name, seconds=arguments.seconds, away=away)
        for _, (name, away) in zip(range(arguments.outages), kinds, strict=False)
    ]
    return [
        *outages,
        *(Fault(name="restart", seconds=0.0, away=kill_and_wait(running)) for _ in range(arguments.restarts)),
    ]
