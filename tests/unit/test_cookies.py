"""Questions to servers leave nothing behind in this process."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from optuna_tuner import http


class Answer(BaseHTTPRequestHandler):
    """A server that gives cookies, and says which it got."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Set-Cookie", "session=1; Path=/")
        body = self.headers.get("Cookie", "none").encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()


def test_no_cookie_is_taken(url: str) -> None:
    with http.client(5) as asking:
        assert [asking.get(url).text for _ in range(2)] == ["none", "none"]


def test_pythons_cache_of_addresses_gets_none_of_a_server(url: str) -> None:
    urlsplit.cache_clear()  # type: ignore[attr-defined]  # it is a cache, though not for mypy
    http.get(url, 5)
    http.post(url, {}, 5)
    assert urlsplit.cache_info().currsize == 0  # type: ignore[attr-defined]  # as above
