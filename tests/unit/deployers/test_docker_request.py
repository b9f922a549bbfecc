"""What the deployer `docker` sends, word for word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest
from pydantic import ValidationError

from optuna_tuner.deployers.docker import Docker
from optuna_tuner.deployers.docker_options import DockerOptions
from optuna_tuner.deployers.docker_request import grace, read_body, with_secrets
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Json, Launch, Model, Request, Slot

MODEL = Model(name="llama", path="/models/llama", tokenizer="/models/llama")
LAUNCH = Launch(
    argv=("vllm", "serve", "/models/llama", "--host", "{host}", "--port", "{port}"),
    env={"VLLM_LOGGING_LEVEL": "INFO"},
    secrets={"HF_TOKEN": "MY_TOKEN"},
    gpus=2,
    image="vllm/vllm-openai:v0.33.0",
    model=MODEL,
)
GPUS = Slot(name="gpu-0-1", host="node", gpus=("GPU-a", "GPU-b"))
CORES = Slot(name="cpu-2-3", host="node", cores=(2, 3))


def render(launch: Launch = LAUNCH, slot: Slot = GPUS, **options: object) -> Request:
    return Docker(DockerOptions.model_validate(options)).render(launch, "tuner-1", {"attempt": "1"}, slot)


def host_config(request: Request) -> Mapping[str, Json]:
    container = cast("Mapping[str, Json]", request.body["container"])
    return cast("Mapping[str, Json]", container["HostConfig"])


def test_a_request_says_all_that_will_be_sent() -> None:
    adapters = [{"source": "/srv/adapters", "target": "/adapters"}]
    limits = {"memlock": -1}
    assert render(memory="64g", mounts=adapters, user="1000:1000", ulimits=limits, cap_add=["SYS_NICE"]) == Request(
        deployer="docker",
        name="tuner-1",
        body={
            "container": {
                "Image": "vllm/vllm-openai:v0.33.0",
                "Entrypoint": ["timeout", "--foreground", "--kill-after=600", "86400", "vllm"],
                "Cmd": ["serve", "/models/llama", "--host", "0.0.0.0", "--port", "8000"],  # noqa: S104  inside
                "Env": ["PYTHONUNBUFFERED=1", "VLLM_LOGGING_LEVEL=INFO"],
                "Labels": {"optuna_tuner.model": "llama", "optuna_tuner.attempt": "1"},
                "ExposedPorts": {"8000/tcp": {}},
                "Healthcheck": {"Test": ["NONE"]},
                "HostConfig": {
                    "Init": True,
                    "RestartPolicy": {"Name": "no"},
                    "NetworkMode": "bridge",
                    "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
                    "IpcMode": "private",
                    "Mounts": [
                        {"Type": "bind", "Source": "/models/llama", "Target": "/models/llama", "ReadOnly": True},
                        {"Type": "bind", "Source": "/srv/adapters", "Target": "/adapters", "ReadOnly": True},
                        {
                            "Type": "volume",
                            "Source": "optuna-tuner-cache",
                            "Target": "/root/.cache",
                            "ReadOnly": False,
                        },
                    ],
                    "CapDrop": ["ALL"],
                    "CapAdd": ["SYS_NICE"],
                    "SecurityOpt": ["no-new-privileges"],
                    "PidsLimit": 32768,
                    "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}],
                    "LogConfig": {"Type": "json-file", "Config": {"max-size": "100m", "max-file": "2"}},
                    "ShmSize": 16 << 30,
                    "Memory": 64 << 30,
                    "MemorySwap": 64 << 30,
                    "DeviceRequests": [{"Driver": "", "DeviceIDs": ["GPU-a", "GPU-b"], "Capabilities": [["gpu"]]}],
                },
                "User": "1000:1000",
            },
            "secrets": {"HF_TOKEN": "MY_TOKEN"},
        },
    )


def test_a_request_survives_json() -> None:
    body = json.loads(json.dumps(dict(render().body)))
    assert read_body(Request(deployer="docker", name="tuner-1", body=body)) == read_body(render())


def test_a_request_of_another_deployer_is_refused() -> None:
    with pytest.raises(DeployerError, match="no request of the deployer docker"):
        read_body(Request(deployer="local", name="tuner-1", body={"argv": ["serve"]}))


def test_a_server_without_a_gpu_sees_none_and_keeps_to_its_cores() -> None:
    request = render(slot=CORES)
    assert "DeviceRequests" not in host_config(request)
    assert host_config(request)["CpusetCpus"] == "2,3"
    assert "NVIDIA_VISIBLE_DEVICES=void" in cast("list[str]", read_body(request).container["Env"])


def test_a_server_elsewhere_has_neither_the_cores_nor_the_gpus_of_this_machine() -> None:
    assert "CpusetCpus" not in host_config(render(slot=CORES, host="tcp://gpu-1:2376"))
    with pytest.raises(DeployerError, match="GPUs of the slot gpu-0-1 are not those of ssh://gpu-1"):
        render(host="ssh://gpu-1")


@pytest.mark.parametrize(
    ("host", "bound"), [(None, True), ("unix:///run/docker.sock", True), ("tcp://gpu-1:2376", False)]
)
def test_only_a_daemon_that_the_study_names_can_be_asked_from_every_machine(host: str | None, bound: bool) -> None:  # noqa: FBT001
    assert Docker(DockerOptions(host=host)).host_bound is bound


def test_without_a_deadline_the_image_needs_no_timeout() -> None:
    body = read_body(render(max_life_s=None))
    assert body.container["Entrypoint"] == ["vllm"]
    assert body.programs == ("vllm", "vllm")


def test_what_the_study_mounts_itself_is_left_to_it() -> None:
    own = [
        {"source": "hub", "target": "/root/.cache", "read_only": False},
        {"source": "/fast/llama", "target": "/models/llama"},
    ]
    mounts = cast("list[dict[str, Json]]", host_config(render(mounts=own))["Mounts"])
    assert [(mount["Type"], mount["Source"]) for mount in mounts] == [("volume", "hub"), ("bind", "/fast/llama")]


def test_a_model_of_a_hub_is_not_mounted() -> None:
    hub = replace(LAUNCH, model=Model(name="llama", path="meta/llama", tokenizer="meta/llama"))
    assert host_config(render(hub, caches={}))["Mounts"] == []


def test_shared_memory_of_the_machine_has_no_size() -> None:
    assert "ShmSize" not in host_config(render(ipc="host"))


def test_the_values_of_secrets_are_added_when_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    body = read_body(render())
    with pytest.raises(DeployerError, match="HF_TOKEN from MY_TOKEN"):
        with_secrets(body)
    monkeypatch.setenv("MY_TOKEN", "canary")
    sent = with_secrets(body)
    assert sent["Env"] == [*cast("list[str]", body.container["Env"]), "HF_TOKEN=canary"]
    assert "canary" not in json.dumps(dict(render().body))


@pytest.mark.parametrize(
    ("launch", "complaint"),
    [
        (replace(LAUNCH, image=None), "starts servers from an image"),
        (replace(LAUNCH, image="-v"), '"-v" is no name of an image'),
        (replace(LAUNCH, gpus=4), "wants 4 GPUs, the slot gpu-0-1 has 2"),
        (replace(LAUNCH, env={"A=B": "1"}), "cannot be the name of an environment variable"),
        (replace(LAUNCH, argv=("serve", "a\0b")), "NUL character"),
        (replace(LAUNCH, model=Model(name="m", path="/models/../etc", tokenizer="t")), r'without "\.\."'),
    ],
)
def test_what_cannot_be_sent_is_refused(launch: Launch, complaint: str) -> None:
    with pytest.raises(DeployerError, match=complaint):
        render(launch)


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("memory", "40 Gi", "such as 512m or 40g"),
        ("memory", "40", "such as 512m or 40g"),
        ("shm_size", "-1g", "such as 512m or 40g"),
        ("host", "gpu-1", "unix:///path, tcp://host:port"),
        ("network", "host", "cannot publish a port"),
        ("network", "--net", "String should match"),
        ("publish", "0.0.0.0", "let everybody reach"),  # noqa: S104  refused
        ("publish", "gpu-1", "must be an IP address"),
        ("ports", [9000, 8000], "lowest port comes first"),
        ("caches", {"../etc": "/x"}, "String should match"),
        ("caches", {"cache": "/a/../../etc"}, r'without "\.\."'),
        ("mounts", [{"source": "/srv/../etc", "target": "/x"}], r'without "\.\."'),
        ("mounts", [{"source": "data;rm", "target": "/x"}], "absolute path or the name of a volume"),
        ("mounts", [{"source": "/var/run/docker.sock", "target": "/x"}], "rules the machine"),
        ("mounts", [{"source": "/", "target": "/x"}], r'without "\.\."'),
        ("mounts", [{"source": "/srv", "target": "/proc/x"}], "kernel interfaces"),
        ("user", "$(id)", "String should match"),
        ("cap_add", ["all; true"], "String should match"),
    ],
)
def test_a_bad_option_is_refused(option: str, value: object, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        DockerOptions.model_validate({option: value})


@pytest.mark.parametrize(
    "image",
    [
        "vllm/vllm-openai:v0.33.0",
        "localhost:5000/a/b__c.d-e:tag_1.2-x",
        "nvcr.io/nvidia/vllm@sha256:" + "0" * 64,
        "sha256:" + "a" * 64,
        "busybox",
    ],
)
def test_an_image_may_have_any_name_that_docker_knows(image: str) -> None:
    assert read_body(render(replace(LAUNCH, image=image))).image == image


@pytest.mark.parametrize("image", ["a b", "a;b", "--privileged", "$(x)", "A/B:c", "a:", "../a", "a@sha256:12", "a\n"])
def test_no_other_name_is_an_image(image: str) -> None:
    with pytest.raises(DeployerError, match="is no name of an image"):
        render(replace(LAUNCH, image=image))


def test_a_server_is_never_given_less_time_than_promised() -> None:
    assert [grace(seconds) for seconds in (-1, 0, 0.2, 5, 5.1)] == [0, 0, 1, 5, 6]
