"""Holds the counted parameters of the memory model against transformers, which builds each model without its weights.

    /path/to/python-with-transformers benchmarks/memory_parameters.py

Any environment with vLLM has transformers. The models are those of tests/material/memory/models.yaml. Exit code 1 when
a count differs by more than 0.1 %.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch  # type: ignore[import-not-found]  # only in the environment that this is for
import yaml
from transformers import (  # type: ignore[import-not-found]  # likewise
    AutoConfig,
    AutoModelForCausalLM,
)

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from optuna_tuner.memory import facts  # noqa: E402  found beside this script, where it is not installed

TOLERANCE = 0.001


def built(config: dict[str, object]) -> int:
    """Parameters of the model that transformers builds."""
    known = {name: value for name, value in config.items() if name not in {"quantization_config", "architectures"}}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**known))
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> int:
    """Compare all models. Returns the exit code."""
    models = yaml.safe_load((ROOT / "tests/material/memory/models.yaml").read_text(encoding="utf-8"))
    wrong = 0
    print(f"{'model':22} {'counted':>16} {'transformers':>16} {'published':>16}  difference")
    for name, model in models.items():
        counted, real = facts.of(model["config"]).parameters, built(model["config"])
        off = counted / real - 1
        wrong += abs(off) > TOLERANCE
        print(f"{name:22} {counted:16,} {real:16,} {model['published']:16,}  {off:+.4%}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
