"""The objection of the memory: asked where a model and a GPU are known, and of nothing that runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, cast

import fake_gpus
import pytest
import yaml
from click.testing import CliRunner

from optuna_tuner.cli.app import cli
from optuna_tuner.contracts import Engine
from optuna_tuner.memory import facts
from optuna_tuner.memory.model import ModelFacts
from optuna_tuner.plugins import InstalledKinds, make
from optuna_tuner.presets.shelf import Wanted, preset_text
from optuna_tuner.presets.tiers import TIERS
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.spec.writing import to_yaml
from optuna_tuner.tuning.foreseen import here, random_configurations
from optuna_tuner.tuning.gpus import largest_mib
from optuna_tuner.tuning.model import model_paths
from optuna_tuner.tuning.objections import known_bad, memory_limit
from optuna_tuner.tuning.plan import plan
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Model, Params, Slot

MATERIAL = Path(__file__).parents[2] / "material" / "memory"
MODELS: Mapping[str, Any] = yaml.safe_load((MATERIAL / "models.yaml").read_text(encoding="utf-8"))
KINDS = InstalledKinds()


@pytest.fixture
def llama(tmp_path: Path) -> Model:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(MODELS["Llama-3.1-8B"]["config"]))
    return Model(name="llama", path=str(folder), tokenizer=str(folder))


def spec_of(model: Model, fractions: list[float]) -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "s",
            "model": {"name": "llama", "path": model.path},
            "engine": {"kind": "vllm", "version": "0.33.0"},
            "benchmark": {"kind": "script", "command": ["x"], "metrics": ["score"]},
            "space": {"gpu_memory_utilization": {"type": "choice", "choices": fractions}},
            "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
        }
    )


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_nothing_in_a_preset_is_refused_on_a_gpu_of_80_gib(kind: str, tier: int, llama: Model) -> None:
    wanted = Wanted(tier=tier, gpus=8, beside=("parallelism", "quantization"))
    spec = parse_study(preset_text(kind, wanted), kind, KINDS)
    engine = cast("Engine", make(KINDS, "engines", spec.engine))
    chosen = [Params(), *spec.first_params, *islice(random_configurations(spec), 200)]
    assert sum(engine.memory(each) is not None for each in chosen) > len(chosen) / 2
    roomy, small = (memory_limit(engine, llama, lambda mib=mib: mib) for mib in (81_559, 12_288))  # type: ignore[misc]
    assert [roomy(each) for each in chosen if roomy(each) is not None] == []
    assert any(small(each) is not None for each in chosen)


def test_it_is_asked_of_a_slot_with_gpus_and_of_no_other(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fake_gpus.host(tmp_path / "gpus", monkeypatch, 1, mib=16_384)
    spec = spec_of(llama, [0.85, 0.95])
    parts, low = assemble(spec, KINDS), Params(flags={"gpu_memory_utilization": 0.85})
    on_gpu = known_bad(spec, parts, llama, Slot(name="s", host="h", gpus=host.uuids))
    assert str(on_gpu(low)).startswith("weights of 15.0 GiB a GPU do not fit into 0.85 of 16.0 GiB: ")
    assert on_gpu(Params(flags={"gpu_memory_utilization": 0.95})) is None
    assert known_bad(spec, parts, llama, Slot(name="s", host="h", cores=(0,)))(low) is None


def test_where_the_model_or_a_gpu_is_not_known_nothing_is_refused(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fake_gpus.host(tmp_path / "gpus", monkeypatch, 2, mib=16_384)
    assert largest_mib(host.uuids) == 16_384
    assert largest_mib(()) is None
    engine = assemble(spec_of(llama, [0.85]), KINDS).engine
    low = Params(flags={"gpu_memory_utilization": 0.85})
    elsewhere = Model(name="m", path="no/model", tokenizer="m")
    assert memory_limit(engine, elsewhere, lambda: 16_384)(low) is None
    host.ill(host.uuids[1], "mig")
    assert memory_limit(engine, llama, lambda: largest_mib(host.uuids))(low) is None


def test_the_models_files_and_the_gpus_are_looked_at_once(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []

    def read(path: str) -> ModelFacts:
        looks.append("model")
        return once(path)

    def mib() -> int:
        looks.append("gpus")
        return 16_384

    once = facts.read
    monkeypatch.setattr(facts, "read", read)
    limit = memory_limit(assemble(spec_of(llama, [0.85]), KINDS).engine, llama, mib)
    assert limit(Params(flags={"cpu_offload_gb": 1})) is None
    assert looks == []  # nothing can be said of it, whatever the model and the GPU
    assert all(limit(Params(flags={"gpu_memory_utilization": share})) for share in (0.5, 0.6, 0.7))
    assert looks == ["model", "gpus"]


def test_plan_and_validate_warn_of_a_space_that_does_not_fit_here(
    llama: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fake_gpus.host(tmp_path / "gpus", monkeypatch, 1, mib=16_384)
    spec = spec_of(llama, [0.7, 0.8])
    warning = (
        "200 of 200 random configurations are known not to run, 200 of them for the same reason: weights of 15.0 GiB"
    )
    planned = plan(spec, assemble(spec, KINDS), model_paths(spec.model), [Slot(name="s", host="h", gpus=host.uuids)])
    assert any(each.startswith(warning) for each in planned.warnings)
    file = tmp_path / "study.yaml"
    file.write_text(to_yaml(spec))
    assert f"warning: {warning}" in CliRunner().invoke(cli, ["validate", str(file)]).stderr
    (host.folder / host.uuids[0]).write_text("")
    assert "warning" not in CliRunner().invoke(cli, ["validate", str(file)]).stderr
    assert here(spec, KINDS)(Params(flags={"gpu_memory_utilization": 0.7})) is None
