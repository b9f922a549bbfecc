"""What a deployer adds to the bare thing: from the start to the first answer, and from the stop until nothing is left.

    python benchmarks/deploy.py [--times 15] [--only docker]

The server is a few lines of Python. Bare is what a person would type: the program itself, `docker run --init` and
`docker stop`, `sbatch` and `scancel`, `kubectl create`, `wait`, `port-forward` and `delete`. Each round starts both,
one after the other; differences are taken in each round. Docker, Slurm and Kubernetes are real ones, started for this;
what cannot be had is named and skipped.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple, cast

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import pytest
from dockers import IMAGE, own_daemon
from kubernetes_cluster import IMAGE as POD_IMAGE
from kubernetes_cluster import own_kubernetes
from slurm_cluster import free_ports, own_cluster

from optuna_tuner import home
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.errors import DeployerError
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.spec.study import Part
from optuna_tuner.testing.small_servers import ANSWERS
from optuna_tuner.values import Json, Launch, Model, Slot

PATIENCE_S, END_S = 60.0, 300.0
GRACE_S = 5.0
LOOK_EVERY_S = 0.005
MODEL = Model(name="small", path="small", tokenizer="small")
HERE = Slot(name="cpu-0", host="here")
End = Callable[[], object]


class Times(NamedTuple):
    """Of one server, in seconds."""

    answer: float
    gone: float


class Pair(NamedTuple):
    """A deployer, and what a person would do without it."""

    deployer: Deployer
    bare: Callable[[int], End]  # starts it on a port of this machine, and says how to end it
    image: str | None = None
    python: str = sys.executable


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15, help="rounds (default: 15)")
    parser.add_argument("--only", choices=tuple(PAIRS), help="only this deployer")
    arguments = parser.parse_args()
    print(f"{'':10}{'to the first answer, s':>34}{'until it is gone, s':>34}")
    print(f"{'deployer':10}" + f"{'bare':>11}{'ours':>11}{'added':>12}" * 2)
    for kind, pair_of in PAIRS.items():
        if arguments.only in {None, kind}:
            try:
                with pair_of() as pair:
                    tell(kind, rounds(pair, arguments.times))
            except pytest.skip.Exception as missing:
                print(f"{kind:10} skipped: {missing}")
    print(f"medians of {arguments.times} rounds; added: median of the differences; load {os.getloadavg()[0]:.1f}")


def rounds(pair: Pair, times: int) -> Sequence[tuple[Times, Times]]:
    """Bare and ours, after one round that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[home.HOME_VARIABLE] = folder
        return [(bare(pair), ours(pair, f"deploy-{number}", Path(folder))) for number in range(times + 1)][1:]


def bare(pair: Pair) -> Times:
    """Of the bare thing."""
    [port] = free_ports(1)
    began = now()
    end = pair.bare(port)
    answer = first_answer(lambda: f"127.0.0.1:{port}") - began
    return Times(answer, seconds(end))


def ours(pair: Pair, name: str, folder: Path) -> Times:
    """Of the deployer, its rendering included."""
    deployer, argv = pair.deployer, (pair.python, "-c", ANSWERS, "{host}", "{port}")
    began = now()
    launch = Launch(argv=argv, model=MODEL, image=pair.image)
    handle = deployer.start(deployer.render(launch, name, {"attempt": name}, HERE), folder)

    def address() -> str | None:
        endpoint = deployer.endpoint(handle)
        return endpoint.url.removeprefix("http://") if endpoint else None

    answer = first_answer(address) - began

    def ended() -> bool | None:
        try:
            deployer.stop(handle, GRACE_S)
        except DeployerError:  # a worker tries again, too
            return None
        return True

    return Times(answer, seconds(lambda: poll(ended, Deadline.after(END_S))))


def seconds(end: End) -> float:
    """That it took."""
    began = now()
    end()
    return now() - began


def first_answer(address: Callable[[], str | None]) -> float:
    """When it came."""

    def look() -> bool | None:
        found = address()
        return True if found and answers(found) else None

    if not poll(look, Deadline.after(PATIENCE_S), LOOK_EVERY_S):
        raise SystemExit("the server never answered")
    return now()


