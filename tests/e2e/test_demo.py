"""The main job: the embedded server, tuned on real traffic by genai-bench."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from optuna_tuner.benchmarks.genai_bench import GenaiBench

COMMAND = Path(sys.executable).with_name("optuna-tuner")


@pytest.mark.embedded
@pytest.mark.genai_bench
@pytest.mark.timeout(1200)
def test_the_demo_finds_feasible_flags_and_prunes_what_fails_with_the_right_cause(tmp_path: Path) -> None:
    options = GenaiBench.Options.model_validate({"scenario": "D(64,32)", "concurrency": [1]})
    missing = GenaiBench(options).missing()
    if missing:
        pytest.skip(missing)
    environment = os.environ | {
        "OPTUNA_TUNER_HOME": str(tmp_path),
        "OPTUNA_TUNER_STORAGE": f"sqlite:///{tmp_path}/s.db",
    }
    subprocess.run([COMMAND, "demo"], env=environment, check=True)
    told = subprocess.run([COMMAND, "trials", "demo", "-o", "json"], env=environment, check=True, capture_output=True)
    trials = json.loads(told.stdout)
    assert [trial["number"] for trial in trials] == list(range(12))
    states = Counter(trial["state"] for trial in trials)
    assert states["infeasible"] >= 2
    assert states["feasible"] >= 6
    causes = {trial["number"]: trial["cause"] for trial in trials}
    assert (causes[1], causes[3]) == ("bad_combination", "out_of_memory_pool")
