from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import pytest

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.results.dashboard.guard import Guard
from optuna_tuner.results.dashboard.server import make_server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


def lax_application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    del environ
    start_response("200 OK", [("Content-Type", "text/html"), ("Access-Control-Allow-Origin", "*")])
    return [b"<script>1</script>"]


def ask(path: str = "/dashboard", method: str = "GET", **headers: str) -> tuple[str, dict[str, str], bytes]:
    environ: WSGIEnvironment = {"PATH_INFO": path, "REQUEST_METHOD": method}
    environ |= {f"HTTP_{name.upper()}": value for name, value in {"host": "127.0.0.1:8080", **headers}.items()}
    setup_testing_defaults(environ)
    seen: list[tuple[str, dict[str, str]]] = []
    body = b"".join(
        Guard(lax_application, "tuner.example")(
            environ,
            lambda status, sent, *_: seen.append((status, dict(sent))),  # type: ignore[arg-type]  # nobody writes to it
        )
    )
    return *seen[0], body


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:9", "192.0.2.7", "tuner.example:80"])
def test_addresses_and_own_names_are_answered(host: str) -> None:
    assert ask(host=host)[0] == "200 OK"


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example", "[bad"])
def test_a_foreign_host_name_is_refused_against_dns_rebinding(host: str) -> None:
    status, _, body = ask(host=host)
    assert status == "403 Forbidden"
    assert "host name" in json.loads(body)["reason"]


def test_an_artifact_runs_no_script_and_is_shared_with_nobody() -> None:
    _, headers, _ = ask("/artifacts/1/2/abc")
    assert headers["Content-Security-Policy"].startswith("sandbox;")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers


def test_pages_keep_their_own_content_policy() -> None:
    _, headers, _ = ask("/dashboard")
    assert "Content-Security-Policy" not in headers  # the dashboard sets one itself
    assert headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/trials/3/tell"),
        ("POST", "/api/trials/3/user-attrs"),
        ("POST", "/api/studies/1/3/skip"),
        ("DELETE", "/api/artifacts/1/2/abc"),
        ("PUT", "/api/studies/1/preference_feedback_component"),
    ],
)
def test_nothing_but_a_note_and_the_button_is_let_through(method: str, path: str) -> None:
    status, _, body = ask(path, method)
    assert status == "403 Forbidden"
    assert "only reads" in json.loads(body)["reason"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/api/studies/1/note"), ("PUT", "/api/studies/1/17/note"), ("POST", "/api/trials/3/tell")],
)
def test_notes_and_the_button_are_for_our_own_page_only(method: str, path: str) -> None:
    assert ask(path, method, origin="http://127.0.0.1:8080")[0] == "200 OK"
    assert ask(path, method, origin="http://evil.example")[0] == "403 Forbidden"
    assert ask(path, method, origin="null")[0] == "403 Forbidden"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "tuner.example"])  # noqa: S104  nothing listens there
def test_an_address_that_others_reach_must_be_asked_for(host: str) -> None:
    with pytest.raises(EnvironmentFaultError, match="--allow-remote"):
        make_server(lax_application, host, 0)
