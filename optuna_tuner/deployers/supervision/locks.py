"""Locks of this host, held by the supervisor for as long as its server lives: ports and devices."""

from __future__ import annotations

import fcntl
import os
import socket

LOOPBACK = "127.0.0.1"


def hold(path: str) -> int | None:
    """Lock this file, as filelock does, until the descriptor is closed; None when somebody else holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return fd


def hold_devices(paths: list[str]) -> list[int]:
    """Lock all of these; returns the descriptors.

    Raises OSError when one is held: an ending server keeps its device to the last.
    """
    return [_hold_device(path) for path in paths]


def _hold_device(path: str) -> int:
    fd = hold(path)
    if fd is None:
        device = os.path.basename(path).removesuffix(".server.lock")  # noqa: PTH119  pathlib doubles the start-up
        raise OSError(f"another server on this host still holds {device}")
    return fd


def hold_port(low: int, high: int, folder: str) -> int:
    """Choose a port, lock it, and see that nobody listens on it. Raises OSError when none is left.

    Ports that the kernel gives to outgoing connections are left out: one of those could come between.
    """
    outgoing = _outgoing()
    ports = [port for port in range(low, high + 1) if port not in outgoing]
    if not ports:
        raise OSError(f"ports {low} to {high} are all among the kernel's own for outgoing connections")
    first = int.from_bytes(os.urandom(4), "big") % len(ports)
    for port in ports[first:] + ports[:first]:
        fd = hold(port_lock(folder, port))
        if fd is None:
            continue
        if is_free(port):
            return port
        os.close(fd)
    raise OSError(f"no port from {low} to {high} is free")


def port_lock(folder: str, port: int) -> str:
    """The lock file of a port."""
    return f"{folder}/port-{port}.lock"


def is_closed(folder: str, port: int) -> bool:
    """Whether nobody listens on the port, or a newer server, which then holds the port's lock and has it by right."""
    fd = hold(port_lock(folder, port))
    if fd is None:
        return True
    try:
        return is_free(port)
    finally:
        os.close(fd)


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _outgoing() -> range:
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:  # noqa: PTH123  as above
        low, high = map(int, file.read().split())
    return range(low, high + 1)
