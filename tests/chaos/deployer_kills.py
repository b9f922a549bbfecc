"""kill -9 of a worker in each phase of its server's life, with real deployers; then one run of the reaper.

Each kill has a fresh database and home. 60 s after the reaper nothing of the attempt may be left: no process,
container, job, ticket or log; and its row must say that it was lost with its worker.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import clusters
import pytest
import traced_worker as traced
import tracing
from aftermath import until_none
from checker import outcome_of
from clusters import cluster_process
from dockers import IMAGE, own_daemon
from kill_points import reap
from players import SKIPPED, Found, play_all, say, words
from raw_rows import RawDatabase
from slurm_cluster import own_cluster
from stage import Stage
from templates import Template, template
from tracing import Gate

if TYPE_CHECKING:
    from optuna_tuner.contracts import Deployer

LEFT_S = 60.0
PATIENCE_S = 120.0
Document = dict[str, object]
Look = Callable[[str], list[str]]  # what is left of a server, by its name


class Real(NamedTuple):
    """A deployer on the real thing."""

    file: str
    name: str
    amid: Mapping[str, Gate]  # moments within its start and its stop
    deployer: Document
    engine: Document
    look: Look

    def phases(self) -> Mapping[str, Gate]:
        """Where the worker is when it is killed."""
        return {
            "before start": Gate(self.file, f"{self.name}.start"),
            "starting": Gate(self.file, f"{self.name}.state"),
            "ready": Gate("tuning/trial.py", "read_back"),
            "measuring": Gate("benchmarks/http_stream.py", "_read", 3),
            "stopping": Gate(self.file, f"{self.name}.stop"),
            **self.amid,
        }


class Case(NamedTuple):
    """One kill."""

    phase: str
    gate: Gate
    number: int


@dataclass(slots=True)
class Result:
    """What became of it."""

    phase: str
    there: int = 0  # things of the server that were found when the worker was dead
    reap_s: float = 0.0
    faults: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For benchmarks/chaos.py."""
    parser.add_argument("--deployer", choices=tuple(REAL), default="local")
    parser.add_argument("--each", type=int, default=15, metavar="N", help="kills in each phase (default: 15)")
    parser.add_argument("--jobs", type=int, default=2, help="kills at a time (default: 2)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only phases with this text")
    parser.add_argument("--keep", type=Path, default=Path("/tmp/deployer-kills"), help="evidence of failures goes here")  # noqa: S108  named


def run(arguments: argparse.Namespace) -> int:
    """Kill in all phases; 1 when anything is left, 77 when there is no such thing here."""
    try:
        return kill_all(arguments)
    except pytest.skip.Exception as missing:
        say(f"skipped: {missing}")
        return SKIPPED


def kill_all(arguments: argparse.Namespace) -> int:
    """The same, where the real thing can be had."""
    began = time.monotonic()
    with (
        TemporaryDirectory(prefix="deployer-kills-", ignore_cleanup_errors=True) as scratch,
        REAL[arguments.deployer](Path(scratch)) as real,
        template("sqlite", Path(scratch), 1, **document(real)) as made,
    ):
        traced.warm(("optuna_tuner.tuner", "optuna_tuner.benchmarks.http_client", f"optuna_tuner.{module(real.file)}"))
        chosen = {phase: gate for phase, gate in real.phases().items() if arguments.only in phase}
        for gate in chosen.values():
            tracing.demand(gate)
        cases = [Case(phase, gate, number) for number in range(arguments.each) for phase, gate in chosen.items()]
        found = play_all(made.folder, cases, arguments.jobs, lambda case: play(made, real, Case(*case), arguments.keep))
    results = [Result(**each) for each in found]
    return report(results, len(cases), f"{arguments.deployer}: {time.monotonic() - began:.0f} s")


def module(file: str) -> str:
    """Of a file of the package."""
    return file.removesuffix(".py").replace("/", ".")


def document(real: Real) -> Document:
    """One trial of a few hundred milliseconds, by the built-in client."""
    return {
        "engine": {"kind": "fake", "flags": {"ttft_ms": 5}, **real.engine},
        "deployer": real.deployer,
        "benchmark": {"kind": "http", "scenario": "D(8,8)", "concurrency": [1], "requests": 4},
        "space": {"itl_ms": {"type": "float", "low": 0.5, "high": 1.0}},
        "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
        "baseline": False,
        "lease_s": 60,
        "startup_s": 60,
    }


