"""A study in MLflow and in Weights & Biases: their own files, without a server, read as they lie there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from optuna_tuner.errors import EnvironmentFaultError
from optuna_tuner.results.tracking import TrackerKind

TESTS = Path(__file__).parents[1]
# In a process of its own: both bring threads, warnings and handlers.
TRACK = """
import sys
from fake_tuner import FakeTuner
from optuna_tuner.results.tracking import TrackerKind
kind, times = sys.argv[1:]
for _ in range(int(times)):
    print(FakeTuner("sqlite:///never-opened.db").track("sample", TrackerKind(kind), "serving"))
"""
READ_WANDB = """
import sys
from wandb.proto.wandb_internal_pb2 import Record
HEADER, BLOCK, WHOLE, FIRST, LAST = 7, 1 << 15, 1, 2, 4

def records(data):
    "Records of LevelDB's log format: in blocks, each piece after its checksum, length and type."
    at, parts = HEADER, b""
    while at + HEADER < len(data):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        piece = data[at + HEADER : at + HEADER + length]
        parts = piece if kind in (WHOLE, FIRST) else parts + piece
        at += HEADER + length
        if kind in (WHOLE, LAST):
            yield parts

for file in sys.argv[1:]:
    for data in records(open(file, "rb").read()):
        record = Record.FromString(data)
        if record.HasField("run"):
            print("run", record.run.run_id, record.run.run_group, record.run.display_name, sep="\\t")
            for item in record.run.config.update:
                print("config", item.key, item.value_json, sep="\\t")
        for item in record.summary.update:
            print("summary", item.key or "/".join(item.nested_key), item.value_json, sep="\\t")
"""


def run(script: str, *words: str, folder: Path, **more: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(TESTS), "OPTUNA_TUNER_HOME": str(folder), **more}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=environment, cwd=folder, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_mlflow_has_a_run_a_trial_below_that_of_the_study_and_none_twice(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    store = tmp_path / "mlruns"
    said = run(
        TRACK, "mlflow", "2", folder=tmp_path, MLFLOW_TRACKING_URI=f"file://{store}", MLFLOW_ALLOW_FILE_STORE="true"
    )
    (experiment,) = [each.parent for each in store.glob("*/meta.yaml") if "name: serving" in each.read_text()]
    runs = {
        yaml.safe_load(each.read_text())["run_name"]: each.parent for each in experiment.glob("*/meta.yaml") if each
    }
    trials = len(runs) - 1
    assert f"logged={trials}, there=0" in said[0]
    assert f"logged=0, there={trials}" in said[1]
    assert len(list(experiment.glob("*/meta.yaml"))) == len(runs)
    eighth, parent = runs["sample: trial 8"], runs["sample"]
    assert (eighth / "tags" / "mlflow.parentRunId").read_text() == parent.name
    assert (eighth / "params" / "max_num_seqs").read_text() == "256"
    assert (eighth / "metrics" / "output_throughput_tok_s").read_text().split()[1:] == ["800.0", "0"]
    assert (runs["sample: trial 4"] / "tags" / "cause").read_text() == "out_of_memory_pool"
    assert (parent / "metrics" / "gain.output_throughput_tok_s.share").exists()
    assert (parent / "artifacts" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_wandb_offline_has_a_run_a_trial_in_the_group_of_the_study(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    said = run(TRACK, "wandb", "1", folder=tmp_path, WANDB_MODE="offline", WANDB_DIR=str(tmp_path))
    assert "to be sent by wandb sync" in said[0]
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert files
    lines = [line.split("\t") for line in run(READ_WANDB, *map(str, files), folder=tmp_path)]
    runs = {line[1]: line[2:] for line in lines if line[0] == "run"}
    assert {group for group, _ in runs.values()} == {"sample"}
    assert "sample: trial 8" in {name for _, name in runs.values()}
    assert ["config", "max_num_seqs", "256"] in lines
    assert ["summary", "output_throughput_tok_s", "800"] in lines
    assert ["summary", "cause", '"out_of_memory_pool"'] in lines


@pytest.mark.parametrize("kind", TrackerKind)
def test_a_tracker_that_is_not_installed_is_said_with_what_installs_it(
    kind: TrackerKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_tuner import FakeTuner  # noqa: PLC0415  it lies beside the tests of the command line

    monkeypatch.setitem(sys.modules, kind.value, None)
    with pytest.raises(
        EnvironmentFaultError, match=rf"{kind.value} is missing: pip install 'optuna-tuner\[{kind.value}\]'"
    ):
        FakeTuner("sqlite:///never-opened.db").track("sample", kind, "serving")
