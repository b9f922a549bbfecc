"""One cluster's API server, spoken to through the official client. Every refusal and every silence is a DeployerError.

Objects come and go as plain JSON: its thousand typed ones would cost each process two seconds of CPU, and drop or
refuse fields that are newer than the client.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, cast

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import OpenApiException

from optuna_tuner.deployers.bounded_stream import bounded
from optuna_tuner.deployers.kubernetes_refusal import WEBHOOK, RefusedError
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json

Facts = Mapping[str, Json]  # an object, as the API server tells it
USUAL = "~/.kube/config"
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_OME = "/apis/ome.io/v1beta1"
_GROUPS = {
    "jobs": "/apis/batch/v1",
    "inferenceservices": _OME,
    "benchmarkjobs": _OME,
    "clusterbasemodels": _OME,
    "clusterservingruntimes": _OME,
}
_TIMEOUT_S = (5, 30)  # to connect, and for an answer
_CHUNK = 1 << 16


class Answer(Protocol):
    """What the client gives where it is not asked to read it."""

    data: bytes

    def stream(self, amt: int) -> Sequence[bytes]:
        """The body, piece by piece."""

    def release_conn(self) -> None:
        """Give the connection back."""


class Api:
    """What the deployer asks for. `None` in the place of an object: there is none of this name."""

    def __init__(self, api_client: client.ApiClient) -> None:
        self._client = api_client

    @property
    def server(self) -> str:
        """Its address."""
        return str(self._client.configuration.host)

    def version(self) -> str:
        """What the API server says of itself."""
        return str(self._told("GET", "/version")["gitVersion"])

    def create(self, thing: Facts, namespace: str, *, only_test: bool = False) -> Facts:
        """Make it, or only hear what would be said against it. A field that is not known is refused."""
        query = {"fieldValidation": "Strict", **({"dryRun": "All"} if only_test else {})}
        return self._told("POST", _path(resource_of(thing), namespace), query, dict(thing))

    def get(self, resource: str, name: str, namespace: str) -> Facts | None:
        """One object."""
        return self._perhaps("GET", f"{_path(resource, namespace)}/{name}")

    def list(self, resource: str, namespace: str, *, labels: str = "", fields: str = "") -> Sequence[Facts]:
        """Those that bear these labels, and whose fields say this."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        found = self._told("GET", _path(resource, namespace), {name: value for name, value in query.items() if value})
        items = found.get("items")
        return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []

    def delete(self, resource: str, name: str, namespace: str, *, grace_s: int | None = None) -> None:
        """Take it away, with what it owns. A pod gets SIGTERM, and SIGKILL after the grace. None there: nothing."""
        how = {"propagationPolicy": "Background", **({} if grace_s is None else {"gracePeriodSeconds": str(grace_s)})}
        self._perhaps("DELETE", f"{_path(resource, namespace)}/{name}", how)

    def events(self, name: str, namespace: str) -> Sequence[str]:
        """What was told of an object lately, "REASON: MESSAGE" each, the newest last."""
        return _told_in_order(self.list("events", namespace, fields=f"involvedObject.name={name}"))

    def events_around(self, name: str, namespace: str) -> Sequence[str]:
        """The same of an object and of those that were made for it, whose names begin with its own."""
        found = self.list("events", namespace)
        return _told_in_order(each for each in found if f"{_involved(each)}-".startswith(f"{name}-"))

    def log(self, pod: str, container: str, namespace: str, most_bytes: int, *, previous: bool = False) -> bytes:
        """What a container wrote, or its beginning and end; nothing before it runs and where it is not there.

        `previous`: before it was started again.
        """
        query = {"container": container, **({"previous": "true"} if previous else {})}
        try:
            answer = self._ask("GET", f"{_path('pods', namespace)}/{pod}/log", query)
        except RefusedError as error:
            if error.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
                return b""
            raise
        try:
            return bounded(answer.stream(_CHUNK), most_bytes)
        except urllib3.exceptions.HTTPError as error:
            raise DeployerError(f"the log of {pod} cannot be read: {_words(error)}") from error
        finally:
            answer.release_conn()

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether we may do this; `resource` is GROUP/NAME/SUBRESOURCE, each of which may be empty."""
        group, name, subresource = resource.split("/")
        asked = {"namespace": namespace, "verb": verb, "group": group, "resource": name, "subresource": subresource}
        review: Facts = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        spec: Facts = {"resourceAttributes": dict[str, Json](asked)}
        status = self._told("POST", _REVIEWS, body={**review, "spec": dict(spec)}).get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Facts | None = None) -> Answer:
        try:
            told = self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "*/*", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(*told, _request_timeout=_TIMEOUT_S)
        except (OpenApiException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise DeployerError(f"the API server at {self.server} does not answer: {_words(error)}") from error
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _refusal(answer.status, answer.read(), self.server)
        return cast("Answer", answer.response)

    def _told(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Facts | None = None) -> Facts:
        answer = self._ask(method, path, query, body)
        try:
            return cast("Facts", json.loads(answer.data))
        except ValueError as error:
            raise DeployerError(f"what answers at {self.server} is no API server: {answer.data[:100]!r}") from error
        except urllib3.exceptions.HTTPError as error:
            raise DeployerError(f"the API server at {self.server} broke off: {_words(error)}") from error

    def _perhaps(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Facts | None:
        try:
            return self._told(method, path, query)
        except RefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise


def _involved(event: Facts) -> str:
    about = event.get("involvedObject")
    return str(about.get("name")) if isinstance(about, dict) else ""


def _told_in_order(events: Iterable[Facts]) -> Sequence[str]:
    ordered = sorted(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    return [f"{event.get('reason')}: {event.get('message')}" for event in ordered]


def resource_of(thing: Facts) -> str:
    """What its kind is called in a path."""
    return f"{str(thing['kind']).lower()}s"


def _path(resource: str, namespace: str) -> str:
    """Where objects lie; those of no namespace belong to the whole cluster."""
    group = _GROUPS.get(resource, "/api/v1")
    return f"{group}/namespaces/{namespace}/{resource}" if namespace else f"{group}/{resource}"


def in_pod(api_client: client.ApiClient, name: str, namespace: str) -> Callable[..., object]:
    """What the client's `portforward` calls: bound to an `ApiClient`, which it changes meanwhile."""
    return _Pod(api_client, f"{_path('pods', namespace)}/{name}/portforward").connect


