"""guidellm: what it is told, and what is made of its reports, which were cut from real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from optuna_tuner.benchmarks import prompts, report_check
from optuna_tuner.benchmarks.guidellm import DECLARED, KEY, Guidellm, GuidellmOptions, _environment
from optuna_tuner.benchmarks.guidellm_report import Report
from optuna_tuner.benchmarks.level_client import Level
from optuna_tuner.contracts import Target
from optuna_tuner.errors import BenchmarkError, DegradedError
from optuna_tuner.values import Endpoint, Json, Load, LoadKind, Model, RequestSlo, Slot

MATERIAL = Path(__file__).parents[2] / "material" / "guidellm"
TWO = Load(value=2, scenario="D(16,8)")
EVENLY = Load(kind=LoadKind.CONSTANT_RATE, value=20, scenario="D(16,8)")
SCALE = prompts.Scale()


def _target(folder: Path, key: str = "") -> Target:
    return Target(
        endpoint=Endpoint(url="http://h:1/v1", model="m", key_variable=key),
        model=Model(name="m", path="p", tokenizer="/tokenizer"),
        folder=folder,
        seed=7,
        slo=RequestSlo(),
        success_rate=0.99,
        slot=Slot(name="s", host="h"),
    )


def _options(**given: Json) -> GuidellmOptions:
    return GuidellmOptions.model_validate({"scenario": "D(16,8)", "concurrency": 2, "requests": 12, **given})


def _level(folder: Path, load: Load, **given: Json) -> Level:
    run = folder / "benchmark" / "guidellm-1"
    return Guidellm(_options(**given)).level(_target(folder), load, Path("/venv/guidellm"), run, SCALE)


def _report(case: str) -> dict[str, Json]:
    return dict(report_check.read_report(MATERIAL / f"{case}.json", started_at=0.0))


def test_its_command_line_names_a_file_and_its_prompts_are_of_the_scenario(tmp_path: Path) -> None:
    level = _level(tmp_path, TWO, extra_args=["--backend", "kind=openai_http,verify=false"])
    run = tmp_path / "benchmark" / "guidellm-1"
    settings = ("--config", str(run / "run.json"), "--disable-console-interactive")
    assert level.program.argv == ("/venv/guidellm", "run", *settings, "--backend", "kind=openai_http,verify=false")
    rows = [json.loads(line) for line in level.program.files["prompts.jsonl"].splitlines()]
    assert [(len(row["prompt"].split()), row["output_tokens_count"]) for row in rows] == [(16, 8)] * 24


@pytest.mark.parametrize(
    ("load", "profile"),
    [
        (TWO, {"kind": "concurrent", "streams": [2]}),
        (EVENLY, {"kind": "constant", "rate": [20]}),
        (Load(kind=LoadKind.REQUEST_RATE, value=0.5, scenario="D(16,8)"), {"kind": "poisson", "rate": [0.5]}),
    ],
)
def test_a_load_is_said_in_its_words(tmp_path: Path, load: Load, profile: Json) -> None:
    guidellm = Guidellm(_options(max_time_s=30, additional_params={"top_k": 1}))
    settings = guidellm.settings(_target(tmp_path), load, tmp_path)
    assert settings["profile"] == profile
    assert settings["constraints"] == [{"kind": "max_requests", "count": 12}, {"kind": "max_duration", "seconds": 30}]
    backend = settings["backend"]
    assert isinstance(backend, dict)
    assert backend["verify"] is True
    assert backend["extras"] == {"body": {"temperature": 0.0, "top_k": 1}}


def test_the_key_of_a_server_is_in_its_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    target = _target(tmp_path, key="MY_KEY")
    level = Guidellm(_options()).level(target, TWO, Path("/venv/guidellm"), tmp_path, SCALE)
    assert level.program.env[KEY] == "sk-secret"
    assert "sk-secret" not in "".join([*level.program.argv, *level.program.files.values()])
    assert KEY not in _environment(Endpoint(url="http://h:1", model="m"), tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"extra_args": ["--backend", "api_key=sk"]}, "belongs to deployer.api_key"),
        ({"extra_args": "--profile=kind=sweep"}, "--profile is set by the tuner itself"),
        ({"extra_args": ["-c", "x"]}, "-c is set by the tuner itself"),
        ({"request_rate": 1}, "either concurrency or request_rate"),
    ],
)
def test_what_would_not_be_what_the_study_says_is_refused(wrong: dict[str, Json], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _options(**wrong)


def test_a_search_probes_with_the_same_traffic_and_reports_at_one_load() -> None:
    options = _options(concurrency={"search": "max", "low": 2, "high": 64}, additional_params={"top_k": 1})
    assert options.searched() == options.probing().searched()
    assert options.probing().additional_params == {"top_k": 1}
    found = options.at(Load(value=16, scenario="D(16,8)"))
    assert (found.concurrency, found.requests, found.searched()) == ((16,), 64, None)
    assert Guidellm(options).metrics() == DECLARED | {"sustained_concurrency"}
    rate = _options(concurrency=[], request_rate={"search": "max", "low": 1, "high": 8, "hold_s": 10})
    assert rate.at(Load(kind=LoadKind.REQUEST_RATE, value=4, scenario="D(16,8)")).requests == 40


def test_a_real_report_gives_every_declared_metric_by_our_own_meaning(tmp_path: Path) -> None:
    level = _level(tmp_path, TWO)
    told = level.read(_report("ok"), 0.0)
    metrics = level.metrics(told, _target(tmp_path), elapsed_s=10)
    own = json.loads((MATERIAL / "ok.json").read_text())["benchmarks"][0]
    theirs = {name: values["successful"] for name, values in own["metrics"].items() if name != "request_totals"}
    assert metrics.keys() >= DECLARED
    assert metrics["ttft_ms.mean"] == pytest.approx(theirs["time_to_first_token_ms"]["mean"])
    assert metrics["e2e_latency_ms.mean"] == pytest.approx(1000 * theirs["request_latency"]["mean"])
    assert theirs["inter_token_latency_ms"]["mean"] < metrics["tpot_ms.mean"], "up to the stream's end"
    assert metrics["tpot_ms.mean"] < 0.2 * theirs["time_per_output_token_ms"]["mean"], "its TPOT holds the first token"
    assert metrics["duration_s"] == pytest.approx(own["duration"], rel=0.01)


def test_an_exit_code_of_0_with_half_of_the_requests_failed_is_degraded(tmp_path: Path) -> None:
    level = _level(tmp_path, EVENLY)
    told = level.read(_report("half_fail"), 0.0)
    assert [each.status for each in told if each.record.error] == [500] * 6
    with pytest.raises(DegradedError, match=r"6 of 12 requests completed .*HTTP 500"):
        level.metrics(told, _target(tmp_path), elapsed_s=10)


def test_in_an_open_loop_times_count_from_the_scheduled_arrival() -> None:
    """Its workers were late here; that they were is told of each request."""
    done = [each for each in Report.read(_report("half_fail")).told(EVENLY) if not each.record.error]
    for each in done:
        assert each.began is not None
        assert each.ended is not None
        assert each.send_delay_s is not None
        assert each.record.e2e_s == pytest.approx(each.ended - each.began, abs=1e-5)
        assert each.record.ttft_s > each.send_delay_s > 1


def test_a_level_that_its_time_limit_ended_may_have_fewer_requests(tmp_path: Path) -> None:
    told = Report.read(_report("ok")).told(TWO)
    full = _level(tmp_path, TWO, requests=1000)
    with pytest.raises(BenchmarkError, match="12 requests; 1000 were asked for"):
        full.metrics(told, _target(tmp_path), elapsed_s=10)
    short = _level(tmp_path / "short", TWO, requests=1000, max_time_s=1)
    assert short.metrics(told, _target(tmp_path), elapsed_s=10)["completed_requests"] == 12


@pytest.mark.parametrize("load", [Load(value=3, scenario="D(16,8)"), EVENLY])
def test_a_report_of_another_load_is_refused(load: Load) -> None:
    with pytest.raises(BenchmarkError, match="another load"):
        Report.read(_report("ok")).told(load)


def test_a_report_of_another_shape_is_refused_by_name() -> None:
    with pytest.raises(BenchmarkError, match=r"guidellm's report cannot be read: metadata: Field required"):
        Report.read({})
