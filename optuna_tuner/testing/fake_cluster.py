"""A fake Kubernetes cluster of one node: an API server over a real socket, and pods that are processes of this host.

It answers as a real API server was seen to answer, as far as the deployers `kubernetes` and `ome` ask;
it is no Kubernetes.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

from aiohttp import web

from optuna_tuner.testing.fake_cluster_api import ApiServer, models
from optuna_tuner.testing.fake_controllers import Controllers
from optuna_tuner.testing.fake_crds import Definitions
from optuna_tuner.testing.fake_kubelet import Kubelet, set_condition, uid
from optuna_tuner.testing.fake_objects import Object, Objects, mark_deleted, part, parts
from optuna_tuner.testing.fake_ome import Ome

_STEP_S = 0.02
_TOKEN = "fake-token"  # noqa: S105  of nothing
_START_S = 30.0
Found = TypeVar("Found")


class FakeCluster:
    """Runs in a thread of its own until it is closed. What it does wrongly on request are its methods.

    It has OME too: its objects are held against OME's own definitions in the folder `crds`, else against a few rules.
    """

    def __init__(self, images: Sequence[str], *, gpus: int = 8, crds: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tuner-cluster-"))
        objects = Objects()
        self.ome = Ome(objects=objects)
        self.kubelet = Kubelet(objects=objects, folder=self.folder, images=set(images))
        self.controllers = Controllers(objects=objects, kubelet=self.kubelet, ome=self.ome, gpus=gpus)
        self.api = ApiServer(controllers=self.controllers, definitions=Definitions(crds), token=_TOKEN)
        models()  # the client's models take a moment to import, and would hold up the first answers
        self._ready, self._over = Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=lambda: self._loop.run_until_complete(self._serve()), name="cluster", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise OSError("the fake cluster did not start")

    def close(self) -> None:
        """End all that runs on it, and itself."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()
        self.kubelet.close()
        shutil.rmtree(self.folder)

    @property
    def kubeconfig(self) -> Path:
        """How a client finds it."""
        return self.folder / "kubeconfig"

    def names(self, *resources: str) -> Sequence[str]:
        """All objects of these kinds, in words."""
        return self.do(lambda: [f"{kind} {name}" for kind, _, name in self.kubelet.objects.held if kind in resources])

    def run_out_of_memory(self, name: str) -> None:
        """The kernel kills the container of a server's pod for memory."""

        def kill() -> None:
            process = self.kubelet.running[uid(self._pod(name))]
            process.out_of_memory = True
            process.shim.send_signal(signal.SIGUSR1)

        self.do(kill)

    def disrupt(self, name: str, reason: str, message: str) -> None:
        """Somebody takes a server's pod away for another's sake, and says so."""

        def disrupt() -> None:
            pod = self._pod(name)
            set_condition(pod, {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message})
            mark_deleted(pod, 1)

        self.do(disrupt)

    def evict(self, name: str, message: str) -> None:
        """The node itself throws a server's pod out."""

        def evict() -> None:
            pod = self._pod(name)
            self.kubelet.running[uid(pod)].shim.send_signal(signal.SIGUSR1)
            part(pod, "status").update({"phase": "Failed", "reason": "Evicted", "message": message})

        self.do(evict)

    def evict_by_word(self, name: str) -> None:
        """The node says that it has thrown a server's pod out, before it has, and nothing of its container."""
        said: Object = {"phase": "Failed", "reason": "Evicted", "containerStatuses": []}
        self.do(lambda: part(self._pod(name), "status").update(said))

    def delete_pod(self, name: str) -> None:
        """Somebody deletes a server's pod."""
        self.do(lambda: mark_deleted(self._pod(name), 1))

    def lose_node(self) -> None:
        """Its machine dies with all that runs there, and nobody is told."""

        def lose() -> None:
            self.kubelet.close()
            self.kubelet.up = False

        self.do(lose)

    def miss_node(self) -> None:
        """The control plane has waited long enough for a word of its node."""

        def miss() -> None:
            for (kind, _, _), pod in self.kubelet.objects.held.items():
                if kind == "pods":
                    ready = next(each for each in parts(part(pod, "status"), "conditions") if each["type"] == "Ready")
                    set_condition(pod, {**ready, "status": "False", "reason": ""})

        self.do(miss)

    def do(self, work: Callable[[], Found]) -> Found:
        """Between two steps of the cluster."""
        done: Future[Found] = Future()

        def act() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)
                raise

        self._loop.call_soon_threadsafe(act)
        return done.result(_START_S)

    def _pod(self, name: str) -> Object:
        [pod] = self.controllers.pods_of("default", name)
        return pod

    async def _serve(self) -> None:
        runner = web.AppRunner(self.api.application(), shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.kubelet.network = f"127.{port >> 8}.{port & 255}"  # no two clusters of a host share one
        self._write_kubeconfig(f"http://{host}:{port}")
        self._ready.set()
        while not self._over.is_set():
            self.controllers.step()
            try:
                await asyncio.wait_for(self._over.wait(), _STEP_S)
            except TimeoutError:
                continue
        for listener in self.api.listening:
            listener.close()
        await runner.cleanup()

    def _write_kubeconfig(self, server: str) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": server}}],
            "users": [{"name": "tuner", "user": {"token": _TOKEN}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "tuner"}}],
            "current-context": "fake",
        }
        self.kubeconfig.write_text(json.dumps(document), encoding="utf-8")
