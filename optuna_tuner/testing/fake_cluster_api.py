"""The API server of a fake cluster, over HTTP: what our deployers ask for, and refusals for all else."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import cast

from aiohttp import WSMsgType, web
from pydantic import BaseModel

from optuna_tuner.testing.fake_controllers import Controllers
from optuna_tuner.testing.fake_crds import Definitions
from optuna_tuner.testing.fake_kubelet import is_ready, uid
from optuna_tuner.testing.fake_objects import GROUPS, OME, Object, RefusalError, check, mark_deleted, now, part, parts
from optuna_tuner.values import Json

_CORE, _BATCH = "/api/v1/namespaces/{ns}", "/apis/batch/v1/namespaces/{ns}"
_OME = "/apis/ome.io/v1beta1"
_PATHS = (
    (_CORE, "pods|services|secrets|configmaps|events"),
    (_BATCH, "jobs"),
    (f"{_OME}/namespaces/{{ns}}", "inferenceservices|benchmarkjobs"),
    (_OME, "clusterbasemodels|clusterservingruntimes"),
)
_PROTOCOL = "v4.channel.k8s.io"
_CHUNK = 1 << 16
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class ApiServer:
    """Answers for the objects of a cluster. `forbidden`: rights that nobody has, "VERB GROUP/RESOURCE/SUBRESOURCE"."""

    controllers: Controllers
    definitions: Definitions
    token: str
    forbidden: set[str] = field(default_factory=set)
    away: bool = False
    listening: list[asyncio.Server] = field(default_factory=list)

    def application(self) -> web.Application:
        """All paths. What is none of them is answered in plain text, as by a real one."""
        made = web.Application(middlewares=[self._guarded])
        made.router.add_get("/version", self._version)
        made.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review)
        for base, resources in _PATHS:
            many = f"{base}/{{resource:{resources}}}"
            made.router.add_get(many, self._list)
            made.router.add_post(many, self._create)
            made.router.add_get(f"{many}/{{name}}", self._get)
            made.router.add_delete(f"{many}/{{name}}", self._delete)
        made.router.add_get(f"{_CORE}/pods/{{name}}/log", self._log)
        made.router.add_get(f"{_CORE}/pods/{{name}}/portforward", self._forward)
        return made

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.away:
            return web.Response(status=503, text="apiserver not ready")
        try:
            self._know(request)
            return await handler(request)
        except RefusalError as refusal:
            return web.json_response(refusal.status, status=refusal.code)
        except web.HTTPNotFound:
            return web.Response(status=404, text="404 page not found\n")

    def _know(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusalError(401, "Unauthorized", "Unauthorized")

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "36", "gitVersion": "v1.36.2-fake"})

    async def _review(self, request: web.Request) -> web.Response:
        asked = part(part(await request.json(), "spec"), "resourceAttributes")
        right = "{verb} {group}/{resource}/{subresource}".format(**asked)
        return web.json_response({"status": {"allowed": right not in self.forbidden}}, status=201)

    async def _create(self, request: web.Request) -> web.Response:
        resource, namespace, _ = self._place(request, "create")
        thing: Object = await request.json()
        strict = request.query.get("fieldValidation") == "Strict"
        if resource in OME:
            thing = self.definitions.admitted(resource, thing, strict=strict)
            self.controllers.ome.admit(resource, thing)
        else:
            check(models()[resource], thing, resource, strict=strict)
        made = self.controllers.objects.create(resource, namespace, thing, dry="dryRun" in request.query)
        if resource == "services":
            await self._serve(made)
        return web.json_response({"kind": thing.get("kind"), **made}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        resource, namespace, _ = self._place(request, "list")
        labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        found = self.controllers.objects.list(resource, namespace, labels, fields)
        return web.json_response({"kind": "List", "items": found})

    async def _get(self, request: web.Request) -> web.Response:
        resource, namespace, name = self._place(request, "get")
        found = self.controllers.objects.get(resource, namespace, name)
        if resource == "services" and not part(found, "spec").get("clusterIP"):  # OME's own
            await self._serve(found)
        return web.json_response(found)

    async def _delete(self, request: web.Request) -> web.Response:
        resource, namespace, name = self._place(request, "delete")
        thing = self.controllers.objects.get(resource, namespace, name)
        if part(thing, "metadata").get("finalizers"):
            part(thing, "metadata").setdefault("deletionTimestamp", now())
        elif resource == "pods":
            mark_deleted(thing, int(request.query.get("gracePeriodSeconds", "30")))
            self.controllers.step()  # they watch, and are faster than who asks
        else:
            self.controllers.objects.remove(resource, namespace, name)
        return web.json_response(thing)

    async def _log(self, request: web.Request) -> web.Response:
        pod = self._pod(request, "get", "log")
        known = [dict(each) for each in cast("list[Object]", _statuses(pod))]
        waits = [part(each, "state").get("waiting") and not part(each, "lastState") for each in known]
        if any(waits) or not waits:
            name = part(pod, "metadata")["name"]
            raise RefusalError(400, "BadRequest", f'container "server" in pod "{name}" is waiting to start')
        words = self.controllers.kubelet.log(pod, previous="previous" in request.query)
        return web.Response(body=words, content_type="text/plain")

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        """One connection to one port of a pod: channel 0 carries its bytes, channel 1 what went wrong."""
        pod = self._pod(request, "get", "portforward")
        self._pod(request, "create", "portforward")
        port, address = int(request.query["ports"]), part(pod, "status").get("podIP")
        if uid(pod) not in self.controllers.kubelet.running or not self.controllers.kubelet.up:
            raise RefusalError(500, "InternalError", "error upgrading connection: pod is not running")
        channel = web.WebSocketResponse(protocols=(_PROTOCOL,))
        await channel.prepare(request)
        for number in (0, 1):
            await channel.send_bytes(bytes((number,)) + struct.pack("<H", port))
        try:
            reader, writer = await asyncio.open_connection(str(address), port)
        except OSError as error:
            await channel.send_bytes(b"\x01" + f"error forwarding port {port} to pod: {error}".encode())
            await channel.close()
            return channel
        upward = asyncio.create_task(_upward(channel, writer))
        while data := await _read(reader):
            await channel.send_bytes(b"\0" + data)
        await channel.close()
        upward.cancel()
        writer.close()
        return channel

    async def _serve(self, service: Object) -> None:
        """Give it an address of its own, which leads to its pod once that is ready."""
        spec, namespace = part(service, "spec"), str(part(service, "metadata")["namespace"])
        labels = ",".join(f"{name}={value}" for name, value in part(spec, "selector").items())
        address, port = self.controllers.kubelet.new_address(), int(str(parts(spec, "ports")[0]["port"]))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found = [each for each in self.controllers.objects.list("pods", namespace, labels) if is_ready(each)]
            if found:
                there = await asyncio.open_connection(str(part(found[0], "status")["podIP"]), port)
                await asyncio.gather(_pass(reader, there[1]), _pass(there[0], writer))
            writer.close()

        self.listening.append(await asyncio.start_server(answer, address, port))
        spec["clusterIP"] = address

    def _pod(self, request: web.Request, verb: str, subresource: str) -> Object:
        self._demand(f"{verb} /pods/{subresource}")
        return self.controllers.objects.get("pods", request.match_info["ns"], request.match_info["name"])

    def _place(self, request: web.Request, verb: str) -> tuple[str, str, str]:
        resource = request.match_info["resource"]
        if resource in OME and not self.controllers.ome.is_installed:
            raise web.HTTPNotFound
        self._demand(f"{verb} {GROUPS.get(resource, '')}/{resource}/")
        return resource, request.match_info.get("ns", ""), request.match_info.get("name", "")

    def _demand(self, right: str) -> None:
        if right in self.forbidden:
            verb, what = right.split(" ")
            raise RefusalError(403, "Forbidden", f'User "tuner" cannot {verb} resource "{what.strip("/")}"')


@cache
def models() -> Mapping[str, type[BaseModel]]:
    """The official client's own, by resource: what it refuses no API server would take."""
    known = {
        "jobs": "v1_job.V1Job",
        "services": "v1_service.V1Service",
        "secrets": "v1_secret.V1Secret",
        "configmaps": "v1_config_map.V1ConfigMap",
    }
    places = {resource: name.split(".") for resource, name in known.items()}
    return {
        resource: cast("type[BaseModel]", getattr(import_module(f"kubernetes.client.models.{module}"), name))
        for resource, (module, name) in places.items()
    }


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_CHUNK)
    except OSError:
        return b""


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await _read(reader):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _upward(channel: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    async for message in channel:
        if message.type is WSMsgType.BINARY and message.data[0] == 0:
            writer.write(message.data[1:])
            await writer.drain()
    writer.close()


def _statuses(pod: Mapping[str, Json]) -> Json:
    return part(pod, "status").get("containerStatuses") or []