def answers(address: str) -> bool:
    """Whether a server does."""
    with closing(http.client.HTTPConnection(address, timeout=5)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def tell(kind: str, found: Sequence[tuple[Times, Times]]) -> None:
    """One line."""
    cells = []
    for place in range(len(Times._fields)):
        one, other = ([each[who][place] for each in found] for who in (0, 1))
        added = [b - a for a, b in zip(one, other, strict=True)]
        cells += [f"{statistics.median(one):11.3f}{statistics.median(other):11.3f}{statistics.median(added):+12.3f}"]
    print(f"{kind:10}{''.join(cells)}", flush=True)


def deployer_of(**options: Json) -> Deployer:
    """As a study makes it."""
    return cast("Deployer", make(InstalledKinds(), "deployers", Part.model_validate(options)))


def words(port: int, host: str = "127.0.0.1", python: str = sys.executable) -> list[str]:
    """The server's command."""
    return [python, "-c", ANSWERS, host, str(port)]


@contextmanager
def local() -> Iterator[Pair]:
    """A process."""

    def start(port: int) -> End:
        process = subprocess.Popen(words(port), stdout=subprocess.DEVNULL, start_new_session=True)

        def end() -> None:
            process.terminate()
            process.wait()

        return end

    yield Pair(deployer_of(kind="local"), start)


@contextmanager
def docker() -> Iterator[Pair]:
    """A container."""
    with closing(own_daemon()) as daemon:
        tool = ["docker", "--host", daemon.address]
        mounts = cast("list[Mapping[str, str]]", daemon.options["mounts"])
        binds = [f"--mount=type=bind,source={each['source']},target={each['target']},readonly" for each in mounts]

        def start(port: int) -> End:
            command = [*tool, "run", "--init", "--detach", f"--publish=127.0.0.1:{port}:{port}", *binds, IMAGE]
            made = said(*command, *words(port, "0.0.0.0"))  # noqa: S104  inside the container

            def end() -> None:
                said(*tool, "stop", f"--time={GRACE_S:.0f}", made)
                said(*tool, "rm", made)

            return end

        yield Pair(deployer_of(kind="docker", **daemon.options), start, IMAGE)


@contextmanager
def slurm() -> Iterator[Pair]:
    """A job."""
    with closing(own_cluster()) as cluster, tempfile.TemporaryDirectory() as folder:
        os.environ.update(cluster.env)

        def start(port: int) -> End:
            job = said("sbatch", "--parsable", "--output=/dev/null", f"--wrap=exec {shlex.join(words(port))}")

            def end() -> None:
                said("scancel", job)
                poll(lambda: None if cluster.queue() else True, Deadline.after(PATIENCE_S), 0.1)

            return end

        yield Pair(deployer_of(kind="slurm", folder=folder, address="127.0.0.1", poll_s=1), start)


@contextmanager
def kubernetes() -> Iterator[Pair]:
    """A pod, and a port-forward to it."""
    with closing(own_kubernetes()) as cluster:
        tool, python = ["kubectl", f"--kubeconfig={cluster.kubeconfig}"], "python3"

        def start(port: int) -> End:
            pod = f"bare-{port}"
            said(*tool, "create", "-f", "-", asked=manifest(pod, port, words(port, "0.0.0.0", python)))  # noqa: S104  in the pod
            said(*tool, "wait", "--for=condition=Ready", f"pod/{pod}")
            forward = subprocess.Popen([*tool, "port-forward", pod, str(port)], stdout=subprocess.DEVNULL)

            def end() -> None:
                forward.terminate()
                forward.wait()
                said(*tool, "delete", "pod", pod, f"--grace-period={GRACE_S:.0f}")

            return end

        options = {"kubeconfig": str(cluster.kubeconfig), "shm_size": "64Mi"}
        yield Pair(deployer_of(kind="kubernetes", **options), start, POD_IMAGE, python)


def manifest(name: str, port: int, command: Sequence[str]) -> str:
    """A pod as a person writes it: ready once it answers. As process 1 its server would not hear SIGTERM."""
    probe = {"httpGet": {"path": "/health", "port": port}, "periodSeconds": 1}
    server = {"name": "server", "image": POD_IMAGE, "command": command, "readinessProbe": probe}
    spec = {"restartPolicy": "Never", "shareProcessNamespace": True, "containers": [server]}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def said(*command: str, asked: str = "") -> str:
    """What it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True, input=asked).stdout.strip()


PAIRS: Mapping[str, Callable[[], AbstractContextManager[Pair]]] = {
    "local": local,
    "docker": docker,
    "slurm": slurm,
    "kubernetes": kubernetes,
}

if __name__ == "__main__":
    main()
