"""How long anything of a server lives after `kill -9` of its worker.

    python benchmarks/orphans.py [--times 20]

Each time a process starts a server with the local deployer; the server leaves a double-forked descendant in a session
of its own, with an empty environment. The process is killed, and the time is taken until the supervisor, the server
and the descendant are gone. Some obey SIGTERM, some do not.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from optuna_tuner import home
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.local_request import LocalOptions
from optuna_tuner.deployers.supervision.processes import Process, environments, lives, look
from optuna_tuner.deployers.supervision.record import MARKER
from optuna_tuner.testing import small_servers
from optuna_tuner.testing.deployer_cases import START
from optuna_tuner.values import Launch, Model, Request, Slot

KINDS = {"obeys SIGTERM": small_servers.LEAVES_ORPHAN, "ignores SIGTERM": small_servers.LEAVES_STUBBORN_ORPHAN}
PATIENCE_S = 60.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="kills of each kind (default: 20)")
    times = parser.parse_args().times
    print(f"{'descendant':16} {'kills':>5} {'median s':>9} {'max s':>7} {'left':>5}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ[home.HOME_VARIABLE] = folder
        for kind, source in KINDS.items():
            seconds = [once(source, f"orphans-{number}", Path(folder)) for number in range(times)]
            gone = [each for each in seconds if each is not None]
            median, longest = statistics.median(gone), max(gone)
            print(f"{kind:16} {times:5} {median:9.3f} {longest:7.3f} {times - len(gone):5}")


def once(source: str, name: str, folder: Path) -> float | None:
    """Seconds until all is gone; None when something was left."""
    deployer = Local(LocalOptions())
    launch = Launch(
        argv=(sys.executable, "-c", source, "{host}", "{port}"), model=Model(name="m", path="m", tokenizer="m")
    )
    request = deployer.render(launch, name, {"attempt": name}, Slot(name="slot", host="here"))
    with subprocess.Popen([sys.executable, "-c", START, *_words(request, folder)], stdout=subprocess.PIPE) as worker:
        tree = _tree(deployer, name)
        worker.kill()
        begin = now()
        gone = poll(lambda: None if any(map(lives, tree)) else True, Deadline.after(PATIENCE_S), 0.005)
        seconds = now() - begin
    for handle in deployer.find({"attempt": name}):
        deployer.stop(handle, 0)
    return seconds if gone else None


def _words(request: Request, folder: Path) -> Sequence[str]:
    return (f"{Local.__module__}:{Local.__name__}", "{}", json.dumps(asdict(request)), str(folder))


def _tree(deployer: Local, name: str) -> Sequence[Process]:
    """The supervisor, the server and its hidden descendant, as soon as that has erased its environment."""

    def look_for_all() -> Sequence[Process] | None:
        log = "".join(deployer.log(handle) for handle in deployer.find({"attempt": name}))
        _, _, told = log.partition("orphan ")
        entry = look(int(told.split()[0])) if "\n" in told else None
        if entry is None or Path(f"/proc/{entry.process.pid}/environ").read_bytes():
            return None
        return [entry.process, *(process for process, env in environments(MARKER) if env[MARKER] == name)]

    found = poll(look_for_all, Deadline.after(PATIENCE_S), 0.05)
    if found is None:
        raise SystemExit(f"the server {name} did not start")
    return found


if __name__ == "__main__":
    main()
