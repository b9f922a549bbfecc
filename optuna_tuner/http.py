"""One question to a server that may not be there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from optuna_tuner.values import Endpoint, Json

if TYPE_CHECKING:
    import ssl

    import httpx


def authorization(endpoint: Endpoint) -> Mapping[str, str]:
    """The headers with which a server that wants a key is asked; the key is read here, and kept nowhere."""
    key = os.environ.get(endpoint.key_variable, "") if endpoint.key_variable else ""
    return {"Authorization": f"Bearer {key}"} if key else {}


def get(url: str, timeout_s: float, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """The answer, whatever its status; proxies of the environment are left alone. Raises httpx.HTTPError.

    `timeout_s` bounds each read, not the whole. A server that starts is asked ten times a second: so the certificates
    are read once in a process and not, as httpx does by itself, for every question, which costs 20 ms of the CPU.
    """
    import httpx  # noqa: PLC0415  a third of what checking a study file would import, and it asks nobody

    return httpx.get(url, headers=headers, timeout=timeout_s, trust_env=False, verify=_certificates())


def post(url: str, document: Mapping[str, Json], timeout_s: float) -> httpx.Response:
    """The answer to a JSON document, whatever its status. Otherwise as `get`."""
    import httpx  # noqa: PLC0415  likewise

    return httpx.post(url, json=document, timeout=timeout_s, trust_env=False, verify=_certificates())


@cache
def _certificates() -> ssl.SSLContext:
    import httpx  # noqa: PLC0415  likewise

    return httpx.create_ssl_context(trust_env=False)
