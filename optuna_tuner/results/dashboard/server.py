"""The dashboard as a server on this machine."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET6
from socketserver import ThreadingMixIn
from threading import Lock
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.simple_server import make_server as make_wsgi_server

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from optuna_tuner.clock import now
from optuna_tuner.errors import EnvironmentFaultError, TunerError
from optuna_tuner.results.dashboard.adapter import DashboardStorage, teach_dashboard
from optuna_tuner.results.dashboard.button import Cancel, FailButton, canceller
from optuna_tuner.results.dashboard.filling import fill
from optuna_tuner.results.dashboard.guard import Guard
from optuna_tuner.results.dashboard.shelf import Shelf
from optuna_tuner.results.reading import read_study
from optuna_tuner.store.store import Store

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

REFRESH_EVERY_S = 10.0
IDLE_CONNECTION_S = 30.0
STUDY = re.compile(r"/api/studies/(\d+)/?")

logger = logging.getLogger(__name__)

Refresh = Callable[[int], None]  # bring the pages of Optuna's study of this id up to date


class _Fresh:
    """A WSGI application around another: before a study's page is read, the page is brought up to date."""

    def __init__(self, application: WSGIApplication, refresh: Refresh) -> None:
        self._application, self._refresh = application, refresh
        self._lock, self._done = Lock(), dict[int, float]()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        asked = STUDY.fullmatch(environ.get("PATH_INFO", ""))
        if asked and environ["REQUEST_METHOD"] == "GET":
            self._bring_up_to_date(int(asked[1]))
        return self._application(environ, start_response)

    def _bring_up_to_date(self, study_id: int) -> None:
        with self._lock:
            if now() - self._done.get(study_id, -REFRESH_EVERY_S) < REFRESH_EVERY_S:
                return
            try:
                self._refresh(study_id)
            except (TunerError, StorageInternalError, KeyError, OSError) as error:
                logger.warning("the page shows an older state: %s", error)
            self._done[study_id] = now()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = IDLE_CONNECTION_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's signature
        logger.debug(format, *args)


def dashboard_app(
    storage: DashboardStorage, shelf: Shelf, refresh: Refresh, cancel: Cancel, host: str
) -> WSGIApplication:
    """The guarded dashboard. `refresh` runs at most every 10 s for each study that is looked at.

    `cancel` is what the button FAIL TRIAL does.
    """
    teach_dashboard()
    inner: WSGIApplication = wsgi(storage, artifact_store=shelf.artifacts)
    return Guard(_Fresh(FailButton(inner, cancel), refresh), host)


def make_server(application: WSGIApplication, host: str, port: int, *, allow_remote: bool = False) -> WSGIServer:
    """A server that listens; port 0 takes a free one.

    Raises EnvironmentFaultError for an address that other machines can reach, unless that is allowed, and for one
    that cannot be had.
    """
    if not (allow_remote or _is_loopback(host)):
        raise EnvironmentFaultError(
            f"the dashboard has no login, and {host} can be reached by others: use 127.0.0.1 with an SSH tunnel, "
            "or say --allow-remote"
        )
    try:
        return make_wsgi_server(host, port, application, _Server6 if ":" in host else _Server, _Handler)
    except OSError as error:
        raise EnvironmentFaultError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    store: Store, *, host: str, port: int, artifact_root: Path, ready: Callable[[str], None], allow_remote: bool = False
) -> None:
    """Show all studies of the store in a browser, until interrupted. `ready` is called with the URL.

    Raises EnvironmentFaultError when the address cannot be used.
    """
    shelf, writing = Shelf(artifact_root, store.artifacts.attempt_folder), store.optuna_storage()
    reading = store.optuna_storage(reading=True)
    refresh, cancel = refresher(store, writing, shelf), canceller(store, reading)
    application = dashboard_app(DashboardStorage(reading, writing), shelf, refresh, cancel, host)
    with make_server(application, host, port, allow_remote=allow_remote) as server:
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{server.server_port}/dashboard")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            logger.info("dashboard closed")


def refresher(store: Store, writing: BaseStorage, shelf: Shelf) -> Refresh:
    """Fills the pages of one study from the store. A study that only Optuna knows is left as it is."""

    def refresh(study_id: int) -> None:
        name = writing.get_study_name_from_id(study_id)
        record = next((each for each in store.studies.all() if each.name == name), None)
        if record is not None:
            fill(writing, read_study(store, record), shelf)

    return refresh
