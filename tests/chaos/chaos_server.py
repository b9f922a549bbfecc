"""A server for the chaos campaign:  python -I -S chaos_server.py --port N [--x 3] [--y 0.5] [--start-s 0.4] ...

It speaks as much of the OpenAI protocol as a trial needs: GET /health, /v1/models, /props, and POST /v1/completions as
a stream. Before it listens it locks every GPU of CUDA_VISIBLE_DEVICES, without waiting: where another server still has
one, it appends a "double" event and ends with code 1. So two servers never share a GPU unseen.

Control files in $CHAOS_FOLDER/control, each taken once, at any time of its life, by the server named in `flood.NAME`
or by anybody (`flood`): so many MiB are written to standard output at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence

# python -I does not look beside the program
sys.path.append(os.path.dirname(__file__))  # noqa: PTH120  pathlib doubles the start-up

from chaos_events import GPUS, folder, note, take

SERVER = os.environ.get("OPTUNA_TUNER_LEDGER", "")
DEFAULTS = {"host": "127.0.0.1", "port": "0", "model": "chaos", "x": "0", "y": "0", "start_s": "0.4", "stop_s": "0.3"}
LOOK_EVERY_S = 0.05
CLIENT_PATIENCE_S = 5.0
TOKENS = 8


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM; then linger for --stop-s, as an engine does that frees its memory."""
    flags = read_flags(arguments)
    signal.signal(signal.SIGTERM, leave)
    gpus = [uuid for uuid in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if uuid]
    said = {"server": SERVER, "gpus": gpus}
    try:
        if not lock_all(gpus):
            return 1
        note("server-start", **said)
        linger(float(take("slow-start", SERVER) or flags["start_s"]))
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((flags["host"], int(flags["port"])))
            listener.listen(64)
            note("listening", port=listener.getsockname()[1], **said)
            serve(listener, flags)
    except OSError as error:
        note("server-failed", error=str(error), **said)
        sys.stdout.write(f"chaos server: {error}\n")  # "Address already in use" among others
        return 1
    except SystemExit:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("term", **said)
        linger(float(take("slow-stop", SERVER) or flags["stop_s"]))
        note("server-end", **said)
    return 0


def leave(_number: int, _frame: object) -> None:
    """Out of whatever it does just now."""
    raise SystemExit


def read_flags(arguments: Sequence[str]) -> Mapping[str, str]:
    """`--name value` pairs over the defaults; names that nobody knows are kept, too."""
    pairs = zip(arguments[::2], arguments[1::2], strict=True)
    return {**DEFAULTS, **{name.lstrip("-").replace("-", "_"): value for name, value in pairs}}


def lock_all(gpus: Sequence[str]) -> bool:
    """Lock the oracle's file and the fake NVML's file of every GPU until this process ends."""
    for uuid in gpus:
        path = f"{folder()}/{GPUS}/{uuid}"
        mine = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            note("double", server=SERVER, gpus=list(gpus), gpu=uuid, holder=os.read(mine, 200).decode())
            return False
        os.truncate(mine, 0)
        os.write(mine, f"{SERVER} pid {os.getpid()}".encode())
        # Whoever asks the fake NVML may lock this one for a moment: that is waited for.
        fcntl.flock(os.open(f"{os.environ['OPTUNA_TUNER_FAKE_GPUS']}/{uuid}", os.O_RDWR), fcntl.LOCK_EX)
    return True


def linger(seconds: float) -> None:
    """Wait, and flood where it is told to."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        flood_if_told()
        time.sleep(min(left, LOOK_EVERY_S))


def flood_if_told() -> None:
    """Write as many MiB as the control file says, as fast as they are taken."""
    text = take("flood", SERVER)
    if text is None:
        return
    note("flood-begin", server=SERVER, mib=int(text))
    line = b"flood " + b"x" * 1017 + b"\n"
    for _ in range(int(text)):
        sys.stdout.buffer.write(line * 1024)
    sys.stdout.flush()
    note("flood-end", server=SERVER)


def serve(listener: socket.socket, flags: Mapping[str, str]) -> None:
    """Answer one request at a time, until SIGTERM."""
    while True:
        flood_if_told()
        if select.select([listener], [], [], LOOK_EVERY_S)[0]:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(CLIENT_PATIENCE_S)
                try:
                    answer(connection, flags)
                except OSError as error:  # the client died or gave up
                    note("client-lost", server=SERVER, error=str(error))


def answer(connection: socket.socket, flags: Mapping[str, str]) -> None:
    """Read one request and answer it."""
    path = read_request(connection)
    if path == "/v1/completions":
        stream(connection)
        return
    bodies: Mapping[str, object] = {
        "/health": {"status": "ok"},
        "/v1/models": {"object": "list", "data": [{"id": flags["model"], "object": "model"}]},
        "/props": {"x": int(flags["x"]), "y": float(flags["y"]), "server": SERVER, "model": flags["model"]},
    }
    status = "200 OK" if path in bodies else "404 Not Found"
    body = json.dumps(bodies.get(path, {"error": f"no {path} here"})).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)


def read_request(connection: socket.socket) -> str:
    """The path of the request; its body is read and dropped."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(1 << 16)
        if not part:
            return ""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    lengths = [int(line.split(":")[1]) for line in lines[1:] if line.lower().startswith("content-length:")]
    left = (lengths or [0])[0] - len(body)
    while left > 0 and (part := connection.recv(1 << 16)):
        left -= len(part)
    return lines[0].split()[1]


def stream(connection: socket.socket) -> None:
    """A completion of a few tokens, token by token."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
    for number in range(TOKENS):
        chunk = {"object": "text_completion", "choices": [{"index": 0, "text": f"word{number} "}]}
        connection.sendall(f"data: {json.dumps(chunk)}\n\n".encode())
    connection.sendall(b"data: [DONE]\n\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
