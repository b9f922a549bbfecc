"""Holds the known rules of vLLM against vLLM's own validation, on a CPU. About ten minutes on two cores.

    python benchmarks/real_rules.py /path/to/environment/bin/python --configurations 300

The Python is that of an environment with vLLM for CPU. Every rule's two examples and many random configurations are
judged by our rules and by vLLM, which makes its whole configuration of the same arguments (nothing is launched). It
prints a table of both verdicts, and every kind of refusal that no rule knows. Exit code 1 when we refuse anything that
vLLM takes, or when an example of a rule that a CPU can show is not refused.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rule_examples import installed, nested

from optuna_tuner.engines.argv import Flags
from optuna_tuner.engines.known_rules import KnownRule, findings, parsed, rule_book
from optuna_tuner.engines.known_values import known_values
from optuna_tuner.engines.vllm import spelling
from optuna_tuner.spec.study import ModelSpec
from optuna_tuner.tuning.model import prepare_model
from optuna_tuner.values import Json, Model, Slot

CPU = Slot(name="cpu", host="here")
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
JUDGE = Path(__file__).with_name("vllm_verdicts.py")
SWITCH = (True, False)
SPACE: Mapping[str, Sequence[Json]] = {
    "max_num_seqs": (0, 1, 2, 4, 16, 64, 256),
    "max_num_batched_tokens": (0, 1, 32, 64, 128, 512, 2048, 8192),
    "max_model_len": (64, 128, 512, 2048),
    "max_num_active_seqs": (1, 4, 16, 64),
    "enable_chunked_prefill": SWITCH,
    "enable_prefix_caching": SWITCH,
    "enforce_eager": SWITCH,
    "async_scheduling": SWITCH,
    "long_prefill_token_threshold": (0, 64, 256, 1024),
    "gpu_memory_utilization": (0.0, 0.5, 0.9, 1.0, 1.01),
    "stream_interval": (0, 1, 8),
    "watermark": (0.0, 0.5, 1.0),
    "max_logprobs": (-1, 20),
    "block_size": (7, 16, 32, 128),
    "kv_cache_dtype": ("auto", "fp8"),
    "dtype": ("float32", "bfloat16"),
    "performance_mode": ("balanced", "throughput", "interactivity"),
    "scheduling_policy": ("fcfs", "priority"),
    "max_cudagraph_capture_size": (8, 512),
    "tensor_parallel_size": (1, 2, 3, 4, 8, 16),
    "pipeline_parallel_size": (1, 2, 3),
    "prefill_context_parallel_size": (1, 2),
    "decode_context_parallel_size": (1, 2, 3, 4),
    "data_parallel_size": (1, 2, 4),
    "data_parallel_size_local": (1, 2),
    "data_parallel_external_lb": SWITCH,
    "data_parallel_rank": (0, 1),
    "data_parallel_hybrid_lb": SWITCH,
    "distributed_executor_backend": ("mp", "uni"),
    "enable_expert_parallel": SWITCH,
    "enable_eplb": SWITCH,
    "enable_elastic_ep": SWITCH,
    "eplb_config": ({"num_redundant_experts": 0}, {"num_redundant_experts": 2}),
    "enable_dbo": SWITCH,
    "ubatch_size": (0, 1, 2, 4),
    "dbo_decode_token_threshold": (1, 2, 32),
    "dbo_prefill_token_threshold": (1, 3, 512),
    "all2all_backend": ("allgather_reducescatter", "deepep_low_latency", "nixl_ep", "moonep"),
    "expert_placement_strategy": ("linear", "round_robin"),
    "enable_batch_sharded_sampling": SWITCH,
    "mamba_block_size": (64, 512),
    "enable_lora": SWITCH,
    "max_loras": (1, 2, 4),
    "max_cpu_loras": (1, 2, 4),
    "offload_backend": ("auto", "uva", "prefetch"),
    "offload_group_size": (0, 2, 4),
    "offload_num_in_group": (1, 3, 5),
    "offload_prefetch_step": (0, 1),
    "speculative_config": tuple(
        {"method": "ngram", "num_speculative_tokens": tokens, "prompt_lookup_min": low, "prompt_lookup_max": 3}
        for tokens in (0, 1, 3)
        for low in (2, 4)
    ),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A configuration, and the rules that refuse it. `of` is the rule whose example it is; None for a random one."""

    flags: Flags
    ours: tuple[KnownRule, ...]
    of: str | None = None
    breaks: bool = False

    @property
    def argv(self) -> list[str]:
        """The arguments for vLLM's parser."""
        return ["--model", model().path, *spelling(None).argv(self.flags)]


