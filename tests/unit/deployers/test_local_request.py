import json

import pytest
from pydantic import ValidationError

from optuna_tuner.deployers.local import Local
from optuna_tuner.deployers.local_request import INHERITED, LocalOptions, environment, read_body
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Launch, Model, Request, Slot

MODEL = Model(name="llama", path="/models/llama", tokenizer="/models/llama")
LAUNCH = Launch(
    argv=("vllm", "serve", "/models/llama", "--host", "{host}", "--port", "{port}"),
    env={"VLLM_LOGGING_LEVEL": "INFO"},
    secrets={"HF_TOKEN": "MY_TOKEN"},
    gpus=2,
    model=MODEL,
)
SLOT = Slot(name="gpu-0-1", host="node", gpus=("GPU-a", "GPU-b"), cores=(2, 3))


def render(launch: Launch = LAUNCH, slot: Slot = SLOT, **options: object) -> Request:
    return Local(LocalOptions.model_validate(options)).render(launch, "tuner-1", {"attempt": "1"}, slot)


def test_a_request_says_all_that_will_be_done() -> None:
    assert render(cwd="/work", inherit_env=("MY_LAB_*",)) == Request(
        deployer="local",
        name="tuner-1",
        body={
            "argv": ["vllm", "serve", "/models/llama", "--host", "{host}", "--port", "{port}"],
            "env": {"PYTHONUNBUFFERED": "1", "VLLM_LOGGING_LEVEL": "INFO", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"},
            "secrets": {"HF_TOKEN": "MY_TOKEN"},
            "inherit_env": [*INHERITED, "MY_LAB_*"],
            "cwd": "/work",
            "cores": [2, 3],
            "devices": ["gpu-GPU-a", "gpu-GPU-b", "core-2", "core-3"],
            "labels": {"attempt": "1"},
            "model": "llama",
            "ports": [20000, 29999],
            "max_log_mb": 5,
            "max_life_s": 86400.0,
            "grace_s": 10.0,
        },
    )


def test_a_request_survives_json() -> None:
    body = json.loads(json.dumps(dict(render().body)))
    assert read_body(Request(deployer="local", name="tuner-1", body=body)) == read_body(render())


def test_a_server_without_a_gpu_sees_none_of_those_of_others() -> None:
    request = render(Launch(argv=("serve",), model=MODEL), Slot(name="cpu-0", host="node", cores=(0,)))
    assert read_body(request).env["CUDA_VISIBLE_DEVICES"] == ""


def test_more_gpus_than_the_slot_has_are_refused() -> None:
    with pytest.raises(DeployerError, match="wants 2 GPUs, the slot gpu-0 has 1"):
        render(slot=Slot(name="gpu-0", host="node", gpus=("GPU-a",)))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"ports": (29999, 20000)}, "the lowest port comes first"),
        ({"ports": (80, 90)}, "greater than or equal to 1024"),
        ({"max_log_mb": 0}, "greater than or equal to 1"),
        ({"max_life_s": 0}, "greater than 0"),
        ({"grace_s": -1}, "greater than or equal to 0"),
        ({"shell": True}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        LocalOptions.model_validate(options)


def test_a_strangers_request_is_refused() -> None:
    with pytest.raises(DeployerError, match="no request of the local deployer"):
        read_body(Request(deployer="docker", name="x", body={"image": "y"}))


def test_an_environment_holds_what_is_listed_and_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MY_TOKEN": "hush", "MY_LAB_A": "1", "OTHER": "2", "VLLM_X": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPTUNA_TUNER_STORAGE", "postgresql://user:password@host/db")
    found = environment(read_body(render(inherit_env=("MY_LAB_*",))))
    assert (found["HF_TOKEN"], found["MY_LAB_A"], found["VLLM_X"]) == ("hush", "1", "3")
    assert not {"OTHER", "OPTUNA_TUNER_STORAGE", "MY_TOKEN"} & found.keys()


def test_a_missing_secret_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(DeployerError, match="HF_TOKEN is to be read from the variable MY_TOKEN, which is not set"):
        environment(read_body(render()))