def play(made: Template, real: Real, case: Case, keep: Path) -> Found:
    """Kill a worker there, reap once, and look until nothing is left or the time is over."""
    stage = made.copy(f"{case.phase.replace(' ', '-')}-{case.number}")
    result = Result(case.phase)
    try:
        kill_and_reap(made, real, stage, case, result)
    except RuntimeError as error:
        result.faults.append(f"{error}: {words(stage.folder)}")
    list(traced.reaped())
    if result.faults:
        traced.keep(stage.folder, keep / stage.folder.name)
        result.faults.append(f"kept in {keep / stage.folder.name}")
    made.drop(stage)
    return asdict(result)


def kill_and_reap(made: Template, real: Real, stage: Stage, case: Case, result: Result) -> None:
    """Fills in the result. Raises RuntimeError where the worker was not killed."""
    code = traced.fork(
        stage, "victim", traced.worker(made.study_id, slot(real)), tracing.at_gate(case.gate, tracing.kill_here)
    ).wait(PATIENCE_S)
    if code != -signal.SIGKILL:
        raise RuntimeError(f"the worker ended with {code} instead of being killed")
    server = f"tuner-{claimed(stage)['id']}"
    result.there = len(real.look(server))
    began = time.monotonic()
    code = traced.fork(stage, "reaper", reap).wait(PATIENCE_S)
    result.reap_s = time.monotonic() - began
    if code != 0:
        result.faults.append(f"the reaper ended with {code}: {words(stage.folder)}")
    result.faults += [f"left after {LEFT_S:.0f} s: {each}" for each in until_none(lambda: real.look(server), LEFT_S)]
    end = claimed(stage)["state"], outcome_of(claimed(stage)).get("cause")
    if end != ("ended", "worker_lost"):
        result.faults.append(f"its row says {end}")


def slot(real: Real) -> str:
    """As a fleet tells it to a worker."""
    from optuna_tuner.plugins import InstalledKinds, make  # noqa: PLC0415  the parent chooses when the product is loaded
    from optuna_tuner.spec.study import Part  # noqa: PLC0415  as above
    from optuna_tuner.store.codec import encode  # noqa: PLC0415  as above
    from optuna_tuner.tuning.slots import divide_cores, slots_for  # noqa: PLC0415  as above

    deployer = cast("Deployer", make(InstalledKinds(), "deployers", Part.model_validate(real.deployer)))
    if deployer.host_bound:  # the GPUs of this machine are not asked for
        return encode(divide_cores(sorted(os.sched_getaffinity(0)), 1)[0])
    return encode(slots_for(deployer, 1)[0])


def claimed(stage: Stage) -> Mapping[str, Any]:
    """The one attempt that a worker had; the reaper adds the next try."""
    with closing(RawDatabase(stage.storage)) as database:
        [row] = database.ask("SELECT * FROM tuner_attempt WHERE retry_of IS NULL")
    return row


def report(results: Sequence[Result], planned: int, about: str) -> int:
    """The table; 1 when anything is wrong."""
    say(f"{'phase':14}{'kills':>7}{'there':>7}{'left':>6}{'reap s, median':>16}{'longest':>9}")
    for phase, kills in Counter(each.phase for each in results).items():
        mine = [each for each in results if each.phase == phase]
        seconds = [each.reap_s for each in mine]
        there, left = sum(each.there > 0 for each in mine), sum(bool(each.faults) for each in mine)
        say(f"{phase:14}{kills:7}{there:7}{left:6}{statistics.median(seconds):16.2f}{max(seconds):9.2f}")
    wrong = [each for each in results if each.faults]
    for each in wrong:
        say(f"FAILED {each.phase}: {'; '.join(each.faults)}")
    say(f"{about}, load {os.getloadavg()[0]:.1f}, {len(results)} of {planned} kills played, {len(wrong)} failed")
    return int(len(results) != planned or bool(wrong))


def marked(server: str) -> list[str]:
    """Processes of this machine that bear the name of a server in their environment."""
    mark, found = f"OPTUNA_TUNER_LEDGER={server}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(f"process {folder.name}")
    return found


@contextmanager
def local(folder: Path) -> Iterator[Real]:  # noqa: ARG001  all lie in a home of their own
    """Processes of this machine."""
    yield Real(
        "deployers/local.py",
        "Local",
        {
            "supervised": Gate("deployers/local_start.py", "_exchange"),  # and nothing ordered yet
            "ending": Gate("deployers/local_end.py", "_ask"),
        },
        {"kind": "local"},
        {},
        marked,
    )


