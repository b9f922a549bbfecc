"""What a container's state means, as the Engine API tells it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from optuna_tuner.deployers.docker_container import endpoint_of, stamp, state_of
from optuna_tuner.deployers.docker_pull import lines_of
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Cause, Endpoint, Json, State, Status


def facts(status: str, code: int = 0, **more: Json) -> dict[str, Json]:
    return {
        "State": {"Status": status, "ExitCode": code, "OOMKilled": False, **more},
        "Config": {"Entrypoint": ["timeout", "--foreground", "5", "serve"], "Labels": {"optuna_tuner.model": "m"}},
        "HostConfig": {"Memory": 0},
        "NetworkSettings": {"Ports": {}},
    }


def not_asked() -> Sequence[str]:
    raise AssertionError("the daemon need not be asked")


@pytest.mark.parametrize(
    ("word", "status"), [("created", Status.STARTING), ("running", Status.RUNNING), ("paused", Status.RUNNING)]
)
def test_what_lives_is_not_asked_for_more(word: str, status: Status) -> None:
    assert state_of(facts(word), not_asked) == State(status=status)


def test_a_killed_child_of_a_living_server_is_no_end() -> None:
    assert state_of(facts("running", OOMKilled=True), not_asked).status is Status.RUNNING


@pytest.mark.parametrize(
    ("code", "seen", "status"),
    [
        (3, ["start", "die"], Status.EXITED),
        (137, ["start", "die"], Status.EXITED),
        (143, ["start", "kill", "die", "stop"], Status.LOST),
        (0, [], Status.LOST),
        (255, ["start"], Status.LOST),
        (124, ["start", "die"], Status.LOST),
    ],
)
def test_an_end_is_the_servers_own_only_where_the_daemon_saw_it_and_nobody_asked(
    code: int, seen: Sequence[str], status: Status
) -> None:
    state = state_of(facts("exited", code), lambda: seen)
    assert (state.status, state.exit_code) == (status, code)


def test_a_machine_without_memory_is_told_from_a_limit() -> None:
    state = state_of(facts("exited", 137, OOMKilled=True), not_asked)
    assert state.diagnosis is not None
    assert state.diagnosis.cause is Cause.OUT_OF_MEMORY_RUNTIME
    assert "which the machine had not" in state.diagnosis.evidence


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_an_endpoint_is_where_the_port_is_published(address: str, host: str) -> None:
    told = facts("running")
    assert endpoint_of(told) is None
    told["NetworkSettings"] = {"Ports": {"8000/tcp": [{"HostIp": address, "HostPort": "49153"}]}}
    assert endpoint_of(told) == Endpoint(url=f"http://{host}:49153", model="m")


def test_a_moment_keeps_its_fraction() -> None:
    assert stamp("2026-11-28T17:37:40.918016123Z") == "1795887460.918016"


def test_a_pull_tells_of_each_layer_once() -> None:
    steps: list[dict[str, Json]] = [
        {"id": "v1", "status": "Pulling from library/busybox"},
        {"id": "a", "status": "Pulling fs layer"},
        {"id": "b", "status": "Already exists"},
        {"id": "a", "status": "Downloading"},
        {"id": "a", "status": "Pull complete"},
        {"status": "Digest: sha256:1"},
    ]
    assert list(lines_of(steps)) == ["1 of 2 layers", "2 of 2 layers"]


def test_a_pull_that_is_refused_says_why() -> None:
    with pytest.raises(DeployerError, match="cannot be pulled: manifest unknown"):
        list(lines_of([{"error": "manifest unknown"}]))
