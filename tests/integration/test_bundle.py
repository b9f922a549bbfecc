"""The bundle of a study that really ran: every figure is found again in its requests, by other means than ours."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from optuna_tuner import Tuner
from optuna_tuner.errors import BundleError, NotFoundError
from optuna_tuner.results import bundle
from optuna_tuner.results.bundle.checking import summarise
from optuna_tuner.spec.study import StudySpec

jsonschema = pytest.importorskip("jsonschema")

Lines = Sequence[Mapping[str, float]]
SCHEMA = Path(bundle.__file__).parent / "schema"
FAILING = "http_500=0.1"


def study() -> StudySpec:
    return StudySpec.model_validate(
        {
            "name": "bundled",
            "model": {"name": "tiny"},
            "engine": {"kind": "fake", "flags": {"ttft_ms": 5, "misbehave": FAILING}},
            "benchmark": {"kind": "http", "scenario": "D(8,6)", "concurrency": [1, 4], "requests": 24},
            "space": {"itl_ms": {"type": "float", "low": 1.0, "high": 2.0}},
            "goals": {"objectives": [{"metric": "output_throughput_tok_s", "direction": "maximize"}]},
            "limits": {"success_rate": 0.5},
            "budget": {"trials": 2},
        }
    )


@pytest.fixture(scope="module")
def tuner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuner]:
    """A study of two trials that has run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTUNA_TUNER_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HF_TOKEN", "a secret that nobody may read")  # a server inherits it
        patch.setenv("SLURM_JOB_ID", "4711")
        patch.delenv("OPTUNA_TUNER_STORAGE", raising=False)
        front = Tuner()
        front.run(study())
        yield front
        front.close()


@pytest.fixture
def folder(tuner: Tuner, tmp_path: Path) -> Path:
    """The bundle of trial 1."""
    tuner.bundle("bundled", tmp_path / "trial-1", 1)
    return tmp_path / "trial-1"


