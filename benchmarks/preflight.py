"""What checks before a launch cost, and how many configurations they save one from launching.

    python benchmarks/preflight.py [--samples 2000]

Every study in `studies/` is checked as `validate` does it. Configurations are sampled at random from it, from spaces
that others have published, and from each tier of the presets, and held against the study's own rules and the engine's
known ones, for a model of 32 attention heads and 8,192 tokens on a slot of two GPUs, or eight. Prints three Markdown
tables, and what the check of one configuration costs: rules and memory. Times are CPU time of this process, in the
steady state: catalogues and rules are read once; and of whole processes of `optuna-tuner validate`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
import yaml

from optuna_tuner.contracts import Engine
from optuna_tuner.memory.estimate import estimate
from optuna_tuner.memory.facts import of
from optuna_tuner.memory.gpus import gpu
from optuna_tuner.memory.layout import Layout, Settings
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.presets.shelf import Wanted, preset_text
from optuna_tuner.presets.tiers import TIERS, engines
from optuna_tuner.search.objection import Objection, first_of, study_rules
from optuna_tuner.spec.files import load_study, parse_study
from optuna_tuner.spec.rules import broken
from optuna_tuner.spec.space import suggest
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.objections import engine_rules, memory_limit
from optuna_tuner.tuning.setting import assemble
from optuna_tuner.values import Json, Model, Params, Slot

STUDIES = Path(__file__).parents[1] / "studies"
SLOTS = {count: Slot(name="s", host="here", gpus=tuple(map(str, range(count)))) for count in (2, 8)}
LLAMA: dict[str, Json] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
FACTS = {"model_heads": 32, "model_kv_heads": 8, "model_experts": 0, "model_uses_mla": False}
MODEL = Model(name="m", path="m", tokenizer="m", facts=FACTS)
# As published, less what a version does not take; where only an order of magnitude is given, powers of two.
PUBLISHED = """
vllm-tuner (kryvokhyzha):
  engine: {kind: vllm, version: 0.17.1, flags: {max_model_len: 8192}}
  space:
    gpu_memory_utilization: {type: float, low: 0.8, high: 0.95, step: 0.05}
    max_num_seqs: {type: int, low: 64, high: 1024, step: 64}
    max_num_batched_tokens: {type: choice, choices: [2048, 4096, 8192, 16384]}
    enable_chunked_prefill: {type: switch}
    enable_prefix_caching: {type: switch}
    block_size: {type: choice, choices: [16, 32]}
SCOOT:
  engine: {kind: vllm, version: 0.33.0, flags: {max_model_len: 8192}}
  space:
    tensor_parallel_size: {type: choice, choices: [1, 2]}
    max_num_seqs: {type: choice, choices: [64, 128, 256, 512, 1024, 2048, 4096, 8192]}
    max_num_batched_tokens: {type: int, low: 64, high: 16384, log: true}
    block_size: {type: choice, choices: [8, 16, 32]}
    enable_chunked_prefill: {type: switch}
    enable_prefix_caching: {type: switch}
    disable_custom_all_reduce: {type: switch}
InferenceBench, vLLM:
  engine: {kind: vllm, version: 0.33.0, flags: {max_model_len: 8192}}
  space:
    max_num_seqs: {type: choice, choices: [16, 32, 64, 128, 256, 512]}
    max_num_batched_tokens: {type: choice, choices: [1024, 2048, 4096, 8192, 16384]}
    gpu_memory_utilization: {type: choice, choices: [0.8, 0.85, 0.9, 0.95]}
    block_size: {type: choice, choices: [16, 32]}
    enable_chunked_prefill: {type: switch}
    enable_prefix_caching: {type: switch}
    enforce_eager: {type: switch}
aevyra-forge, 8 GPUs:
  engine: {kind: vllm, version: 0.33.0, flags: {max_model_len: 8192}}
  space:
    tensor_parallel_size: {type: int, low: 1, high: 8}
    block_size: {type: choice, choices: [16, 32]}
    gpu_memory_utilization: {type: choice, choices: [0.8, 0.85, 0.88, 0.9, 0.92, 0.95]}
novita, SGLang preset, 8 GPUs:
  engine: {kind: sglang, version: 0.5.12}
  space:
    tp_size: {type: choice, choices: [1, 2, 4]}
    chunked_prefill_size: {type: choice, choices: [2048, 4096, 8192]}
    max_running_requests: {type: choice, choices: [64, 128, 256]}
    schedule_policy: {type: choice, choices: [fcfs, lpm]}
    enable_mixed_chunk: {type: switch}
    page_size: {type: choice, choices: [1]}
"""
REST = {
    "name": "published",
    "model": {"name": "m"},
    "benchmark": {"kind": "script", "command": ["x"], "metrics": ["score"]},
    "goals": {"objectives": [{"metric": "score", "direction": "maximize"}]},
}


def cpu_ms(call: Callable[[], object], times: int) -> float:
    """Median milliseconds of CPU of one call, after a first one."""
    call()
    taken = []
    for _ in range(times):
        began = time.process_time()
        call()
        taken.append(1000 * (time.process_time() - began))
    return statistics.median(taken)


def process_s(file: Path, times: int = 7) -> float:
    """Median seconds of CPU of `optuna-tuner validate FILE`: starting Python, imports and all."""
    program = Path(sys.executable).with_name("optuna-tuner")
    taken = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, "-q", "validate", file], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(taken)


def sampled(spec: StudySpec, count: int) -> Iterator[Params]:
    """Configurations as the random sampler draws them."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return (suggest(spec.space, study.ask()) for _ in range(count))


