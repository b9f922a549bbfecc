"""A load client as OME's BenchmarkJob: sent, waited for, its report read off a claim by another pod, always ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from optuna_tuner.client_site import STDERR, STDOUT, ClientSite, LoadClient, Program, Vantage
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.deployers.kubernetes_cluster import Cluster, Whole
from optuna_tuner.deployers.kubernetes_pod import Facts, Seen, state_of
from optuna_tuner.deployers.load_client.request import FOLDER, Loaded
from optuna_tuner.deployers.load_client.site import REQUEST_FILE, SILENT_S, Site, taken
from optuna_tuner.deployers.ome.benchmark_options import RESULTS, BenchmarkJobOptions
from optuna_tuner.deployers.ome.benchmark_request import CONTAINER, POD_LABEL, RESOURCE, job_of
from optuna_tuner.deployers.ome.options import OmeOptions
from optuna_tuner.deployers.ome.shapes import at
from optuna_tuner.errors import BenchmarkError, DeployerError
from optuna_tuner.values import Handle, Json, Status

_GRACE_S = 2.0
_END_S = 120.0  # OME's manager takes its finalizer away
_READ_S = 600.0
_OVER = {"Completed": 0, "Failed": 1}

logger = logging.getLogger(__name__)


class BenchmarkJobSite(ClientSite):
    """OME, which runs genai-bench for one server."""

    def __init__(
        self, cluster: Cluster, options: OmeOptions, said: BenchmarkJobOptions, find: Callable[[], Loaded]
    ) -> None:
        self._cluster, self._options, self._said, self._find = cluster, options, said, find

    @cached_property
    def _server(self) -> Loaded:
        return self._find()

    @property
    def vantage(self) -> Vantage:
        """OME says both itself."""
        return Vantage(url=self._server.url, folder=FOLDER, elsewhere=True)

    @contextmanager
    def started(self, program: Program, folder: Path, deadline: Deadline) -> Iterator[LoadClient]:
        """A BenchmarkJob of its own; what is sent lies in the folder as `job.json`."""
        try:
            job = job_of(program, folder.name, self._server, self._options)
        except DeployerError as error:
            raise BenchmarkError(f"the load client cannot be started: {error}") from error
        for name in program.files:
            (folder / name).unlink(missing_ok=True)  # prompts that nobody is given are no evidence
        (folder / REQUEST_FILE).write_text(f"{json.dumps(job, indent=1)}\n", encoding="utf-8")
        name = f"{self._server.name}-{folder.name}"
        run = _Benchmarked(self._cluster, self._options, name, folder, lambda: self._read(folder, deadline))
        try:
            run.begin(job, Deadline.after(self._said.start_s, deadline.stopped))
            yield run
        finally:
            run.end()

    def _read(self, folder: Path, deadline: Deadline) -> None:
        """Bring the report from the claim into the folder: by a pod that copies it to where it can be read."""
        place = f"{RESULTS}/{self._said.folder}/{self._server.name}-{folder.name}"
        options = self._options.model_copy(update={"load_client": self._said.reader})
        own = folder / f"{folder.name}-reader"
        own.mkdir()
        program = Program(argv=("cp", "-r", place, "report"))
        within = Deadline.after(_READ_S, deadline.stopped)
        with Site(self._cluster, options, "ome", lambda: self._server).started(program, own, within) as reader:
            code = poll(lambda: reader.exit_code, within)
        if code is None:
            raise BenchmarkError(f"the report could not be read off the claim {self._said.claim} in time")
        if (own / "report").is_dir():
            (own / "report").rename(folder / "report")


class _Benchmarked:
    """One BenchmarkJob, and its folder here. Its own machine's clock is not known: nothing tells a time by it."""

    epoch_s = 0.0

    def __init__(
        self, cluster: Cluster, options: OmeOptions, name: str, folder: Path, read: Callable[[], None]
    ) -> None:
        """`read` brings the report when it has ended."""
        self.folder, self.started_at = folder, folder.stat().st_mtime
        self.waited_s = 0.0
        self._read = read
        self._cluster, self._options, self._name = cluster, options, name
        self._exit_code: int | None = None
        self._asked_at, self._heard_at = 0.0, now()
        self._runs = False
        self._last = "OME has not looked at it yet"

    def begin(self, job: dict[str, Json], start: Deadline) -> None:
        """Send it, and return when its pod runs. Raises BenchmarkError where it does not."""
        began, seconds = now(), start.left_s
        try:
            self._cluster.api.create(job, self._options.namespace)
        except DeployerError as error:
            raise BenchmarkError(f"the BenchmarkJob cannot be run: {error}") from error

        def look() -> bool | None:
            self._look()
            return True if self._runs else None

        if poll(look, start, 0.2) is None:
            raise BenchmarkError(
                f"the BenchmarkJob did not run within {seconds:.0f} s (deployer.benchmark_job.start_s): {self._last}"
            )
        self.waited_s = now() - began

    @property
    def exit_code(self) -> int | None:
        """Of genai-bench; its report is here when it is told. Raises BenchmarkError."""
        if self._exit_code is None:
            code = self._look()
            if code is not None:
                self._keep_log()
                self._read()
                self._exit_code = code
        return self._exit_code

    def _look(self) -> int | None:
        """How it ended; None before, and while nobody can tell."""
        if now() - self._asked_at < self._options.poll_s:
            return None
        self._asked_at = now()
        try:
            seen, job = self._seen(), self._cluster.api.get(RESOURCE, self._name, self._options.namespace)
        except DeployerError as error:
            self._last = str(error)
            if now() - self._heard_at > SILENT_S:
                raise BenchmarkError(f"nothing was heard of the BenchmarkJob for {SILENT_S:g} s: {error}") from error
            return None
        self._heard_at = now()
        if job is None:
            raise BenchmarkError("somebody deleted the BenchmarkJob")
        return self._without_pod(job) if seen.pod is None else self._of_pod(seen)

    def _without_pod(self, job: Facts) -> int | None:
        """By OME's word, which is all that there is."""
        said, failure = str(at(job, "status", "state") or ""), at(job, "status", "failureMessage")
        self._last = f"OME calls it {said or 'nothing'}" + (f": {failure}" if failure else "")
        if said == "Failed" and not self._runs:
            raise BenchmarkError(f"OME did not run the BenchmarkJob: {failure}")
        return _OVER.get(said) if self._runs else None

    def _of_pod(self, seen: Seen) -> int | None:
        """By what the pod tells: OME calls it running also where none can be."""
        try:
            state = state_of(seen)
        except DeployerError as error:
            raise BenchmarkError(f"the BenchmarkJob cannot be run: {error}") from error
        self._last = state.detail or "its pod runs"
        self._runs = self._runs or state.status is not Status.QUEUED
        if state.status is Status.LOST or state.diagnosis is not None:
            raise taken(state, "deployer.benchmark_job.memory")
        return state.exit_code if state.status is Status.EXITED else None

    def _seen(self) -> Seen:
        namespace = self._options.namespace
        pods = self._cluster.pods(namespace, f"{POD_LABEL}={self._name}")
        seen = Seen(pod=pods[-1] if pods else None, container=CONTAINER)
        if seen.pod is None or seen.has_begun:
            return seen
        return Seen(pod=seen.pod, events=self._cluster.api.events(seen.pod_name, namespace), container=CONTAINER)

    def _keep_log(self) -> None:
        """What genai-bench said, where its node still has it."""
        try:
            log = self._cluster.log(self._handle, self._seen())
        except DeployerError as error:
            log = str(error)
        (self.folder / STDOUT).write_text("", encoding="utf-8")
        (self.folder / STDERR).write_text(log, encoding="utf-8")

    @property
    def _handle(self) -> Handle:
        return Handle(deployer="ome", name=self._name, ref={"namespace": self._options.namespace, "model": ""})

    def end(self) -> None:
        """OME takes its Job and pod away. A failure is logged: what is left goes with the server."""
        whole = Whole(
            resource=RESOURCE,
            name=self._name,
            namespace=self._options.namespace,
            pods=f"{POD_LABEL}={self._name}",
        )
        try:
            gone = self._cluster.end(self._handle, whole, _GRACE_S, _END_S)
        except DeployerError as error:
            logger.warning("the BenchmarkJob %s could not be ended: %s", self._name, error)
            return
        if not gone:
            logger.warning("the BenchmarkJob %s does not go, although it was deleted", self._name)