@contextmanager
def docker(folder: Path) -> Iterator[Real]:  # noqa: ARG001  as above
    """Containers of a daemon of our own."""
    with closing(own_daemon()) as daemon:
        yield Real(
            "deployers/docker.py",
            "Docker",
            {
                "created": Gate("deployers/docker_daemon.py", "Daemon.start"),
                "unnoted": Gate("deployers/docker.py", "_handle"),  # it runs, and nobody knows its id
                "ended": Gate("deployers/docker_daemon.py", "Daemon.remove"),
            },
            {"kind": "docker", **daemon.options},
            {"image": IMAGE},
            lambda server: list(daemon.containers(server)),
        )


@contextmanager
def slurm(folder: Path) -> Iterator[Real]:
    """Jobs of a cluster of our own."""
    with closing(own_cluster()) as cluster:
        os.environ.update(cluster.env)

        def look(server: str) -> list[str]:
            jobs = [f"job {name}" for name in cluster.queue() if name == server]
            processes = [f"process {each.pid}" for each in cluster.processes(server)]
            return [*jobs, *processes, *map(str, (folder / "jobs").glob(f"{server}*"))]

        where = {"folder": str(folder / "jobs"), "address": "127.0.0.1", "poll_s": 1, "time": "20", "lost_after_s": 40}
        yield Real(
            "deployers/slurm.py",
            "Slurm",
            {
                "ticket laid": Gate("deployers/slurm_cluster.py", "Cluster.submit"),
                "unnoted": Gate("deployers/slurm.py", "_handle"),  # it is submitted, and nobody knows its number
                "ticket taken": Gate("deployers/slurm.py", "Slurm._end"),
            },
            {"kind": "slurm", "gpus_per_node": "h100:1", **where},
            {},
            look,
        )


@contextmanager
def kubernetes(folder: Path) -> Iterator[Real]:  # noqa: ARG001  all lie in a home of their own
    """Jobs of the fake cluster, or of a real one of this machine that the environment names."""
    with cluster_process() as cluster:
        yield Real(
            "deployers/kubernetes.py",
            "Kubernetes",
            {
                "unsent": Gate("deployers/kubernetes_api.py", "Api.create"),
                "unnoted": Gate("deployers/kubernetes.py", "Kubernetes._handle"),  # it is made, and nobody knows of it
                "forwarding": Gate("deployers/tunnel.py", "Tunnel._start"),
                "deleted": Gate("deployers/tunnel.py", "Tunnel.close"),
            },
            {"kind": "kubernetes", **cluster.own_options},
            {"image": clusters.IMAGE},
            lambda server: [*cluster.objects(server), *marked(f"{server}-tunnel")],
        )


@contextmanager
def ome(folder: Path) -> Iterator[Real]:  # noqa: ARG001  as above
    """InferenceServices of the fake cluster, whose model and runtime are there."""
    from optuna_tuner.deployers.ome.deployer import Ome  # noqa: PLC0415  the parent chooses when the product is loaded
    from optuna_tuner.values import Launch, Model  # noqa: PLC0415  as above

    with cluster_process() as cluster:
        any_model = Model(name="small", path="/small", tokenizer="/small")
        Ome(Ome.Options.model_validate(cluster.ome_options)).prepare(Launch(argv=("true",), model=any_model))
        yield Real(
            "deployers/ome/deployer.py",
            "Ome",
            {
                "unsent": Gate("deployers/kubernetes_api.py", "Api.create"),
                "unnoted": Gate("deployers/ome/deployer.py", "Ome._handle"),  # it is made, and nobody knows of it
                "forwarding": Gate("deployers/tunnel.py", "Tunnel._start"),
                "deleted": Gate("deployers/tunnel.py", "Tunnel.close"),
            },
            {"kind": "ome", **cluster.ome_options},
            {"image": clusters.IMAGE},
            lambda server: [*cluster.objects(server), *marked(f"{server}-tunnel")],
        )


REAL: Mapping[str, Callable[[Path], AbstractContextManager[Real]]] = {
    "local": local,
    "docker": docker,
    "kubernetes": kubernetes,
    "ome": ome,
    "slurm": slurm,
}
