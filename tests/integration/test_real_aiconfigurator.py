"""The real aiconfigurator: what it predicts comes into a study, and what it cannot predict is told.

It needs no GPU and no network. `optuna-tuner doctor --install aiconfigurator` gets it; OPTUNA_TUNER_AICONFIGURATOR
names another one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.other_programs import AICONFIGURATOR
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.prediction import predicted

PROGRAM = AICONFIGURATOR.executable().find(None)
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no aiconfigurator here: optuna-tuner doctor --install aiconfigurator"),
    pytest.mark.timeout(900),
]
KINDS = InstalledKinds()


def spec(system: str, model: str = "Qwen/Qwen3-32B") -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "chat",
            "model": {"name": "m", "path": model},
            "engine": {"kind": "vllm", "version": "0.33.0"},
            "benchmark": {"kind": "http", "scenario": "D(1024,256)", "concurrency": [1]},
            "space": {
                "tensor_parallel_size": {"type": "choice", "choices": [1, 2, 4]},
                "max_num_seqs": {"type": "int", "low": 8, "high": 1024},
                "max_num_batched_tokens": {"type": "int", "low": 512, "high": 16384},
            },
            "goals": {
                "objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}],
                "constraints": [
                    {"metric": "ttft_ms.p99", "at_most": 1000},
                    {"metric": "tpot_ms.p99", "at_most": 50},
                ],
            },
            "prior": {"system": system, "gpus": 4, "executable": str(PROGRAM)},
        }
    )


def test_its_predictions_come_into_the_study_the_best_server_first() -> None:
    found = predicted(spec("h100_sxm"), KINDS)
    assert found.remarks == ()
    assert found.notes[0].startswith("it simulated vllm ")
    assert [each.chosen["tensor_parallel_size"] for each in found.taken] == [4, 2, 1]
    assert all(isinstance(each.chosen["max_num_seqs"], int) for each in found.taken)
    assert "predicted, not measured: " in str(found.taken[0])


def test_a_system_that_it_does_not_know_is_told_in_its_words() -> None:
    with pytest.raises(EnvironmentFaultError, match="ended with exit code 1: Backend vllm is not supported for system"):
        predicted(spec("nope"), KINDS)


def test_a_model_that_it_does_not_know_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFaultError, match=r"ended with exit code 2: .*does not contain a config\.json"):
        predicted(spec("h100_sxm", str(tmp_path)), KINDS)
