"""Holds the memory model against what engines printed at their start on GPUs, as people published it.

    python benchmarks/memory_logs.py

The figures and their sources are in tests/material/memory/logs.yaml. Prints the errors as a Markdown table, in GiB.
"Fitted" logs were looked at when the model's constants were chosen: their agreement proves little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from optuna_tuner.memory import facts
from optuna_tuner.memory.estimate import Estimate, estimate
from optuna_tuner.memory.gpus import GIB, gpu
from optuna_tuner.memory.layout import Layout, Settings

MATERIAL = Path(__file__).parents[1] / "tests" / "material" / "memory"
FLAGS = ("engine", "version", "max_model_len", "memory_fraction", "batched_tokens")


def counted(log: Mapping[str, Any], config: Mapping[str, Any], cache: int = 0) -> Estimate:
    """What the memory model says of one log; of a KV cache of `cache` bytes if that is not 0."""
    settings = Settings(**{name: log[name] for name in FLAGS if name in log}, kv_cache_bytes=cache)
    card = gpu("H200" if log["gpu"] == "unknown" else log["gpu"])  # not looked at where only weights are compared
    return estimate(facts.of(config), card, Layout(tp=log["tp"]), settings)


def rows(log: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """What is compared, what was printed, what the model says, and the error."""
    found = counted(log, config)
    for check in log["checks"]:
        if check == "weights":
            mine = found.weights_bytes / GIB
            yield "weights", f"{log[check]:.2f}", f"{mine:.2f}", f"{mine / log[check] - 1:+.1%}"
        elif check == "pool":
            mine, unsure = found.pool_bytes / GIB, found.error_bytes / GIB
            yield "KV cache", f"{log[check]:.2f}", f"{mine:.2f} ± {unsure:.1f}", f"{mine - log[check]:+.2f} GiB"
        else:
            tokens = counted(log, config, int(log["pool"] * GIB)).kv_tokens
            yield f"tokens in {log['pool']} GiB", f"{log[check]:,}", f"{tokens:,}", f"{tokens / log[check] - 1:+.2%}"


def main() -> None:
    """Print the table."""
    models = yaml.safe_load((MATERIAL / "models.yaml").read_text(encoding="utf-8"))
    print("| model | engine | GPUs | what | printed | model | error | source |\n|---|---|---|---|---|---|---|---|")
    for log in yaml.safe_load((MATERIAL / "logs.yaml").read_text(encoding="utf-8")):
        place = log["source"].removeprefix("https://github.com/")
        assumed = f", {' and '.join(log['assumed'])} assumed" if "assumed" in log else ""
        engine = f"{log['engine']} {log.get('version', '')}".strip() + assumed + (", fitted" * log.get("fitted", False))
        for what in rows(log, models[log["model"]]["config"]):
            cells = (log["model"], engine, f"{log['tp']} x {log['gpu']}", *what, f"[{place}]({log['source']})")
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
