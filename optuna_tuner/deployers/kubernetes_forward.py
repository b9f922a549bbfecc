"""A port of this host that leads to a pod, through the API server: `python -m`, one process a server.

Each connection is a port-forward of its own, so that one which breaks takes no other with it. The client exchanges
parts of its `ApiClient` during such a call; so each has one of its own, too.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import sys
from collections.abc import Sequence
from threading import Thread

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

from optuna_tuner.deployers.kubernetes_api import connect, in_pod

_BACKLOG = 1024
_CHUNK = 1 << 16


def main(arguments: Sequence[str]) -> None:
    """Listen until it is ended; say on standard error why a connection failed."""
    asked = _parser().parse_args(arguments)
    known = connect(asked.kubeconfig, asked.context).configuration
    with socket.create_server((asked.host, asked.port), backlog=_BACKLOG) as listener:
        while True:
            caller, _ = listener.accept()
            Thread(target=_serve, args=(caller, known, asked), daemon=True).start()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("namespace")
    parser.add_argument("pod")
    parser.add_argument("pod_port", type=int)
    parser.add_argument("--kubeconfig")
    parser.add_argument("--context")
    return parser


def _serve(caller: socket.socket, known: client.Configuration, asked: argparse.Namespace) -> None:
    with caller:
        pod = in_pod(client.ApiClient(known), asked.pod, asked.namespace)
        try:
            forward = portforward(pod, ports=str(asked.pod_port))
        except (ApiException, OSError) as error:
            _say(f"no port-forward to {asked.pod}: {error}")
            return
        with forward.socket(asked.pod_port)._socket as callee:  # noqa: SLF001  its wrapper is no socket
            _relay(caller, callee)
        if forward.error(asked.pod_port):
            _say(f"{asked.pod}: {forward.error(asked.pod_port)}")


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes, both ways, until one of them ends."""
    with selectors.DefaultSelector() as ready:
        ready.register(one, selectors.EVENT_READ, other)
        ready.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in ready.select():
                source = one if key.data is other else other
                try:
                    data = source.recv(_CHUNK)
                    key.data.sendall(data)
                except OSError:
                    return
                if not data:
                    return


def _say(words: str) -> None:
    sys.stderr.write(f"{' '.join(words.split())}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
