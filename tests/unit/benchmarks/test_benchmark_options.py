"""Options of the benchmarks, their load levels and what they declare."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from optuna_tuner.benchmarks.genai_bench import DECLARED, GenaiBench
from optuna_tuner.benchmarks.genai_bench_options import GenaiBenchOptions
from optuna_tuner.benchmarks.http import Http, HttpOptions
from optuna_tuner.benchmarks.script import Script, ScriptOptions
from optuna_tuner.client_site import Vantage
from optuna_tuner.contracts import Target
from optuna_tuner.metrics import METRICS
from optuna_tuner.other_programs import GENAI_BENCH, Executable
from optuna_tuner.values import Endpoint, Load, LoadKind, Model, RequestSlo, Slot


def test_one_value_may_stand_for_a_list_of_one() -> None:
    options = HttpOptions.model_validate({"scenario": "D(64,32)", "concurrency": 4})
    assert Http(options).loads() == (Load(value=4, scenario="D(64,32)"),)


def test_levels_come_scenario_by_scenario() -> None:
    options = GenaiBenchOptions.model_validate({"scenario": ["D(64,32)", "D(8,4)"], "concurrency": [1, 2]})
    levels = [(load.scenario, load.value) for load in GenaiBench(options).loads()]
    assert levels == [("D(64,32)", 1), ("D(64,32)", 2), ("D(8,4)", 1), ("D(8,4)", 2)]


@pytest.mark.parametrize(
    ("arrival", "kind"), [("poisson", LoadKind.REQUEST_RATE), ("constant", LoadKind.CONSTANT_RATE)]
)
def test_an_open_loop_arrives_as_the_options_say(arrival: str, kind: LoadKind) -> None:
    options = HttpOptions.model_validate({"scenario": "D(64,32)", "request_rate": [2, 4.5], "arrival": arrival})
    assert [(load.kind, load.value) for load in Http(options).loads()] == [(kind, 2), (kind, 4.5)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scenario": "D(64,32)"}, "either concurrency or request_rate"),
        ({"scenario": "D(64,32)", "concurrency": 1, "request_rate": 1}, "either concurrency or request_rate"),
        ({"scenario": "D(64)", "concurrency": 1}, "is no scenario"),
        ({"scenario": [], "concurrency": 1}, "at least 1 item"),
        ({"scenario": "D(64,32)", "concurrency": [2, 2]}, "listed twice"),
        ({"scenario": "D(64,32)", "concurrency": 0}, "greater than 0"),
        ({"scenario": "D(64,32)", "concurrency": 1, "nonsense": 1}, "Extra inputs"),
    ],
)
def test_wrong_http_options_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HttpOptions.model_validate(wrong)


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 1), (60, 1), (61, 2), (600, 10)])
def test_genai_bench_s_whole_minutes_are_rounded_up(seconds: float, minutes: int) -> None:
    options = {"scenario": "D(64,32)", "concurrency": 1, "max_time_s": seconds}
    assert GenaiBenchOptions.model_validate(options).minutes == minutes


def test_a_search_with_genai_bench_probes_with_the_same_traffic_and_reports_at_one_load() -> None:
    search = {"search": "max", "low": 2, "high": 64}
    given = {"scenario": "D(64,32)", "concurrency": search, "requests": 30, "additional_params": {"top_k": 1}}
    options = GenaiBenchOptions.model_validate(given)
    assert options.searched() == options.probing().searched()
    same = set(given)
    assert options.probing().model_dump(include=same) == options.model_dump(include=same)
    found = options.at(Load(value=16, scenario="D(64,32)"))
    assert (found.users, found.requests, found.searched()) == ((16,), 64, None)
    assert GenaiBench(options).metrics() == DECLARED | {"sustained_concurrency"}
    assert GenaiBench(options).loads() == ()


def test_genai_bench_has_a_level_or_a_search() -> None:
    with pytest.raises(ValidationError, match="concurrency must not be empty"):
        GenaiBenchOptions.model_validate({"scenario": "D(64,32)", "concurrency": []})


def test_genai_bench_declares_no_inter_token_latency_and_http_does() -> None:
    options = {"scenario": "D(64,32)", "concurrency": 1}
    lacking = METRICS.keys() - GenaiBench(GenaiBenchOptions.model_validate(options)).metrics()
    assert lacking == {name for name in METRICS if name.startswith("itl_ms.")}
    assert Http(HttpOptions.model_validate(options)).metrics() == METRICS.keys()


def test_a_missing_genai_bench_says_in_one_line_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPTUNA_TUNER_GENAI_BENCH", raising=False)
    monkeypatch.setattr(Executable, "find", lambda *_: None)
    missing = GENAI_BENCH.executable().missing(None)
    assert missing == "genai-bench 0.0.5 is not here: optuna-tuner doctor --install genai-bench"


def test_a_genai_bench_that_somebody_chose_is_not_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"scenario": "D(64,32)", "concurrency": 1, "executable": "/nowhere/genai-bench"}
    missing = GenaiBench(GenaiBenchOptions.model_validate(options)).missing()
    assert missing == "benchmark.executable: there is no program /nowhere/genai-bench"
    monkeypatch.setenv("OPTUNA_TUNER_GENAI_BENCH", "/nowhere/else")
    assert GENAI_BENCH.executable().missing(None) == "OPTUNA_TUNER_GENAI_BENCH: there is no program /nowhere/else"


def test_a_script_whose_program_is_not_here_is_missing() -> None:
    def missing(program: str) -> str | None:
        return Script(ScriptOptions.model_validate({"command": [program], "metrics": ["m"], "loads": [1]})).missing()

    assert missing("no-such-program") == "benchmark.command: there is no program no-such-program on this machine"
    assert missing(sys.executable) is None
    assert missing("{folder}/made-by-nobody-yet") is None


def test_a_script_s_placeholders_are_replaced_and_other_braces_are_left_alone() -> None:
    command = ["tool", "{url}", "--model={model}", '{"a": 1}', "{seed}/{load}", "{folder}/x", "{other}"]
    script = Script(ScriptOptions.model_validate({"command": command, "metrics": ["own_score"], "loads": [2, 4]}))
    target = Target(
        endpoint=Endpoint(url="http://h:1", model="m"),
        model=Model(name="m", path="p", tokenizer="t"),
        folder=Path("/trial"),
        seed=7,
        slo=RequestSlo(),
        success_rate=0.99,
        slot=Slot(name="s", host="h"),
    )
    argv = script.argv(target, script.loads()[1], Vantage(url="http://h:1", folder="/f"))
    assert argv == ("tool", "http://h:1", "--model=m", '{"a": 1}', "7/4", "/f/x", "{other}")


def test_a_script_declares_what_the_study_file_says() -> None:
    options = ScriptOptions.model_validate({"command": ["true"], "metrics": ["ttft_ms.p99", "own_score"]})
    assert Script(options).metrics() == {"ttft_ms.p99", "own_score"}