def read(file: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(file.read_text())
    return found


def recomputed(lines: Lines) -> dict[str, object]:
    """All that summary.json says of some requests, in plain Python and numpy."""
    done = [line for line in lines if line["success"]]
    began, ended = min(line["timestamp_start"] for line in lines), max(line["timestamp_end"] for line in lines)
    tokens_in, tokens_out = (sum(line[name] for line in done) for name in ("input_tokens", "output_tokens"))
    spreads = {}
    for name in ("latency_s", "ttft_s", "tpot_s"):
        values = [line[name] for line in done]
        percentiles = {f"p{each}": float(np.percentile(values, each)) for each in (50, 90, 95, 99)}
        ends = {"count": len(values), "avg": fmean(values), "min": min(values), "max": max(values)}
        spreads[name] = ends | percentiles
    return {
        "total_requests": len(lines),
        "successful_requests": len(done),
        "failed_requests": len(lines) - len(done),
        "success_rate": len(done) / len(lines),
        **spreads,
        "started": began,
        "ended": ended,
        "duration_s": ended - began,
        "requests_per_second": len(done) / (ended - began),
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "input_tokens_per_second": tokens_in / (ended - began),
        "output_tokens_per_second": tokens_out / (ended - began),
        "total_tokens_per_second": (tokens_in + tokens_out) / (ended - began),
    }


def test_every_figure_is_found_again_in_the_requests_to_the_last_digit(folder: Path) -> None:
    lines: Lines = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    summary = json.loads((folder / "summary.json").read_text())
    assert len(lines) == 48
    assert {name: summary[name] for name in recomputed(lines)} == recomputed(lines)
    assert sum(summary["errors"].values()) == summary["failed_requests"] > 0
    assert [level["level"] for level in summary["levels"]] == ["D(8,6) concurrency=1", "D(8,6) concurrency=4"]
    for level in summary["levels"]:
        own = [line for line in lines if line["level"] == level["level"]]
        assert {name: level[name] for name in recomputed(own)} == recomputed(own)


def test_the_metrics_that_scored_the_trial_are_those_of_its_requests(folder: Path) -> None:
    run, summary = json.loads((folder / "run.json").read_text()), json.loads((folder / "summary.json").read_text())
    for level, figures in zip(run["levels"], summary["levels"], strict=True):
        metrics = level["metrics"]
        for name, field in (("ttft_ms", "ttft_s"), ("tpot_ms", "tpot_s"), ("e2e_latency_ms", "latency_s")):
            assert metrics[f"{name}.mean"] == pytest.approx(1000 * figures[field]["avg"], rel=1e-12)
            for each in ("p50", "p90", "p95", "p99"):
                assert metrics[f"{name}.{each}"] == pytest.approx(1000 * figures[field][each], rel=1e-12)
        assert metrics["request_rate_req_s"] == pytest.approx(figures["requests_per_second"], rel=1e-5)
        assert metrics["output_throughput_tok_s"] == pytest.approx(figures["output_tokens_per_second"], rel=1e-5)
        assert metrics["completed_requests"] == figures["successful_requests"]


def test_a_bundle_keeps_its_schema_and_lists_its_files(folder: Path) -> None:
    for name in ("run", "summary"):
        jsonschema.validate(read(folder / f"{name}.json"), read(SCHEMA / f"{name}.schema.json"))
    for line in (folder / "requests.jsonl").read_text().splitlines():
        jsonschema.validate(json.loads(line), read(SCHEMA / "request.schema.json"))
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files = json.loads((folder / "run.json").read_text())["files"]
    assert files.keys() == there.keys() - {"run.json"}
    assert {"requests.jsonl", "summary.json", "raw/launch.json", "raw/server.log", "raw/machine.json"} <= files.keys()
    for name, part in files.items():
        content = there[name].read_bytes()
        assert part == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_what_ran_is_told_without_any_secret(folder: Path, tuner: Tuner) -> None:
    run = json.loads((folder / "run.json").read_text())
    canonical = json.dumps(run["study"]["file"], sort_keys=True, separators=(",", ":"))
    assert run["study"]["sha256"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert StudySpec.model_validate(run["study"]["file"]) == tuner.study("bundled").spec
    trial = tuner.trial("bundled", 1)
    assert run["trial"]["params"] == trial.params
    assert FAILING in run["engine"]["launch"]["body"]["argv"]
    assert run["place"]["server"]["name"] == f"tuner-{trial.attempt_id}"
    assert run["place"]["machine"]["versions"]["optuna"] == metadata.version("optuna")
    assert run["place"]["machine"]["job"] == {"SLURM_JOB_ID": "4711"}
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"a secret that nobody may read" not in everything


def test_a_bundle_overwrites_nothing(folder: Path, tuner: Tuner, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for taken in (folder, tmp_path / "file", tmp_path / "empty", tmp_path / "dangling"):
        with pytest.raises(BundleError, match="a bundle overwrites nothing"):
            tuner.bundle("bundled", taken, 1)
    with pytest.raises(BundleError, match="cannot be made"):
        tuner.bundle("bundled", tmp_path / "no" / "such" / "folder", 1)
    with pytest.raises(NotFoundError, match="has no trial 9"):
        tuner.bundle("bundled", tmp_path / "nine", 9)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "empty", "file", "trial-1"]


def test_a_bundle_that_fails_half_way_leaves_nothing(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(BundleError, match="cannot be written: No space left on device"):
        tuner.bundle("bundled", tmp_path / "half", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_study_has_a_bundle_for_each_trial_beside_its_results(tuner: Tuner, tmp_path: Path) -> None:
    runs = tuner.bundle("bundled", tmp_path / "all")
    assert [run.trial.number for run in runs] == [0, 1]
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["study.json", "trial-0", "trial-1"]
    assert read(tmp_path / "all" / "study.json")["name"] == "bundled"
    assert summarise(tmp_path / "all" / "trial-0").total_requests == 48
    with pytest.raises(BundleError, match="this folder is no bundle of a trial"):
        summarise(tmp_path / "all")


def test_files_that_lie_elsewhere_are_said_to_be_missing(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same database on a machine that did not run the trial."""
    storage = tuner.storage
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(tmp_path / "another home"))
    other = Tuner(storage)
    (run,) = other.bundle("bundled", tmp_path / "bare", 1)
    other.close()
    assert run.levels
    assert run.missing[:2] == (
        "there are no requests",
        "requests: the load client kept none, or they lie on another machine",
    )
    assert "the server's command line: launch.json does not lie here" in run.missing
    assert summarise(tmp_path / "bare").total_requests == 0


def wounded(folder: Path, name: str) -> Path:
    copy = folder.with_name(name)
    shutil.copytree(folder, copy)
    return copy


def test_truncated_mixed_and_hostile_bundles_are_told_apart(folder: Path) -> None:
    cut = wounded(folder, "cut")
    with (cut / "requests.jsonl").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(BundleError, match=r"has 1000 bytes, and run.json says \d+: it is cut off or another's"):
        summarise(cut)

    mixed = wounded(folder, "mixed")
    text = (mixed / "requests.jsonl").read_text()
    (mixed / "requests.jsonl").write_text(text.replace('"output_tokens":6', '"output_tokens":9', 1))
    with pytest.raises(BundleError, match="its SHA-256 is another"):
        summarise(mixed)

    for name, content, said in (
        ("empty", "", "Invalid JSON: EOF while parsing"),
        ("list", "[]", "Input should be an object"),
        ("half", (folder / "run.json").read_text()[:500], "Invalid JSON"),
        (
            "newer",
            (folder / "run.json").read_text().replace('"bundle": 1', '"bundle": 2', 1),
            "format 2 is not known here",
        ),
    ):
        broken = wounded(folder, name)
        (broken / "run.json").write_text(content)
        with pytest.raises(BundleError, match=said):
            summarise(broken)


def test_requests_that_cannot_be_read_are_left_out_and_kept_as_they_are(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version's lines, a line that was cut off by a crash, and a link out of the folder."""
    home = tmp_path / "home"
    trial, study_id = tuner.trial("bundled", 0), tuner.study("bundled").id
    monkeypatch.setenv("OPTUNA_TUNER_HOME", str(home))
    folder = home / "artifacts" / study_id / trial.attempt_id / "benchmark"
    folder.mkdir(parents=True)
    (folder / "requests-1-concurrency-1.jsonl").write_text('{"due_s": 0.0, "error": ""}\n')
    (folder / "requests-2-concurrency-4.jsonl").write_text('{"success": true, "latency_s": 1}\n{"succ')
    (tmp_path / "private").write_text("of somebody else")
    (folder / "requests-3-concurrency-8.jsonl").symlink_to(tmp_path / "private")
    (folder / "requests-4.jsonl").write_text('{"success": true, "latency_s": 1, "service_type": "another"}\n')
    (folder / "requests-5.jsonl").write_text('{"success": true}\n')
    other = Tuner(tuner.storage)
    (run,) = other.bundle("bundled", tmp_path / "bundle", 0)
    other.close()
    lost = "requests: benchmark/requests-1-concurrency-1.jsonl:1: Object missing required field `success`"
    assert f"{lost}; that file is left out, and lies in raw" in run.missing
    assert any(
        'requests-4.jsonl: service_type: "another" is not that of the files before' in each for each in run.missing
    )
    assert any("requests-5.jsonl:1: latency_s: a request that completed has one" in each for each in run.missing)
    assert "requests: benchmark/requests-2-concurrency-4.jsonl:2: the last line is cut off, and left out" in run.missing
    assert "requests of D(8,6) concurrency=4: 0 of 24 lie here" in run.missing
    assert (tmp_path / "bundle" / "requests.jsonl").read_text() == '{"success": true, "latency_s": 1}\n'
    raw = tmp_path / "bundle" / "raw" / "benchmark"
    left = ["requests-1-concurrency-1.jsonl", "requests-4.jsonl", "requests-5.jsonl"]
    assert sorted(path.name for path in raw.iterdir()) == left