@cache
def model() -> Model:
    """The built-in model, with what rules may ask of it."""
    return prepare_model(ModelSpec(name="tiny", path="builtin"))


def refusals(version: str, flags: Flags) -> tuple[KnownRule, ...]:
    """The rules by which we refuse these flags."""
    found = findings("vllm", version, {**known_values(model(), flags, CPU), "device": "cpu"})
    return tuple(each.rule for each in found if each.rule.effect.rejects)


def examples(version: str) -> Iterator[Case]:
    """Both examples of every rule that this model on a CPU can show."""
    release, known = parsed(version), {**model().facts, "device": "cpu"}
    for rule in rule_book("vllm").rules:
        if release is None or release not in rule.versions or not rule.effect.rejects:
            continue
        for values in (rule.breaks, rule.keeps):
            given = {name: value for name, value in values.items() if name not in known}
            fits = all(values[name] == known[name] for name in values.keys() & known.keys())
            if fits and not given.keys() & {"gpus", "compute_capability", "draft_predicts", "model_supports_pipeline"}:
                flags = nested(given)
                yield Case(flags=flags, ours=refusals(version, flags), of=rule.id, breaks=values is rule.breaks)


def random_cases(version: str, count: int, seed: int) -> Iterator[Case]:
    """Configurations of one to six flags."""
    chance = random.Random(seed)  # noqa: S311  no secret
    for _ in range(count):
        names = chance.sample(sorted(SPACE), chance.randint(1, 6))
        flags = {name: chance.choice(SPACE[name]) for name in sorted(names)}
        given = {name: value for name, value in flags.items() if isinstance(value, bool | int | float | str | dict)}
        yield Case(flags=given, ours=refusals(version, given))


def verdicts(python: str, cases: Sequence[Case]) -> list[str | None]:
    """What vLLM says of each."""
    lines = "".join(json.dumps(case.argv) + "\n" for case in cases)
    ran = subprocess.run(
        [python, str(JUDGE)], input=lines, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
        env={**os.environ, **OFFLINE},
    )  # fmt: skip
    return [json.loads(line) for line in ran.stdout.splitlines()]


def kind(reason: str) -> str:
    """A refusal without its numbers, so that equal ones are counted together."""
    text = re.sub(r"^ValidationError: 1 validation error for \w+ |Value error, |\[type=.*", "", reason)
    return re.sub(r"\d+", "N", text)[:110].strip()


def table(name: str, cases: Sequence[Case], theirs: Sequence[str | None]) -> str:
    """How often both agree."""
    counted = Counter((bool(case.ours), reason is not None) for case, reason in zip(cases, theirs, strict=True))
    both, ours, vllm = counted[True, True], counted[True, False], counted[False, True]
    return f"| {name} | {len(cases)} | {both} | {counted[False, False]} | {ours} | {vllm} |"


def main() -> int:
    """Run all checks. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the Python of an environment with vLLM for CPU")
    parser.add_argument("--configurations", type=int, default=300, help="how many random ones")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    version = installed(asked.python)
    shown, drawn = list(examples(version)), list(random_cases(version, asked.configurations, asked.seed))
    theirs = verdicts(asked.python, [*shown, *drawn])
    print(f"vLLM {version}\n")
    print("| configurations | number | both refuse | both take | only we refuse | only vLLM refuses |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(table("examples of the rules", shown, theirs[: len(shown)]))
    print(table("random", drawn, theirs[len(shown) :]))
    judged = list(zip([*shown, *drawn], theirs, strict=True))
    wrong = [case for case, reason in judged if case.ours and reason is None]
    for case in wrong:
        print(f"ONLY WE REFUSE {dict(case.flags)}: {', '.join(rule.id for rule in case.ours)}")
    missed = [case for case, reason in judged if case.breaks and reason is None]
    for case in missed:
        print(f"NOT SHOWN BY A CPU {case.of}: {dict(case.flags)}")
    unknown = Counter(kind(reason) for case, reason in judged if reason is not None and not case.ours)
    print("\nOnly vLLM refuses:")
    for reason, count in unknown.most_common():
        print(f"  {count} x {reason}")
    return 1 if wrong or missed else 0


if __name__ == "__main__":
    sys.exit(main())
