"""What the engines' guides say of flags."""

from __future__ import annotations

import math

import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.contracts import Engine
from optuna_tuner.engines.expectations import entries
from optuna_tuner.engines.llama_cpp import LlamaCpp
from optuna_tuner.engines.sglang import Sglang
from optuna_tuner.engines.simulated import Simulated
from optuna_tuner.engines.vllm import Vllm
from optuna_tuner.values import Scalar

VLLM = Vllm(Vllm.Options.model_validate({}))
SGLANG = Sglang(Sglang.Options.model_validate({}))
LIKE_SGLANG = Simulated(Simulated.Options.model_validate({"like": "sglang"}))
LLAMA = LlamaCpp(LlamaCpp.Options.model_validate({}))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_every_flag_is_one_of_some_version_and_every_value_one_that_it_takes(engine: str) -> None:
    catalogues = [shelf.load(engine, version) for version in shelf.versions(engine)]
    for name, entry in entries(engine).items():
        found = [flag for each in catalogues if (flag := each.find(name)) is not None]
        assert found, name
        words = {str(value) for value in entry.values if not isinstance(value, bool)}
        offered = {str(choice) for flag in found for choice in flag.choices or ()}
        assert not offered or words <= offered, name
        assert bool(entry.values) != (entry.each_doubling != 1), f"{name} expects of values or of sizes"


@pytest.mark.parametrize(
    ("engine", "flag", "value", "factor"),
    [
        (VLLM, "tensor_parallel_size", 1, 1.0),
        (VLLM, "tp-size", 4, 1.6**2),
        (VLLM, "max_num_seqs", 32, 1 / 1.15**2),
        (VLLM, "max_num_seqs", 1024, 1.0),
        (VLLM, "enforce_eager", True, 0.85),
        (VLLM, "enforce_eager", False, 1.0),
        (VLLM, "kv_cache_dtype", "fp8", 1.1),
        (VLLM, "kv_cache_dtype", "auto", 1.0),
        (VLLM, "block_size", 16, 1.0),
        (SGLANG, "max-running-requests", -1, 1.0),
        (SGLANG, "max-running-requests", 64, 1 / 1.15),
        (LIKE_SGLANG, "schedule_policy", "lpm", 1.05),
        (LLAMA, "parallel", 8, 1.0),
    ],
)
def test_a_value_is_expected_to_make_a_server_so_much_faster(
    engine: Engine, flag: str, value: Scalar, factor: float
) -> None:
    assert engine.expects(flag, value) == pytest.approx(math.log(factor))
