"""How far the answers of a real server are from its default's, flag by flag.

    python benchmarks/quality_drift.py [--tokens 64]

One guarded study on the embedded llama.cpp server with the built-in model, on a database of its own: its configurations
are all given, nothing is too far, and each answers the product's own prompts. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from tempfile import TemporaryDirectory

from optuna_tuner import Tuner
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.values import Drift, Scalar

TRIED: tuple[Mapping[str, Scalar], ...] = (
    {"parallel": 8, "ctx_size": 8192},
    {"batch_size": 64, "ubatch_size": 32},
    {"flash_attn": "off"},
    {"cache_type_k": "q8_0"},
    {"cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    {"cache_type_k": "q4_0"},
    {"cache_type_k": "q4_0", "cache_type_v": "q4_0"},
)


CHOICES: Mapping[str, tuple[Scalar, ...]] = {
    "parallel": (8,),
    "ctx_size": (8192,),
    "batch_size": (64,),
    "ubatch_size": (32,),
    "flash_attn": ("off",),
    "cache_type_k": ("q8_0", "q4_0"),
    "cache_type_v": ("q8_0", "q4_0"),
}


def study(tokens: int) -> StudySpec:
    """The default and what is tried, each under a little load."""
    return StudySpec.model_validate(
        {
            "name": "quality drift",
            "model": {"name": "tiny", "path": "builtin"},
            "engine": {"kind": "llama_cpp"},
            "benchmark": {"kind": "http", "scenario": "D(16,8)", "concurrency": [1], "requests": 4},
            "space": {name: {"type": "choice", "choices": list(each)} for name, each in CHOICES.items()},
            "first": list(TRIED),
            "quality": {
                "max_tokens": tokens,
                "agreement_at_least": 0,
                "logprob_drift_at_most": 1000,
                "flags": list(CHOICES),
                "allow": ["ctx_size"],
            },
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "budget": {"trials": 1 + len(TRIED)},
        }
    )


def row(flags: str, drift: Drift | None) -> str:
    """One line of the table."""
    if drift is None:
        return f"| {flags} | - | - |"
    nats = "-" if drift.logprob_drift is None else f"{drift.logprob_drift:.4f}"
    return f"| {flags} | {drift.agreement:.2f} | {nats} |"


def main() -> None:
    """Run the study, and print what its trials answered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    tokens = parser.parse_args().tokens
    with TemporaryDirectory() as home:
        os.environ["OPTUNA_TUNER_HOME"] = home
        tuner = Tuner(f"sqlite:///{home}/drift.db")
        found = tuner.run(study(tokens))
        print("| flags | agreement | nats a token |\n| --- | --- | --- |")
        for trial in found.trials:
            flags = ", ".join(f"`{name}: {value}`" for name, value in trial.params.items())
            print(row(flags or "the default, asked again", trial.drift))
        tuner.close()


if __name__ == "__main__":
    main()
