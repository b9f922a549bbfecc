"""No preset names a flag, or a value, that its version would refuse: every version, every tier."""

from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest

from optuna_tuner.catalog import shelf
from optuna_tuner.catalog.catalogue import Effect
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.presets.resolving import Setup, items_of, resolve, resolve_items
from optuna_tuner.presets.shelf import Wanted, preset_text
from optuna_tuner.presets.tiers import ALWAYS, NEUTRAL, OPT_IN, TIERS, engines, tiers_of
from optuna_tuner.spec.files import parse_study
from optuna_tuner.spec.space import suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Model, Params, Scalar, Slot

LLAMA: dict[str, Scalar] = {"model_heads": 32, "model_kv_heads": 8, "model_experts": 0, "model_uses_mla": False}
QWEN_MOE = LLAMA | {"model_kv_heads": 4, "model_experts": 128}
EIGHT = Slot(name="gpus", host="here", gpus=tuple("01234567"))
VERSIONS = [
    (engine, version)
    for engine in engines()
    for version in shelf.versions(engine)
    if version != "embedded"  # for that one there is a preset of its own
]


def wanted(version: str, tier: int, *beside: str) -> Wanted:
    return Wanted(tier=tier, version=version, gpus=8, facts=QWEN_MOE, beside=beside)


def drawn(spec: StudySpec, count: int) -> Iterator[Params]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return (suggest(spec.space, study.ask()) for _ in range(count))


@pytest.mark.parametrize(("engine", "version"), VERSIONS)
def test_every_tier_fits_every_version_and_the_first_is_never_refused(engine: str, version: str) -> None:
    catalogue, setup = shelf.load(engine, version), Setup(engine=engine, version=version, gpus=8, model=QWEN_MOE)
    for tier in TIERS:
        flags = [(name, catalogue.by_name[name]) for name in resolve(setup, tier).parameters]
        assert [name for name, flag in flags if flag.name != name or flag.deprecated] == []
    parse_study(preset_text(engine, wanted(version, OPT_IN, *NEUTRAL)), "preset.yaml", InstalledKinds())
    spec = parse_study(preset_text(engine, wanted(version, ALWAYS)), "preset.yaml", InstalledKinds())
    assert spec.engine.options["version"] == version
    checked, model = assemble(spec, InstalledKinds()).engine, Model(name="m", path="m", tokenizer="m", facts=QWEN_MOE)
    for params in [Params(), *spec.first_params, *drawn(spec, 10)]:
        assert checked.reject(model, params, EIGHT) is None


@pytest.mark.parametrize("engine", engines())
def test_only_the_opt_in_tier_changes_the_answers(engine: str) -> None:
    space = resolve(Setup(engine=engine, version=Wanted().setup(engine).version, gpus=8, model=QWEN_MOE), OPT_IN)
    tier = {name: item.tier for item in tiers_of(engine).parameters for name in item.ways}
    assert {tier[each.name] for each in space.entries if each.flag.effect is Effect.QUALITY} == {OPT_IN}


def test_a_flag_has_the_name_of_its_version() -> None:
    def names(engine: str, version: str) -> set[str]:
        return set(resolve(Setup(engine=engine, version=version), 2).parameters)

    assert "cuda_graph_sizes" in names("vllm", "0.11.0") - names("vllm", "0.14.0")
    assert "max_cudagraph_capture_size" in names("vllm", "0.14.0") - names("vllm", "0.11.0")
    assert "cuda_graph_max_bs" in names("sglang", "0.5.12") - names("sglang", "0.5.14")
    assert "cuda_graph_max_bs_decode" in names("sglang", "0.5.23")


def test_what_a_version_does_not_have_is_left_out_and_said_so() -> None:
    text = preset_text("vllm", Wanted(tier=2, version="0.14.0"))
    assert "# Not here: performance_mode: is not in vllm 0.14.0; it came with 0.17.0" in text
    assert "# Not here: tensor_parallel_size: needs more than one GPU in a slot" in text


def test_modes_are_tried_first_where_the_version_and_the_tier_have_them() -> None:
    def first(version: str, tier: int) -> list[dict[str, Scalar]]:
        return [dict(each.sets) for each in resolve(Setup(engine="vllm", version=version), tier).first]

    assert first("0.17.0", 2)[:2] == [{"performance_mode": "throughput"}, {"performance_mode": "interactivity"}]
    assert all("performance_mode" not in each for each in first("0.17.0", 1) + first("0.16.0", 2))


def test_layouts_that_the_engine_refuses_are_no_choices() -> None:
    setup = Setup(engine="vllm", version="0.33.0", gpus=8, model=LLAMA | {"model_heads": 20, "model_kv_heads": 4})
    layouts = resolve_items(setup, items_of("parallelism", "vllm")).parameters
    assert layouts["tensor_parallel_size"].model_dump()["choices"] == (1, 2, 4)  # 20 heads
    assert "enable_expert_parallel" not in layouts
    few = resolve_items(
        Setup(engine="sglang", version="0.5.23", gpus=2, model=QWEN_MOE), items_of("parallelism", "sglang")
    )
    assert few.parameters["tp_size"].model_dump()["choices"] == (1, 2)
    assert few.parameters["ep_size"].model_dump()["choices"] == (1, 2)


def test_the_same_thing_has_each_engines_own_words() -> None:
    def choices(engine: str, flag: str) -> object:
        setup = Setup(engine=engine, version=shelf.versions(engine)[-1])
        return resolve_items(setup, items_of("quantization", engine)).parameters[flag].model_dump()["choices"]

    assert choices("vllm", "kv_cache_dtype") == ("auto", "fp8")
    assert choices("sglang", "kv_cache_dtype") == ("auto", "fp8_e4m3")
    assert choices("llama_cpp", "cache_type_k") == ("f16", "q8_0")


CPU = [each for each in shelf.versions("vllm") if shelf.order(each) >= shelf.order("0.18.0")]


@pytest.mark.parametrize("version", CPU)
def test_the_preset_for_vllm_on_cpu_fits_every_version(version: str) -> None:
    # It shows a block size that only the device refuses; before 0.18 the parser did.
    text = preset_text("vllm_cpu").replace("kind: vllm\n", f"kind: vllm\n  version: {version}\n")
    assert parse_study(text, "preset.yaml", InstalledKinds()).engine.options["version"] == version


def test_there_are_enough_versions() -> None:
    vllm, sglang = shelf.versions("vllm"), shelf.versions("sglang")
    assert (vllm[0], len(vllm) >= 35) == ("0.11.0", True)
    assert (sglang[0], len(sglang) >= 43) == ("0.5.0rc2", True)
