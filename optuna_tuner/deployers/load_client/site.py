"""A load client that runs in the cluster: sent, waited for, asked for its files, and always ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import httpx

from optuna_tuner.client_site import ClientSite, LoadClient, Program, Vantage
from optuna_tuner.clock import Deadline, now, poll
from optuna_tuner.deployers.cluster_options import ClusterOptions
from optuna_tuner.deployers.kubernetes_cluster import Cluster, Whole, namespace_of
from optuna_tuner.deployers.kubernetes_pod import Seen, state_of
from optuna_tuner.deployers.kubernetes_request import NAME_LABEL
from optuna_tuner.deployers.load_client.copying import Copies
from optuna_tuner.deployers.load_client.options import CONTAINER
from optuna_tuner.deployers.load_client.request import FOLDER, PORT, ClientRequest, Loaded, body_of
from optuna_tuner.errors import BenchmarkError, DeployerError
from optuna_tuner.values import Cause, Diagnosis, Handle, Request, State, Status

REQUEST_FILE = "job.json"
_GRACE_S = 2.0
_END_S = 60.0
SILENT_S = 300.0  # an API server that is restarted comes back within minutes, and the client runs on meanwhile
_TAIL = 4000

logger = logging.getLogger(__name__)


class Site(ClientSite):
    """The cluster of one server. `find` asks it for the server, when that runs."""

    def __init__(self, cluster: Cluster, options: ClusterOptions, kind: str, find: Callable[[], Loaded]) -> None:
        self._cluster, self._options, self._kind, self._find = cluster, options, kind, find

    @cached_property
    def _server(self) -> Loaded:
        return self._find()

    @property
    def vantage(self) -> Vantage:
        """By the address of its pod: no Service or port-forward lies between."""
        return Vantage(url=self._server.url, folder=FOLDER, elsewhere=True)

    @contextmanager
    def started(self, program: Program, folder: Path, deadline: Deadline) -> Iterator[LoadClient]:
        """A Job of its own; what is sent lies in the folder as `job.json`."""
        body = body_of(program, folder.name, self._server, self._options, deadline.left_s)
        name = f"{self._server.name}-{folder.name}"
        request = Request(deployer=self._kind, name=name, body=body.model_dump(mode="json"))
        (folder / REQUEST_FILE).write_text(f"{json.dumps(asdict(request), indent=1)}\n", encoding="utf-8")
        handle = Handle(deployer=self._kind, name=name, ref={"namespace": body.namespace, "model": self._server.model})
        client = ClientInPod(self._cluster, self._options, handle, folder)
        try:
            client.begin(body, deadline)
            yield client
        finally:
            client.end()


class ClientInPod:
    """A program in a pod, and its folder here."""

    def __init__(self, cluster: Cluster, options: ClusterOptions, handle: Handle, folder: Path) -> None:
        self.folder, self.started_at = folder, folder.stat().st_mtime
        self.epoch_s = self.waited_s = 0.0
        self._cluster, self._options, self._handle = cluster, options, handle
        self._copies = Copies(folder)
        self._exit_code: int | None = None
        self._address = ""
        self._runs = False
        self._asked_at, self._heard_at = 0.0, now()
        self._last = "nothing is known of it"

    def begin(self, body: ClientRequest, deadline: Deadline) -> None:
        """Send it, and return when it runs. Raises BenchmarkError where it does not."""
        began, start_s = now(), self._options.load_client.start_s if self._options.load_client else 0.0
        try:
            self._cluster.make(body.job, body, lambda _: self.end())
        except DeployerError as error:
            raise BenchmarkError(f"the load client cannot be started: {error}") from error

        def look() -> bool | None:
            self._look()
            return True if self._runs else None

        if poll(look, Deadline.after(start_s, deadline.stopped), 0.2) is None:
            raise BenchmarkError(
                f"the load client did not run within {start_s:g} s (deployer.load_client.start_s): {self._last}"
            )
        self.waited_s = now() - began

    @property
    def exit_code(self) -> int | None:
        """As the pod told it in the last `poll_s` seconds. Raises BenchmarkError where the pod has ended or is lost."""
        self._look()
        return self._exit_code

    def end(self) -> None:
        """Its pod gets SIGTERM, and its Job is removed. A failure is logged: what is left goes with the server."""
        self._copies.close()
        name, namespace = self._handle.name, namespace_of(self._handle)
        whole = Whole(resource="jobs", name=name, namespace=namespace, pods=f"{NAME_LABEL}={name}")
        try:
            gone = self._cluster.end(self._handle, whole, _GRACE_S, _END_S)
        except DeployerError as error:
            logger.warning("the load client %s could not be ended: %s", name, error)
            return
        if not gone:
            logger.warning("the pod of the load client %s does not end, although it was deleted", name)

    def _look(self) -> None:
        """Ask it, and bring what it wrote; where it does not answer ask the cluster what became of it."""
        if self._exit_code is not None or now() - self._asked_at < self._options.poll_s:
            return
        self._asked_at = now()
        try:
            url = self._url()
            told = self._copies.bring(url) if url else None
        except httpx.HTTPError as error:
            self._last, self._address, told = f"its pod runs, and does not answer: {error}", "", None
        if told is None:
            self._raise_if_over()
            return
        self._runs, self._heard_at = True, now()
        self.epoch_s, self._exit_code = told.epoch_s, told.exit_code

    def _url(self) -> str:
        """Where its files can be read from here; empty while that is not known."""
        if not self._address:
            try:
                self._address = self._find()
            except DeployerError:  # the cluster is asked once more, for the reason
                return ""
        return self._address

    def _find(self) -> str:
        pod = self._seen().pod
        status = pod.get("status") if pod else None
        address = status.get("podIP") if isinstance(status, dict) and status.get("phase") == "Running" else None
        if pod is None or not isinstance(address, str):
            return ""
        if self._options.reach == "service":
            return f"http://[{address}]:{PORT}" if ":" in address else f"http://{address}:{PORT}"
        endpoint = self._cluster.forward_again(self._handle, Seen(pod=pod).pod_name, PORT)
        return endpoint.url if endpoint else ""

    def _seen(self) -> Seen:
        return self._cluster.job(self._handle.name, namespace_of(self._handle), CONTAINER)

    def _raise_if_over(self) -> None:
        """Raise BenchmarkError where it has ended or will never begin, or nothing was heard of it for too long."""
        try:
            seen = self._seen()
        except DeployerError as error:
            self._last = str(error)
            self._raise_if_silent()
            return
        try:
            state = state_of(seen)
        except DeployerError as error:
            raise BenchmarkError(f"the load client cannot run: {error}") from error
        if state.status in {Status.EXITED, Status.LOST}:
            raise self._ended(state, seen)
        if state.status is Status.QUEUED:
            self._last, self._heard_at = state.detail, now()
            return
        self._raise_if_silent()

    def _raise_if_silent(self) -> None:
        if self._runs and now() - self._heard_at > SILENT_S:
            raise BenchmarkError(f"nothing was heard of the load client for {SILENT_S:g} s: {self._last}")

    def _ended(self, state: State, seen: Seen) -> BenchmarkError:
        """Whose end it was: never the configuration's."""
        if state.status is Status.LOST or state.diagnosis is not None:
            return taken(state, "deployer.load_client.memory")
        try:
            log = self._cluster.log(self._handle, seen)[-_TAIL:]
        except DeployerError:
            log = ""
        said = f": {log.strip().splitlines()[-1]}" if log.strip() else ""
        return BenchmarkError(f"the load client's pod ended with code {state.exit_code}{said}", log_tail=log)


def taken(state: State, memory: str) -> BenchmarkError:
    """What it means that a client's pod is lost, or that its memory ran out; `memory` is the option that gives more."""
    if state.status is not Status.LOST:
        return BenchmarkError(f"the load client's memory ran out (OOMKilled): raise {memory}")
    over = "DeadlineExceeded" in state.detail
    detail = "its Job's deadline has passed" if over else state.detail
    lost = Diagnosis(cause=Cause.NODE_LOST, evidence=f"the load client: {detail}")
    return BenchmarkError(f"the load client is lost: {detail}", diagnosis=None if over else lost)
