"""What we must be allowed to do in the namespace: verb, and GROUP/RESOURCE/SUBRESOURCE."""

from __future__ import annotations

from collections.abc import Mapping

Right = tuple[str, str]

RIGHTS: Mapping[str, tuple[Right, ...]] = {
    "": (
        *((verb, "batch/jobs/") for verb in ("create", "get", "list", "delete")),
        *((verb, "/pods/") for verb in ("list", "delete")),
        ("get", "/pods/log"),
        ("list", "/events/"),
    ),
    "port-forward": (("get", "/pods/portforward"), ("create", "/pods/portforward")),
    "service": (("create", "/services/"), ("get", "/services/")),
    "secrets": (("create", "/secrets/"),),
}
