"""A benchmark is a study of one configuration: what is made of a study file, and of a server's URL."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from optuna_tuner.deployers.running import Running as RunningDeployer
from optuna_tuner.deployers.running import RunningOptions
from optuna_tuner.engines.openai import OpenAi, OpenAiOptions
from optuna_tuner.errors import EnvironmentFaultError, SpecError
from optuna_tuner.http import authorization
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.search.verdict import score
from optuna_tuner.spec.files import check_study
from optuna_tuner.spec.goals import Constraint, Goals, Objective
from optuna_tuner.spec.study import StudySpec
from optuna_tuner.tuning.bench import RECIPES, Running, Wanted, of_running, of_study
from optuna_tuner.values import Endpoint, Launch, Load, Measurement, Model, Params, Slot

STUDY = StudySpec.model_validate(
    {
        "name": "chat",
        "model": {"name": "tiny"},
        "engine": {"kind": "vllm", "version": "0.32.0", "flags": {"tp": 2, "max_model_len": 4096}},
        "benchmark": {"kind": "http", "scenario": "D(64,32)", "concurrency": {"search": "max", "high": 64}},
        "space": {"max_num_seqs": {"type": "int", "low": 1, "high": 9}},
        "rules": [{"forbid": "max_num_seqs > 8"}],
        "goals": {
            "objectives": [{"metric": "sustained_concurrency", "direction": "maximize"}],
            "constraints": [{"metric": "ttft_ms.p99", "at_most": 500}, {"metric": "tpot_ms.p99", "at_most": 50}],
        },
        "budget": {"trials": 40},
        "confirm": {"pairs": 3},
    }
)
NAMES = {"tp": "tensor_parallel_size", "tensor-parallel-size": "tensor_parallel_size"}
URL = "http://127.0.0.1:8000/v1"


def canonical(flag: str) -> str:
    return NAMES.get(flag, flag.replace("-", "_"))


def test_of_a_study_one_configuration_is_measured_under_its_own_load() -> None:
    made = of_study(STUDY, Wanted(), canonical)
    assert (made.name, made.budget.trials, dict(made.space), made.confirm) == ("chat-bench", 1, {}, None)
    assert made.is_benchmark
    assert made.benchmark == STUDY.benchmark
    assert made.goals == STUDY.goals
    check_study(made, InstalledKinds())


def test_flags_go_over_the_fixed_ones_by_whatever_name() -> None:
    made = of_study(STUDY, Wanted(flags={"tensor-parallel-size": 4, "max-num-seqs": 64}), canonical)
    assert made.fixed_flags == {"max_model_len": 4096, "tensor_parallel_size": 4, "max_num_seqs": 64}


def test_a_listed_load_takes_the_place_of_a_searched_one_and_of_its_objective() -> None:
    made = of_study(STUDY, Wanted(load={"request_rate": [1.0, 2.0], "repeat": 3}), canonical)
    assert made.benchmark.options == {"scenario": "D(64,32)", "request_rate": [1.0, 2.0], "repeat": 3}
    assert [each.metric for each in made.goals.objectives] == ["output_throughput_tok_s"]


def test_a_bound_takes_the_place_of_the_studys_own_on_that_metric() -> None:
    made = of_study(STUDY, Wanted(slo=(Constraint(metric="ttft_ms.p99", at_most=200),)), canonical)
    assert [each.name for each in made.goals.constraints] == ["tpot_ms.p99 <= 50", "ttft_ms.p99 <= 200"]


def test_what_is_asked_for_goes_over_the_recipe() -> None:
    made = of_study(STUDY, Wanted(recipe="sizes", load={"concurrency": [2]}), canonical)
    assert made.benchmark.options["concurrency"] == [2]
    assert made.benchmark.options["scenario"] == RECIPES["sizes"]["scenario"]


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_is_a_study_that_runs(recipe: str) -> None:
    server = Running(url=URL, model="org/My Model")
    made = of_running(server, Wanted(recipe=recipe))
    assert made.name == "bench-org-My-Model"
    check_study(made, InstalledKinds())


def test_a_running_server_is_named_by_its_url_and_its_key_by_its_variable() -> None:
    made = of_running(Running(url=URL, model="tiny", key_variable="MY_KEY"), Wanted())
    assert made.deployer.options == {"url": URL, "api_key": {"env": "MY_KEY"}}
    check_study(made, InstalledKinds())


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"deployer": {"kind": "local"}}, "needs deployer"),
        ({"engine": {"kind": "vllm"}}, "must be openai"),
        ({"space": {"x": {"type": "int", "low": 1, "high": 2}}}, "cannot be changed"),
    ],
)
def test_what_runs_already_goes_only_with_a_deployer_that_starts_nothing(change: dict[str, object], fault: str) -> None:
    made = of_running(Running(url=URL, model="tiny"), Wanted()).model_dump(mode="json", exclude_defaults=True)
    with pytest.raises(SpecError, match=fault):
        check_study(StudySpec.model_validate(made | change), InstalledKinds())


def test_a_running_server_takes_no_flags() -> None:
    with pytest.raises(SpecError, match="cannot be given flags"):
        of_running(Running(url=URL, model="tiny"), Wanted(flags={"max_num_seqs": 4}))


def test_a_study_that_would_search_cannot_have_an_empty_space() -> None:
    with pytest.raises(ValidationError, match=r"set budget\.trials to 1"):
        StudySpec.model_validate({**STUDY.model_dump(mode="json", exclude_defaults=True), "space": {}})


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("127.0.0.1:8000", "no URL of a server"),
        ("ftp://host/v1", "no URL of a server"),
        ("http://user:secret@host/v1", "no user, password"),
        ("http://host/v1?key=secret", "no user, password"),
    ],
)
def test_a_url_that_is_none_or_holds_a_secret_is_refused(url: str, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        RunningOptions(url=url)


def test_nothing_of_a_running_server_is_started_stopped_or_found() -> None:
    deployer = RunningDeployer(RunningOptions(url=URL))
    launch = OpenAi(OpenAiOptions()).render(
        Model(name="tiny", path="tiny", tokenizer="tiny"), Params(), Slot(name="a", host="b")
    )
    request = deployer.render(launch, "one", {"attempt": "1"}, Slot(name="a", host="b"))
    assert request.body == {"url": "http://127.0.0.1:8000", "model": "tiny"}
    assert deployer.find({"attempt": "1"}) == ()
    assert deployer.log(deployer.start(request, Path())) == ""


def test_a_key_that_is_not_set_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    deployer = RunningDeployer(RunningOptions.model_validate({"url": URL, "api_key": {"env": "NO_SUCH_KEY"}}))
    with pytest.raises(EnvironmentFaultError, match="NO_SUCH_KEY, which is not set"):
        deployer.prepare(Launch(argv=(), model=Model(name="tiny", path="tiny", tokenizer="tiny")))


def test_a_key_goes_into_the_header_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    endpoint = Endpoint(url="http://h", model="m", key_variable="MY_KEY")
    assert authorization(endpoint) == {"Authorization": "Bearer sesame"}
    assert "sesame" not in repr(endpoint)
    assert authorization(Endpoint(url="http://h", model="m")) == {}


def test_a_load_that_was_measured_twice_is_not_best_by_one_lucky_round() -> None:
    goals = Goals(objectives=(Objective(metric="output_throughput_tok_s", direction="maximize"),))
    rounds = [(1, 100.0), (2, 120.0), (1, 180.0), (2, 170.0)]
    found = score(
        goals,
        [Measurement(load=Load(value=load), metrics={"output_throughput_tok_s": value}) for load, value in rounds],
    )
    assert (found.level, found.values) == ("concurrency=2", (145.0,))
