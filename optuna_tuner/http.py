"""Questions to a server that may not be there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from optuna_tuner.values import Endpoint, Json

if TYPE_CHECKING:
    import ssl

    import httpx


LARGEST_ANSWER = 8 * 1024 * 1024  # bytes, unpacked; a page of metrics has some hundred thousand


def authorization(endpoint: Endpoint) -> Mapping[str, str]:
    """The headers with which a server that wants a key is asked; the key is read here, and kept nowhere."""
    key = os.environ.get(endpoint.key_variable, "") if endpoint.key_variable else ""
    return {"Authorization": f"Bearer {key}"} if key else {}


def client(timeout_s: float, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """For questions to one server. Proxies of the environment are left alone; `timeout_s` bounds each read."""
    from optuna_tuner.cookies import Cookieless  # noqa: PLC0415  httpx is a third of what checking a study would import

    return Cookieless(headers=headers, timeout=timeout_s, trust_env=False, verify=certificates())


def get(url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """The answer, whatever its status, of a size bounded as by `whole`. Raises httpx.HTTPError."""
    with client(timeout_s, headers) as asking, asking.stream("GET", url) as answer:
        return whole(answer)


def post(url: str, document: Mapping[str, Json], timeout_s: float) -> httpx.Response:
    """The answer to a JSON document, whatever its status. Otherwise as `get`."""
    with client(timeout_s) as asking, asking.stream("POST", url, json=document) as answer:
        return whole(answer)


def whole(answer: httpx.Response) -> httpx.Response:
    """An answer that still streams, read to its end. Raises httpx.ReadError beyond LARGEST_ANSWER bytes.

    A server that sends without end, or packs gigabytes into little, must not fill the worker's memory.
    """
    import httpx  # noqa: PLC0415  likewise

    body = bytearray()
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise httpx.ReadError(f"{answer.url} answers with more than {LARGEST_ANSWER} bytes")
    headers = [(name, value) for name, value in answer.headers.multi_items() if name != "content-encoding"]
    return httpx.Response(answer.status_code, headers=headers, content=bytes(body), request=answer.request)


@cache
def certificates() -> ssl.SSLContext:
    """Read once in a process and not, as httpx does by itself, for every question, which costs 20 ms of the CPU.

    A server that starts is asked ten times a second.
    """
    import httpx  # noqa: PLC0415  likewise

    return httpx.create_ssl_context(trust_env=False)
