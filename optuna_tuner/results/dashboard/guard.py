"""What stands between the network and the dashboard, which has no protection of its own.

The dashboard is for looking: of its writing routes only those for notes, and the one of the button FAIL TRIAL, are let
through. Deleting or renaming a study there would cut Optuna's history from our own tables.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

READING = ("GET", "HEAD", "OPTIONS")
WRITING = re.compile(r"PUT /api/studies/\d+(/\d+)?/note/?|POST /api/trials/\d+/tell/?")
EVERYWHERE = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# An artifact is whatever a server or a client wrote: it may be shown, but nothing in it may run.
ARTIFACTS = (("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"),)
REPLACED = {"access-control-allow-origin", *(name.lower() for name, _ in EVERYWHERE)}


class Guard:
    """A WSGI application around another: checks who asks for what, and sets the headers that keep pages apart."""

    def __init__(self, application: WSGIApplication, host: str) -> None:
        self._application = application
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        refusal = self._refusal(environ)
        if refusal:
            body = json.dumps({"reason": refusal}).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response("403 Forbidden", [*headers, *EVERYWHERE])
            return [body]
        return self._application(environ, _guarded(start_response, environ.get("PATH_INFO", "")))

    def _refusal(self, environ: WSGIEnvironment) -> str:
        """Why a request is refused; empty when it is not."""
        asked = environ.get("HTTP_HOST", "")
        if not self._is_ours(asked):
            return "This host name is not one of this server's."
        if environ["REQUEST_METHOD"] in READING:
            return ""
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and urlsplit(origin).netloc != asked:
            return "Requests from other sites are refused."
        if WRITING.fullmatch(f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', '')}"):
            return ""
        return "This view only reads, but for notes and FAIL TRIAL: use the command optuna-tuner for everything else."

    def _is_ours(self, asked: str) -> bool:
        """Whether a Host header can come from a page of ours.

        A foreign site can point its own name at our address (DNS rebinding), but neither an address nor our name.
        """
        try:
            name = urlsplit(f"//{asked}").hostname or ""
            return name in self._names or bool(ip_address(name))
        except ValueError:
            return False


def _guarded(start_response: StartResponse, path: str) -> StartResponse:
    extra = (*EVERYWHERE, *ARTIFACTS) if path.startswith("/artifacts/") else EVERYWHERE

    def start(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
        kept = [(name, value) for name, value in headers if name.lower() not in REPLACED]
        return start_response(status, [*kept, *extra], *rest)  # type: ignore[arg-type]  # passed on as it came

    return start  # type: ignore[return-value]  # likewise: what start_response returns is never looked at