def refused(spec: StudySpec, engine: Engine, samples: int, slot: Slot) -> tuple[float, float]:
    """Which share the study's own rules refuse, and which share the engine's known rules do beside them."""
    own = known = 0
    for params in sampled(spec, samples):
        if broken(spec.rules, spec.values(params)) is not None:
            own += 1
        elif engine.reject(MODEL, params, slot) is not None:
            known += 1
    return own / samples, known / samples


def ours(samples: int) -> Iterator[str]:
    """A row for each study of the repository."""
    kinds, slot = InstalledKinds(), SLOTS[2]
    for file in sorted(STUDIES.glob("*.yaml")):
        spec = load_study(file, kinds)
        engine, params = assemble(spec, kinds).engine, next(sampled(spec, 1))
        check = cpu_ms(partial(load_study, file, kinds), 20)
        rules = cpu_ms(partial(engine.reject, MODEL, params, slot), 200)
        own, known = refused(spec, engine, samples, slot)
        costs = f"{process_s(file):.2f} | {check:.1f} | {rules:.2f}"
        yield f"| {spec.name} | {len(spec.space)} | {costs} | {own:.1%} | {known:.1%} |"


def published(samples: int) -> Iterator[str]:
    """A row for each published space."""
    for name, given in yaml.safe_load(PUBLISHED).items():
        spec = StudySpec.model_validate({**REST, **given})
        engine = assemble(spec, InstalledKinds()).engine
        _, known = refused(spec, engine, samples, SLOTS[8 if "8 GPUs" in name else 2])
        yield f"| {name} | {spec.engine.kind} {spec.engine.options['version']} | {known:.1%} |"


def presets(samples: int) -> Iterator[str]:
    """A row for each tier of each engine's newest version, and one with the layouts of eight GPUs beside the first."""
    kinds = InstalledKinds()
    cases = [(engine, tier, ()) for engine in engines() for tier in TIERS]
    for engine, tier, beside in [*cases, *((engine, 1, ("parallelism",)) for engine in ("sglang", "vllm"))]:
        wanted = Wanted(tier=tier, gpus=8, facts=FACTS, beside=beside)
        spec = parse_study(preset_text(engine, wanted), engine, kinds)
        own, known = refused(spec, assemble(spec, kinds).engine, samples, SLOTS[8])
        name = f"{engine} {wanted.setup(engine).version}, tier {tier}{''.join(f', with {each}' for each in beside)}"
        yield f"| {name} | {len(spec.space)} | {len(spec.first)} | {own + known:.1%} |"


def one_check() -> Iterator[str]:
    """A row for each tier: what the rules and the memory check of a configuration cost, on eight GPUs of 16 GiB."""
    kinds = InstalledKinds()
    with TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(LLAMA))
        model = replace(MODEL, path=folder)
        for kind, tier in ((kind, tier) for kind in ("sglang", "vllm") for tier in TIERS):
            spec = parse_study(preset_text(kind, Wanted(tier=tier, gpus=8, beside=("parallelism",))), kind, kinds)
            engine, asked = assemble(spec, kinds).engine, tuple(sampled(spec, 300))
            limit = memory_limit(engine, model, lambda: 16_384)
            check = first_of(study_rules(spec), engine_rules(engine, model, SLOTS[8]), limit)
            first = least_ms(check, asked[0], 1)
            both, memory = ([least_ms(each, params, 3) for params in asked] for each in (check, limit))
            costs = " | ".join(f"{statistics.median(each):.2f}, {max(each):.2f}" for each in (both, memory))
            refusing = sum(limit(params) is not None for params in asked) / len(asked)
            yield f"| {kind}, tier {tier} | {costs} | {first:.0f} | {refusing:.1%} |"


def least_ms(check: Objection, params: Params, times: int) -> float:
    """Milliseconds of CPU of one question, the shortest of so many times: a busy machine only adds."""
    taken = []
    for _ in range(times):
        began = time.process_time()
        check(params)
        taken.append(1000 * (time.process_time() - began))
    return min(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    samples = parser.parse_args().samples
    costs = "`validate`, s | the check in it, ms | rules of one trial, ms"
    print(f"| study | flags | {costs} | refused by its own rules | by known rules |")
    print("|---|---|---|---|---|---|---|", *ours(samples), sep="\n")
    print("\n| published space | engine | refused before launch |")
    print("|---|---|---|", *published(samples), sep="\n")
    print("\n| preset | flags | tried first | refused before launch |")
    print("|---|---|---|---|", *presets(samples), sep="\n")
    costs = "rules and memory, ms: median, worst | memory alone | the first one | refused by memory"
    print(f"\n| preset, with parallelism | {costs} |")
    print("|---|---|---|---|---|", *one_check(), sep="\n")
    facts, h200, layout = of(LLAMA), gpu("H200"), Layout(tp=2)
    print(f"\nOne estimate of memory: {cpu_ms(partial(estimate, facts, h200, layout, Settings()), 200):.2f} ms")


if __name__ == "__main__":
    main()