@dataclass(frozen=True, slots=True)
class _Pod:
    api_client: client.ApiClient
    path: str

    def connect(self, ports: str, **_: object) -> object:
        query = [("ports", ports)]
        told = self.api_client.param_serialize("GET", self.path, query_params=query, auth_settings=["BearerToken"])
        return self.api_client.call_api(*told).response


def connect(kubeconfig: str | None, context: str | None) -> client.ApiClient:
    """A client of the cluster that the study or the environment names. Raises DeployerError where none is named."""
    named = kubeconfig or os.environ.get("KUBECONFIG")
    place = os.path.pathsep.join(str(Path(each).expanduser()) for each in (named or USUAL).split(os.path.pathsep))
    try:
        if named or context or Path(place).exists():
            return config.new_client_from_config(config_file=place, context=context, persist_config=False)
        inside = client.Configuration()
        config.load_incluster_config(client_configuration=inside)
    except config.ConfigException as error:
        if named or context or Path(place).exists():
            raise DeployerError(f"{place} names no cluster: {error}") from error
        how = "deployer.kubeconfig or the variable KUBECONFIG names one"
        raise DeployerError(f"there is no {USUAL}, and this is no pod of a cluster: {how}") from error
    except (yaml.YAMLError, OSError, ValueError, TypeError, KeyError) as error:
        raise DeployerError(f"{place} cannot be read: {_words(error)}") from error
    return client.ApiClient(inside)


def _refusal(status: int, body: bytes, server: str) -> RefusedError:
    """The API server's own words, and what they mean where that is certain."""
    hints = {
        HTTPStatus.UNAUTHORIZED: "; the credentials of the kubeconfig are not, or no more, taken there",
        HTTPStatus.FORBIDDEN: "; docs/how-to/deploy-with-kubernetes.md (or -ome.md) has a Role with all that is needed",
    }
    try:
        words = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):  # plain text, or a proxy's page
        words = " ".join(body.decode(errors="replace").split())[:500]
    hint = "" if WEBHOOK in words else hints.get(HTTPStatus(status), "")
    return RefusedError(status, f"the API server at {server} refuses ({status}): {words}{hint}")


def _words(error: BaseException) -> str:
    """The innermost reason: connection errors come wrapped several times."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__
