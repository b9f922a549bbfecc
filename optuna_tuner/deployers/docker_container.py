"""What a daemon tells of one container, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import cast

from optuna_tuner.deployers.docker_request import MODEL_LABEL, PORT_KEY, TIMED_OUT
from optuna_tuner.values import Cause, Diagnosis, Endpoint, Json, State, Status

Facts = Mapping[str, Json]
_LIVING = {"running": Status.RUNNING, "paused": Status.RUNNING, "created": Status.STARTING}
_ADVICE = "The host's memory ran out, not the GPU's: raise deployer.memory, or let the server keep less on the host."


def state_of(facts: Facts, happened: Callable[[], Sequence[str]]) -> State:
    """How it fares. `happened` tells what the daemon saw since the start; it is asked only where it matters.

    An end is the server's own only where the daemon saw it end and nobody asked for that: a daemon that was restarted,
    or somebody who typed `docker stop`, says nothing about a configuration.
    """
    said = _part(facts, "State")
    word, code = str(said["Status"]), int(str(said["ExitCode"]))
    if word in _LIVING:
        return State(status=_LIVING[word])
    if said.get("OOMKilled") is True:
        evidence = f"OOMKilled: the kernel ended it for memory{_limit(facts)}"
        known = Diagnosis(cause=Cause.OUT_OF_MEMORY_RUNTIME, evidence=evidence, exact_advice=_ADVICE)
        return State(status=Status.EXITED, exit_code=code, detail=evidence, diagnosis=known)
    if code == TIMED_OUT and "timeout" in cast("list[Json]", _part(facts, "Config")["Entrypoint"] or []):
        return State(status=Status.LOST, exit_code=code, detail="it ended itself after max_life_s")
    seen = happened()
    if "kill" in seen:
        return State(status=Status.LOST, exit_code=code, detail="somebody stopped the container")
    if "die" not in seen:
        return State(status=Status.LOST, exit_code=code, detail="the Docker daemon was restarted meanwhile")
    return State(status=Status.EXITED, exit_code=code)


def _limit(facts: Facts) -> str:
    limit = _part(facts, "HostConfig").get("Memory")
    return f" at its limit of {limit >> 20} MiB" if isinstance(limit, int) and limit else ", which the machine had not"


def endpoint_of(facts: Facts) -> Endpoint | None:
    """Where its port is published; None before it runs and after its end."""
    bound = cast("Mapping[str, list[Mapping[str, str]] | None]", _part(facts, "NetworkSettings")["Ports"])
    places = bound.get(PORT_KEY)
    if not places:
        return None
    address, port = places[0]["HostIp"], places[0]["HostPort"]
    host = f"[{address}]" if ":" in address else address
    model = str(_part(_part(facts, "Config"), "Labels")[MODEL_LABEL])
    return Endpoint(url=f"http://{host}:{port}", model=model)


def started_at(facts: Facts) -> str:
    """When it was started, by the daemon's clock."""
    return stamp(str(_part(facts, "State")["StartedAt"]))


def stamp(moment: str) -> str:
    """Seconds since 1970, as the Engine API takes a moment that it tells in ISO 8601."""
    return f"{datetime.fromisoformat(moment).timestamp():.6f}"


def _part(facts: Facts, name: str) -> Facts:
    return cast("Facts", facts[name])
