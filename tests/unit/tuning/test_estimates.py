"""What the memory model tells the sampler, where a model and GPUs are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import fake_gpus
import pytest
import yaml

from optuna_tuner.contracts import Engine
from optuna_tuner.memory import facts
from optuna_tuner.memory.gpus import gpu, told_by_nvml
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.spec.space import Choice, Parameter
from optuna_tuner.spec.study import Part
from optuna_tuner.testing.fake_nvml import pynvml
from optuna_tuner.tuning.estimates import UNKNOWN, memory_estimates
from optuna_tuner.tuning.gpus import kind_of

MATERIAL = Path(__file__).parents[2] / "material" / "memory"
ENGINE = cast("Engine", make(InstalledKinds(), "engines", Part.model_validate({"kind": "vllm", "version": "0.33.0"})))
SPACE: dict[str, Parameter] = {
    "gpu_memory_utilization": Choice(type="choice", choices=(0.5, 0.9)),
    "tensor_parallel_size": Choice(type="choice", choices=(1, 2)),
}


@pytest.fixture
def llama(tmp_path: Path) -> str:
    models: Any = yaml.safe_load((MATERIAL / "models.yaml").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(models["Llama-3.1-8B"]["config"]))
    return str(tmp_path)


def test_more_memory_and_more_gpus_leave_more_for_the_cache(llama: str) -> None:
    looks = iter([(facts.read(llama), gpu("H100"))])  # asked once
    estimates = memory_estimates(SPACE, ENGINE, lambda: next(looks))
    small, large, two = (
        estimates({"gpu_memory_utilization": share, "tensor_parallel_size": gpus})
        for share, gpus in ((0.5, 1), (0.9, 1), (0.9, 2))
    )
    assert 0 < small[0] < large[0] < two[0] < 1
    assert 0 < small[1] < large[1] < two[1]


def test_where_model_or_gpu_are_not_known_nothing_is_told() -> None:
    assert memory_estimates(SPACE, ENGINE, lambda: None)({"gpu_memory_utilization": 0.9}) == ()


def test_a_flag_that_the_memory_model_cannot_read_leaves_as_many_numbers(llama: str) -> None:
    known = (facts.read(llama), gpu("H100"))
    space: dict[str, Parameter] = {"gpu_memory_utilization": Choice(type="choice", choices=(7.0, 8.0))}
    assert memory_estimates(space, ENGINE, lambda: known)({"gpu_memory_utilization": 7.0}) == UNKNOWN


def test_what_gpus_are_is_asked_of_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = fake_gpus.host(tmp_path / "gpus", monkeypatch, mib=81559)
    assert kind_of(host.uuids) is None, "nobody knows a Fake GPU"
    monkeypatch.setattr(pynvml, "NAME", "NVIDIA H100 80GB HBM3")
    assert kind_of(host.uuids) == gpu("H100")
    assert kind_of([*host.uuids, "GPU-of-nobody"]) is None
    assert kind_of([]) is None


@pytest.mark.parametrize(
    ("name", "mib", "known"),
    [
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX 4090"),
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA L40S", 46068, "L40S"),
    ],
)
def test_drivers_say_more_than_the_name(name: str, mib: int, known: str) -> None:
    assert told_by_nvml(name, mib) == gpu(known)


def test_a_card_of_the_same_name_with_another_memory_is_not_taken_for_the_known_one() -> None:
    assert told_by_nvml("NVIDIA H100 NVL", 95830) is None
