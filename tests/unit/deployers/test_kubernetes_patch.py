"""A strategic merge patch: lists by their keys, and nothing that the tuner stands on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from optuna_tuner.deployers.kubernetes_patch import merged, patch_problem
from optuna_tuner.values import Json

POD: Mapping[str, Json] = {
    "containers": [
        {
            "name": "server",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "command": ["serve", "me"],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        }
    ],
    "tolerations": [{"key": "a"}],
}


@pytest.mark.parametrize(
    ("patch", "env"),
    [
        ([{"name": "B", "value": "3"}], [("A", "1"), ("B", "3")]),
        ([{"name": "C", "value": "3"}], [("A", "1"), ("B", "2"), ("C", "3")]),
        ([{"name": "A", "$patch": "delete"}], [("B", "2")]),
        ([{"$patch": "replace"}, {"name": "C", "value": "3"}], [("C", "3")]),
    ],
)
def test_a_list_of_named_things_is_merged_by_their_names(patch: Json, env: list[tuple[str, str]]) -> None:
    [container] = list_of(merged(POD, {"containers": [{"name": "server", "env": patch}]}), "containers")
    assert [(each["name"], each["value"]) for each in list_of(container, "env")] == env


def list_of(value: Mapping[str, Json], name: str) -> list[dict[str, Json]]:
    found = value[name]
    assert isinstance(found, list)
    return [each for each in found if isinstance(each, dict)]


def test_other_lists_are_replaced_and_the_rest_stays() -> None:
    patched = merged(POD, {"tolerations": [{"key": "b"}], "hostIPC": True})
    assert patched == {**POD, "tolerations": [{"key": "b"}], "hostIPC": True}


def test_null_takes_a_field_away_and_a_mapping_can_be_replaced() -> None:
    part: Json = [{"name": "server", "command": None, "resources": {"$patch": "replace", "limits": {"cpu": "2"}}}]
    [container] = list_of(merged(POD, {"containers": part}), "containers")
    assert "command" not in container
    assert container["resources"] == {"limits": {"cpu": "2"}}


def test_nothing_of_what_is_merged_is_changed() -> None:
    before = repr(POD)
    merged(POD, {"containers": [{"name": "server", "env": [{"name": "A", "value": "9"}]}]})
    assert repr(POD) == before


def server(**changes: Json) -> dict[str, Json]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "server", **changes}]}}}}


GOOD: list[dict[str, Json]] = [
    {},
    {"spec": {"template": {"spec": {"hostIPC": True, "initContainers": [{"name": "fetch", "image": "busybox"}]}}}},
    {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "busybox"}]}}}},
    {"metadata": {"labels": {"team": "serving"}, "annotations": {"a": "b"}}},
    server(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}]),
    server(securityContext={"capabilities": {"add": ["SYS_NICE"]}}, workingDir="/srv"),
]
BAD: list[tuple[dict[str, Json], str]] = [
    ({"metadata": {"name": "mine"}}, "metadata.name may not be patched: the tuner needs it"),
    ({"metadata": {"namespace": "mine"}}, "metadata.namespace may not be patched: deployer.namespace says it"),
    ({"metadata": {"labels": None}}, "metadata.labels.kept may not"),
    ({"metadata": {"labels": {"optuna-tuner/name": "mine"}}}, "optuna-tuner/name is the tuner's own"),
    ({"spec": {"backoffLimit": 3}}, "spec.backoffLimit may not"),
    ({"spec": {"parallelism": 2}}, "spec.parallelism may not"),
    ({"spec": {"suspend": True}}, "spec.suspend may not"),
    ({"spec": {"activeDeadlineSeconds": 1}}, "deployer.max_life_s says it"),
    ({"spec": {"activeDeadlineSeconds": None}}, "deployer.max_life_s says it"),
    ({"spec": {"$patch": "replace"}}, "spec.backoffLimit may not"),
    ({"spec": None}, "spec.backoffLimit may not"),
    ({"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}, "restartPolicy may not"),
    ({"spec": {"template": {"spec": {"containers": "none"}}}}, "containers.server.name may not"),
    ({"spec": {"template": {"spec": {"containers": [{"image": "mine"}]}}}}, "containers.server.name may not"),
    (server(image="mine"), "containers.server.image may not"),
    (server(command=["mine"]), "containers.server.command may not"),
    (server(args=["mine"]), "containers.server.args may not"),
    (server(**{"$patch": "delete"}), "containers.server.name may not"),
    ({"spec": {"$retainKeys": ["a"]}}, "$retainKeys is not known here"),
    ({"spec": {"$patch": "merge"}}, "$patch: merge is not known here"),
]


@pytest.mark.parametrize("patch", GOOD)
def test_what_we_did_not_think_of_may_be_patched(patch: Mapping[str, Json]) -> None:
    assert patch_problem(patch) is None


@pytest.mark.parametrize(("patch", "why"), BAD)
def test_what_the_tuner_stands_on_may_not(patch: Mapping[str, Json], why: str) -> None:
    assert why in (patch_problem(patch) or "it may")
