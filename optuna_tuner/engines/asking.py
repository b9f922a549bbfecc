"""Questions to a running server, with short time-outs. A server that does not answer is no error here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from optuna_tuner.http import authorization, get
from optuna_tuner.values import Endpoint, Scalar

TIMEOUT_S = 5.0
MODELS = "/v1/models"


def answer(endpoint: Endpoint, path: str) -> JsonValue:
    """The JSON at a path of the server; None when it does not answer with JSON."""
    text = _text(endpoint, path)
    try:
        found: JsonValue = None if text is None else json.loads(text)
    except ValueError:
        return None
    return found


def counted(endpoint: Endpoint, counter: str) -> int | None:
    """The value of one of the server's counters for Prometheus, all labels together; None where it has none."""
    values = re.findall(
        rf"^{re.escape(counter)}(?:{{[^}}]*}})? ([\d.e+]+)$", _text(endpoint, "/metrics") or "", re.MULTILINE
    )
    return sum(int(float(value)) for value in values) if values else None


def _text(endpoint: Endpoint, path: str) -> str | None:
    import httpx  # noqa: PLC0415  as in optuna_tuner.http

    try:
        response = get(f"{endpoint.url}{path}", TIMEOUT_S, authorization(endpoint))
        response.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    return response.text


def served_model(endpoint: Endpoint) -> str | None:
    """The name of the first model that an OpenAI-compatible server lists; None while it does not answer."""
    found = answer(endpoint, MODELS)
    models = found.get("data") if isinstance(found, dict) else None
    first = models[0] if isinstance(models, list) and models else None
    name = first.get("id") if isinstance(first, dict) else None
    return name if isinstance(name, str) else None


def scalars(found: JsonValue, leave_out: Iterable[str] = ()) -> Mapping[str, Scalar]:
    """The plain values of an answer, by name; nested ones, nulls and those to be left out are dropped."""
    if not isinstance(found, dict):
        return {}
    unwanted = set(leave_out)
    return {
        name: value
        for name, value in sorted(found.items())
        if name not in unwanted and isinstance(value, bool | int | float | str)
    }


def texts(found: JsonValue, leave_out: Iterable[str] = ()) -> Mapping[str, Scalar]:
    """The same, with lists and objects as JSON text."""
    if not isinstance(found, dict):
        return {}
    nested = {
        name: json.dumps(value, sort_keys=True) for name, value in found.items() if isinstance(value, list | dict)
    }
    return scalars({**found, **nested}, leave_out)
