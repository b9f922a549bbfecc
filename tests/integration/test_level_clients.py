"""A client of one level a process, whatever becomes of it: programs in its place that end in every way."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from optuna_tuner.benchmarks.guidellm import KEY, Guidellm, GuidellmOptions
from optuna_tuner.clock import Deadline
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError, TrialError
from optuna_tuner.testing.fake_process import MODEL, fake_server
from optuna_tuner.values import Endpoint, Model, RequestSlo, Slot

REPORT = Path(__file__).parents[1] / "material" / "guidellm" / "ok.json"
HALF = REPORT.with_name("half_fail.json")
LEAVES = """
import json, os, sys, time
settings = json.load(open(sys.argv[sys.argv.index("--config") + 1]))["spec"]
report = settings["outputs"][0]["path"]
"""
TELLS = """
seen = {"argv": sys.argv, "key": os.environ.get("GUIDELLM__SPEC__BACKEND__API_KEY"), "settings": settings}
json.dump(seen, open(os.path.join(os.path.dirname(report), "seen.json"), "w"))
"""
LINGERS = """
sys.stderr.write("Benchmark 1: pending | successful=SO_MANY errored=0\\n")
sys.stderr.flush()
time.sleep(60)
"""


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(
        endpoint=Endpoint(url="http://127.0.0.1:9", model=MODEL),
        model=Model(name=MODEL, path=str(tmp_path), tokenizer=str(tmp_path)),
        folder=tmp_path / "trial",
        seed=1,
        slo=RequestSlo(),
        success_rate=0.99,
        slot=Slot(name="slot", host="here"),
    )


def _in_its_place(folder: Path, code: str) -> Guidellm:
    """guidellm, whose program is this code."""
    program = folder / "program"
    program.write_text(f"#!{sys.executable} -S\n{LEAVES}{code}\n")
    program.chmod(0o755)
    options = {"scenario": "D(16,8)", "concurrency": 2, "requests": 12, "executable": str(program)}
    return Guidellm(GuidellmOptions.model_validate(options))


@contextmanager
def _no_process_left() -> Iterator[None]:
    others = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= others


def _copied(report: Path) -> str:
    return f"open(report, 'w').write(open({str(report)!r}).read())"


def test_a_level_is_one_process_and_its_requests_are_kept(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is of another, longer run: the program has to last as long."""
    monkeypatch.setenv("MY_KEY", "sk-secret")
    client = _in_its_place(tmp_path, f"{TELLS}{_copied(REPORT)}\ntime.sleep(2)")
    with fake_server() as server, _no_process_left():
        here = replace(target, endpoint=replace(server, key_variable="MY_KEY"))
        (measurement,) = client.run(here, Deadline.after(60))
    folder = target.folder / "benchmark" / "guidellm-1"
    seen = json.loads((folder / "seen.json").read_text())
    lines = [json.loads(line) for line in (folder / "requests-1-concurrency-2.jsonl").read_text().splitlines()]
    assert target.folder / measurement.report == folder / "report.json"
    assert measurement.metrics["completed_requests"] == len(lines) == 12
    assert seen["key"] == "sk-secret"
    assert "sk-secret" not in json.dumps([seen["argv"], seen["settings"]])
    assert KEY not in json.dumps(seen["settings"])


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("raise ValueError('no such thing')", BenchmarkError, r"ended with code 1 and no report .*no such thing"),
        (f"{_copied(HALF)}; sys.exit(1)", BenchmarkError, "ended with code 1"),
        ("", BenchmarkError, "report.json cannot be read"),
        (
            LINGERS.replace("SO_MANY", "3"),
            DegradedError,
            r"not done in time \(3 requests completed\): the server is too",
        ),
        (LINGERS.replace("SO_MANY", "0"), BenchmarkError, r"not done in time \(0 requests completed\)"),
    ],
    ids=["fails", "fails after a report", "leaves nothing", "too slow", "hangs"],
)
def test_an_end_without_a_report_is_told_with_its_reason(
    target: Target, tmp_path: Path, code: str, kind: type[TrialError], message: str
) -> None:
    client = _in_its_place(tmp_path, code)
    with fake_server() as server, _no_process_left(), pytest.raises(kind, match=message):
        list(client.run(replace(target, endpoint=server), Deadline.after(8 if "sleep" in code else 60)))


def test_a_server_that_does_not_answer_is_at_fault_whatever_the_client_says(target: Target, tmp_path: Path) -> None:
    client = _in_its_place(tmp_path, "sys.exit(1)")
    with pytest.raises(DegradedError, match="the server does not answer as it should"):
        list(client.run(target, Deadline.after(60)))
