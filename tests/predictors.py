"""Programs that answer as aiconfigurator does: with a table that the real one wrote, or not at all."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from optuna_tuner.tuning.aiconfigurator import Prediction

MATERIAL = Path(__file__).parent / "material" / "aiconfigurator"
DENSE = MATERIAL / "qwen3-32b-vllm-4xh100.csv"
EXPERTS = MATERIAL / "deepseek-v3-sglang-8xh200.csv"
LOG = "08:43:34 [aiconfigurator] [E] [main.py:1521] "
ANSWER = """
with open({asked!r}, "a") as file:
    print(*sys.argv[1:], file=file)
given = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = pathlib.Path(given["save-dir"], given["model-path"] + "_1", "agg")
folder.mkdir(parents=True)
(folder / "best_config_topn.csv").write_text(pathlib.Path({table!r}).read_text())
"""


def rows(table: Path) -> tuple[Prediction, ...]:
    with table.open(encoding="utf-8", newline="") as file:
        return tuple(map(Prediction.of, csv.DictReader(file)))


def program(folder: Path, body: str) -> Path:
    """An executable that runs this Python."""
    path = folder / "aiconfigurator"
    path.write_text(f"#!{sys.executable}\nimport os, pathlib, sys, time\n{body}", encoding="utf-8")
    path.chmod(0o755)
    return path


def answering(folder: Path, table: Path) -> tuple[Path, Path]:
    """A program that writes the table, and the file to which it adds a line each time that it is asked."""
    asked = folder / "asked"
    asked.touch()
    return program(folder, ANSWER.format(asked=str(asked), table=str(table))), asked
