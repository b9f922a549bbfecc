"""What a deployer adds to the bare thing: from the start to the first answer, and from the stop until nothing is left.

    python benchmarks/deploy.py [--times 15] [--only docker]

The server is a few lines of Python. Bare is what a person would type: the program itself, `docker run --init` and
`docker stop`, `sbatch` and `scancel`. Each round starts both, one after the other; differences are taken in each round.
Docker and Slurm are real ones, started for this; what cannot be had is named and skipped.
"""

from __future__ import annotations

import argparse
import http.client
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
from slurm_cluster import free_ports, own_cluster

from optuna_tuner import home
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.spec.study import Part
from optuna_tuner.testing.small_servers import ANSWERS
from optuna_tuner.values import Json, Launch, Model, Slot

PATIENCE_S = 60.0
GRACE_S = 5.0
LOOK_EVERY_S = 0.005
MODEL = Model(name="small", path="small", tokenizer="small")
HERE = Slot(name="cpu-0", host="here")
End = Callable[[], None]


class Times(NamedTuple):
    """Of one server, in seconds."""

    answer: float
    gone: float


class Pair(NamedTuple):
    """A deployer, and what a person would do without it."""

    deployer: Deployer
    bare: Callable[[int], End]  # starts it on a port of this machine, and says how to end it
    image: str | None = None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15, help="rounds (default: 15)")
    parser.add_argument("--only", choices=tuple(PAIRS), help="only this deployer")
    arguments = parser.parse_args()
    print(f"{'':9}{'to the first answer, s':>34}{'until it is gone, s':>34}")
    print(f"{'deployer':9}" + f"{'bare':>11}{'ours':>11}{'added':>12}" * 2)
    for kind, pair_of in PAIRS.items():
        if arguments.only in {None, kind}:
            try:
                with pair_of() as pair:
                    tell(kind, rounds(pair, arguments.times))
            except pytest.skip.Exception as missing:
                print(f"{kind:9} skipped: {missing}")
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
    deployer, argv = pair.deployer, (sys.executable, "-c", ANSWERS, "{host}", "{port}")
    began = now()
    launch = Launch(argv=argv, model=MODEL, image=pair.image)
    handle = deployer.start(deployer.render(launch, name, {"attempt": name}, HERE), folder)

    def address() -> str | None:
        endpoint = deployer.endpoint(handle)
        return endpoint.url.removeprefix("http://") if endpoint else None

    answer = first_answer(address) - began
    return Times(answer, seconds(lambda: deployer.stop(handle, GRACE_S)))


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
    print(f"{kind:9}{''.join(cells)}", flush=True)


def deployer_of(**options: Json) -> Deployer:
    """As a study makes it."""
    return cast("Deployer", make(InstalledKinds(), "deployers", Part.model_validate(options)))


def words(port: int, host: str = "127.0.0.1") -> list[str]:
    """The server's command."""
    return [sys.executable, "-c", ANSWERS, host, str(port)]


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


def said(*command: str) -> str:
    """What it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


PAIRS: Mapping[str, Callable[[], AbstractContextManager[Pair]]] = {"local": local, "docker": docker, "slurm": slurm}

if __name__ == "__main__":
    main()
