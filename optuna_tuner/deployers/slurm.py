"""Servers as jobs of a Slurm cluster, by its own commands: no daemon of ours on the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from optuna_tuner.clock import Deadline, poll
from optuna_tuner.contracts import Deployer
from optuna_tuner.deployers.seldom import Seldom
from optuna_tuner.deployers.slurm_cluster import Cluster, Ticket
from optuna_tuner.deployers.slurm_jobs import Job
from optuna_tuner.deployers.slurm_misfits import misfits
from optuna_tuner.deployers.slurm_options import SlurmOptions
from optuna_tuner.deployers.slurm_request import body_of, read_body
from optuna_tuner.deployers.slurm_script import SAYS, Served, said_by_apptainer, said_by_server, served
from optuna_tuner.deployers.tunnel import Tunnel
from optuna_tuner.errors import DeployerError, EnvironmentFaultError
from optuna_tuner.values import Endpoint, Handle, Json, Launch, Request, Slot, State, Status

_TUNNEL_ENV = ("SSH_*", "KRB5*")
_KILL_S = 90.0  # Slurm itself gives a killed process UnkillableStepTimeout, 60 s by default


class Slurm(Deployer):
    """One job a server. It runs as long as Slurm lets it, and as long as its ticket lies in the shared folder.

    A job outlives a worker that is killed; then the next reaper, from any machine, finds it by its comment or its
    ticket, and `time` ends it at last. An exit code is the server's own, or minus the number of a signal.
    """

    kind: ClassVar[str] = "slurm"
    summary: ClassVar[str] = "jobs of a Slurm cluster, one a server"
    Options: ClassVar[type[BaseModel]] = SlurmOptions

    def __init__(self, options: BaseModel) -> None:
        self._options = SlurmOptions.model_validate(options.model_dump())
        self._cluster = Cluster(self._options)
        self._jobs: Seldom[Job | None] = Seldom(self._options.poll_s)
        self._logs: Seldom[str] = Seldom(self._options.poll_s / 2)
        self._served: dict[str, Served] = {}
        self._tunnel = Tunnel(self._options.tunnel, _TUNNEL_ENV) if self._options.tunnel else None

    @property
    def gpus(self) -> int:
        """Those that `gres` or `gpus_per_node` asks for."""
        return self._options.gpus

    @property
    def lag_s(self) -> float:
        """Slurm takes a node for up until SlurmdTimeout has passed."""
        return self._options.lost_after_s

    def misfits(self, study: Mapping[str, Json]) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """A container without an image, and a trial that is longer than its job."""
        return misfits(study, self._options)

    def prepare(self, launch: Launch) -> None:
        """Ask Slurm whether it would take such a job. Raises EnvironmentFaultError with what it says against it."""
        try:
            self._cluster.submit(body_of(launch, "optuna-tuner-test", {}, self._options), only_test=True)
        except DeployerError as error:
            raise EnvironmentFaultError(f"Slurm would not take the job: {error}") from error

    def render(self, launch: Launch, name: str, labels: Mapping[str, str], slot: Slot) -> Request:  # noqa: ARG002  Slurm chooses the devices
        """The command that submits the job, and the script that it takes from standard input."""
        body = body_of(launch, name, labels, self._options)
        return Request(deployer=self.kind, name=name, body=body.model_dump(mode="json"))

    def start(self, request: Request, folder: Path) -> Handle:  # noqa: ARG002  what it keeps must be seen by the compute nodes
        """Lay down the ticket and submit the job. Raises DeployerError where Slurm refuses it."""
        body = read_body(request)
        ticket = Ticket(name=request.name, model=body.model, labels=body.labels)
        try:
            self._cluster.write_ticket(ticket)
        except DeployerError as error:
            raise DeployerError(f"the ticket of {request.name} cannot be written: {error}") from error
        try:
            return _handle(ticket, self._cluster.submit(body))
        except BaseException:
            with suppress(DeployerError):  # why it could not be started goes first; without its ticket it cannot begin
                self.stop(_handle(ticket), 0)  # the reply alone may have been lost
            raise

    def state(self, handle: Handle) -> State:
        """As Slurm said it in the last `poll_s` seconds. Raises DeployerError for a job that will never begin."""
        job = self._jobs.get(handle.name, lambda: self._look(handle))
        if job is None:
            return State(status=Status.LOST, detail=f"Slurm knows no job {handle.ref['job']} called {handle.name}")
        if job.never_begins:
            raise DeployerError(f"job {job.id} will never begin: {job.reason}")
        began = handle.name in self._served if job.state == "PENDING" else self._place(handle, anew=job.has_run)
        state = job.meaning(began=bool(began))
        if state.status is Status.LOST and job.has_run and not self._place(handle):
            return State(status=Status.LOST, detail=f"{state.detail}: {_last_line(self._cluster.log(handle.name))}")
        if (
            state.status is Status.EXITED
            and self._options.apptainer
            and (refused := said_by_apptainer(self.log(handle)))
        ):
            return State(status=Status.LOST, detail=f"{state.detail.partition(':')[0]}: apptainer: {refused}")
        if state.status is Status.RUNNING and self._tunnel:
            return self._tunnel.state(handle) or state
        return state

    def endpoint(self, handle: Handle) -> Endpoint | None:
        """Where the script said that its server is, once it has; through the tunnel where there is one."""
        place = self._place(handle)
        if place is None:
            return None
        if self._tunnel:
            return self._tunnel.endpoint(handle, {"{node}": place.node, "{node_port}": str(place.port)})
        host = self._options.address.replace("{node}", place.node)
        return Endpoint(url=f"http://{host}:{place.port}", model=str(handle.ref["model"]))

    def log(self, handle: Handle) -> str:
        """What the server wrote so far, and what the script said before it; nothing after `stop`."""
        log = self._cluster.log(handle.name)
        self._notice(handle, log)
        return said_by_server(log)

    def stop(self, handle: Handle, grace_s: float) -> None:
        """Take its ticket, so that it cannot begin; SIGTERM to the server, SIGKILL to all after the grace."""
        self._cluster.remove(handle.name, log=False)
        gone = self._end(handle.name, grace_s)
        self._jobs.forget(handle.name)
        self._logs.forget(handle.name)
        self._served.pop(handle.name, None)
        if self._tunnel:
            self._tunnel.close(handle)
        if not gone:
            raise DeployerError(f"the job of {handle.name} does not end, although it was cancelled")
        self._cluster.remove(handle.name, log=True)

    def find(self, labels: Mapping[str, str]) -> Sequence[Handle]:
        """Jobs that have not ended, and tickets that nobody took away."""
        found = {
            ticket.name: _handle(ticket)
            for ticket in self._cluster.tickets()
            if labels.items() <= ticket.labels.items()
        }
        for job, name, borne in self._cluster.jobs():
            if labels.items() <= borne.items():
                model = str(found[name].ref["model"]) if name in found else ""
                found[name] = _handle(Ticket(name=name, model=model, labels=borne), job.id)
        return tuple(found.values())

    def _end(self, name: str, grace_s: float) -> bool:
        """Whether Slurm says that nothing of it is left."""
        grace, told = Deadline.after(grace_s), False

        def look() -> bool | None:
            nonlocal told
            left = [job for job, _, _ in self._cluster.jobs(name)]
            waiting = [job for job in left if job.state == "PENDING"]
            running = [job for job in left if job not in waiting and job.state != "COMPLETING"]
            self._cluster.cancel(waiting)
            if grace.passed:
                self._cluster.cancel(running, "--full", "--signal=KILL")
            elif not told:
                self._cluster.cancel(running, "--batch", "--signal=TERM")
                told = bool(running)
            return None if left else True

        return bool(poll(look, Deadline.after(grace_s + _KILL_S), 1.0))

    def _look(self, handle: Handle) -> Job | None:
        """By its number, or by its name where nobody could note the number."""
        job_id = str(handle.ref["job"]) or next((job.id for job, _, _ in self._cluster.jobs(handle.name)), "")
        return self._cluster.job(job_id) if job_id else None

    def _place(self, handle: Handle, *, anew: bool = False) -> Served | None:
        """Where the server is, as far as the log tells by now."""
        if handle.name not in self._served:
            if anew:
                self._logs.forget(handle.name)
            self._notice(handle, self._logs.get(handle.name, lambda: self._cluster.log(handle.name)))
        return self._served.get(handle.name)

    def _notice(self, handle: Handle, log: str) -> None:
        place = served(log)
        if place:
            self._served[handle.name] = place


def _handle(ticket: Ticket, job_id: str = "") -> Handle:
    return Handle(deployer=Slurm.kind, name=ticket.name, ref={"job": job_id, "model": ticket.model})


def _last_line(log: str) -> str:
    lines = log.strip().splitlines()
    return lines[-1].removeprefix(SAYS) if lines else "it wrote nothing"
