"""What may be taken home, what is said of it, and what a format cannot say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
import yaml
from paper_study import DEFAULT, PaperStudy, gave, paper_spec
from pydantic import JsonValue
from take_home import TWO_CORES, TWO_GPUS, ended_study, export

from optuna_tuner.errors import ExportError, NotFoundError
from optuna_tuner.results.export import Export, Format
from optuna_tuner.results.export.formats import WRITERS
from optuna_tuner.results.export.heading import comment
from optuna_tuner.results.views import StudyView, study_view
from optuna_tuner.store.records import AttemptKind, Desired, Outcome, StudyRecord, Verdict
from optuna_tuner.testing.sample_study import BEGAN, SampleStudy, sample_study
from optuna_tuner.values import Cause, Drift, Load, Measurement, Params

VLLM: Mapping[str, JsonValue] = {"kind": "vllm", "image": "vllm/vllm-openai:v0.32.0"}
SEQS = Params(flags={"max_num_seqs": 256})
ENV = Params(env={"MODE": "1"})
OME: JsonValue = {
    "kind": "ome",
    "clusterbasemodel_config": {"name": "llama"},
    "clusterservingruntime_config": {"name": "theirs"},
    "gpus": 2,
}
HOSTILE = "$HOME `id` $(id) 'a' \"b\" \\ \n -x # \u2028 \x1b {}"


def vllm(params: Params = SEQS, **engine: JsonValue) -> StudyView:
    return ended_study({**VLLM, **engine}, params, TWO_GPUS)


def text(study: StudyView, form: Format = Format.SHELL, **asked: object) -> str:
    return export(study, Export(form=form, **asked))  # type: ignore[arg-type]  # as the tests give them


def head(study: StudyView, **asked: object) -> str:
    """The comment as one text."""
    lines = text(study, Format.SHELL, **asked).splitlines()[1:]
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def refusal(study: StudyView, form: Format = Format.SHELL, **asked: object) -> str:
    with pytest.raises(ExportError) as raised:
        text(study, form, **asked)
    assert raised.value.exit_code == 2
    return str(raised.value)


def sampled(sample: SampleStudy, known: int = 11) -> StudyView:
    return study_view(sample.record, sample.spec, sample.attempts[:known], sample.workers, BEGAN + timedelta(hours=1))


def test_no_text_changes_what_kubernetes_reads() -> None:
    study = vllm(Params(env={"MODE": HOSTILE}), flags={"hf_overrides": HOSTILE})
    deployment, _ = yaml.safe_load_all(text(study, Format.KUBERNETES))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert HOSTILE.replace("$(", "$$(") in container["command"]
    assert {"name": "MODE", "value": HOSTILE.replace("$(", "$$(")} in container["env"]


def test_a_service_of_kubernetes_has_no_address_to_choose() -> None:
    assert refusal(vllm(), Format.KUBERNETES, host="0.0.0.0").endswith("leave --host out")  # noqa: S104
    assert refusal(vllm(image=None), Format.KUBERNETES).startswith("the study names no image")


def test_ome_needs_a_study_that_named_a_model_and_a_runtime() -> None:
    assert refusal(vllm(), Format.OME) == (
        "the study was deployed with local, which names no model and no runtime of OME; take --to kubernetes"
    )
    [service] = yaml.safe_load_all(text(ended_study(VLLM, SEQS, TWO_GPUS, deployer=OME), Format.OME))
    assert "optuna-tuner/" not in yaml.safe_dump(service)
    assert service["spec"]["engine"]["runner"]["image"] == "vllm/vllm-openai:v0.32.0"


def test_the_chart_starts_vllm_from_an_image_with_a_tag() -> None:
    sglang = ended_study({"kind": "sglang", "image": "lmsysorg/sglang:v0.5.23"}, Params(flags={"tp_size": 2}), TWO_GPUS)
    assert refusal(sglang, Format.HELM_VALUES).startswith(
        "the chart starts `vllm serve`, and this study sglang by python3"
    )
    assert "wants an image with a tag, not vllm" in refusal(vllm(), Format.HELM_VALUES, image="vllm")
    found = yaml.safe_load(text(vllm(flags={"enable_prefix_caching": False}), Format.HELM_VALUES))
    [model] = found["servingEngineSpec"]["modelSpec"]
    assert model["vllmConfig"]["enablePrefixCaching"] is False


def test_every_format_has_a_writer() -> None:
    assert set(WRITERS) == set(Format)


def test_the_best_is_taken_unless_another_one_is_named() -> None:
    assert json.loads(text(vllm(), Format.JSON))["trial"] == 2
    assert json.loads(text(vllm(), Format.JSON, trial=0))["trial"] == 0


def test_the_default_is_the_fixed_flags_alone() -> None:
    document = json.loads(text(vllm(flags={"dtype": "float16"}), Format.JSON, trial=0))
    assert document["flags"] == {"dtype": "float16"}
    assert document["argv"][-2:] == ["--dtype", "float16"]


def test_a_sampled_flag_goes_before_a_fixed_one_of_another_spelling() -> None:
    document = json.loads(text(vllm(Params(flags={"tensor_parallel_size": 2}), flags={"tp": 1}), Format.JSON))
    assert document["flags"] == {"tensor_parallel_size": 2}


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (4, "trial 4 is infeasible: out_of_memory_pool: ValueError: No available memory for the cache blocks."),
        (5, "trial 5 is infeasible: rejected: rule: max_num_batched_tokens < max_num_seqs"),
        (6, "trial 6 is failed: port_in_use: Address already in use"),
    ],
)
def test_a_trial_that_failed_is_refused_with_its_cause(number: int, why: str) -> None:
    assert refusal(sampled(sample_study()), trial=number) == why


def test_a_broken_promise_is_named() -> None:
    assert refusal(vllm(), trial=1) == "trial 1 is infeasible: it breaks ttft_ms.p99 <= 200"


def test_a_trial_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFoundError, match='study "my study" has no trial 9; it has 3 trials'):
        text(vllm(), trial=9)


def test_a_repeated_trial_names_the_one_to_take() -> None:
    sample = sample_study()
    repeat = replace(sample.attempts[9], outcome=Outcome(verdict=Verdict.COMPLETE, same_as=8, cause=Cause.REPEATED))
    study = sampled(replace(sample, attempts=(*sample.attempts[:9], repeat)))
    assert refusal(study, trial=9) == "trial 9 was not measured: it is the same server as trial 8; take that"


def test_without_a_feasible_trial_there_is_nothing_to_take_home() -> None:
    sample = sample_study()
    study = sampled(replace(sample, attempts=sample.attempts[3:5]))
    assert refusal(study).startswith('study "sample" has no trial to take home: Nothing feasible among 2 trials.')


def test_a_default_that_breaks_its_promise_is_offered_and_says_so() -> None:
    sample = sample_study()
    broken = replace(sample.attempts[0], outcome=sample.attempts[3].outcome)
    study = sampled(replace(sample, attempts=(broken,)))
    assert refusal(study).endswith("Its default is trial 0.")
    assert "ttft_ms.p99 900 ms (ttft_ms.p99 <= 200 is BROKEN)" in head(study, trial=0)


def test_the_comment_says_what_was_measured_where_and_what_it_is_worth() -> None:
    said = head(vllm())
    for fact in (
        "study my study, trial 2 (the best), measured on 2026-01-02",
        "Engine: vllm 0.32.0; model: tiny",
        "node-a, 2 GPUs",
        "at concurrency=8: output_throughput_tok_s 800 tok/s; ttft_ms.p99 180 ms (ttft_ms.p99 <= 200 is kept)",
        "(60.0 % better)",
        "One run each: a single measurement, not confirmed by repeats.",
    ):
        assert fact in said


def test_what_the_server_said_of_its_version_goes_before_what_the_study_names() -> None:
    sample = sample_study()
    told = replace(sample.attempts[8].outcome or Outcome(verdict=Verdict.COMPLETE), effective_config={"version": "7.7"})
    study = sampled(replace(sample, attempts=(*sample.attempts[:8], replace(sample.attempts[8], outcome=told))))
    assert "Engine: vllm 7.7;" in head(study)


def test_what_the_server_rewrote_and_that_the_study_goes_on_is_said() -> None:
    assert "The server rewrote max_num_seqs: asked for 256, it took 128." in head(sampled(sample_study()))
    assert "not done" not in head(sampled(sample_study()))
    sample = sample_study()
    waiting = replace(sample, record=replace(sample.record, reserved=9))
    assert "The study is waiting, not done: its best may change." in head(sampled(waiting))


def test_another_trial_than_the_best_and_the_default_say_what_they_are() -> None:
    study = sampled(sample_study())
    assert (
        "Not the best trial. Against the engine's default (trial 0): output_throughput_tok_s 650 tok/s for 500 tok/s "
        "(30.0 % better). One run each" in head(study, trial=2)
    )
    assert "This is the engine's own default: there is no gain." in head(study, trial=0)


def test_a_simulated_study_begins_with_that() -> None:
    engine: dict[str, JsonValue] = {"kind": "simulated", "like": "vllm"}
    study = ended_study(engine, SEQS, TWO_CORES)
    assert text(study).splitlines()[1].startswith("# SIMULATED: a model of vllm answered")
    assert "only vllm reads a vllm-config; the engine of this study is simulated" in refusal(study, Format.VLLM_CONFIG)


def test_a_confirmed_winner_comes_with_its_verdict_and_interval() -> None:
    fast = Params(flags={"x": 1})

    def speeds(params: Params) -> Outcome:
        value = 100.0 if params == DEFAULT else 125.0
        level = Measurement(load=Load(value=1), metrics={"output_throughput_tok_s": value})
        return replace(gave(value), metrics=level.metrics, measurements=(level,), level=str(level.load))

    made = PaperStudy(paper_spec(confirm={"pairs": 2}), speeds)
    made.search([fast])
    made.confirm()
    record = StudyRecord(
        id="paper",
        name="paper",
        spec_json="",
        space_hash="",
        budget=2,
        reserved=2,
        desired=Desired.RUN,
        created_at=BEGAN,
    )
    study = study_view(record, made.spec, made.attempts, made.workers, BEGAN)
    verdict = "Verdict: win (the gain holds). output_throughput_tok_s +25.0 % (95 % CI +25.0 to +25.0 %); 2 pairs"
    assert verdict in head(study)
    assert "One run" not in head(study)
    document = json.loads(text(study, Format.JSON))
    assert document["confirmation"]["verdicts"] == {"output_throughput_tok_s": "win"}
    again = next(trial for trial in study.trials if trial.kind is AttemptKind.CONFIRM and trial.params)
    assert "One run each" in head(study, trial=again.number)


def test_what_changes_beside_the_speed_is_said() -> None:
    study = ended_study(
        {"kind": "vllm", "version": "0.32.0"}, Params(flags={"kv_cache_dtype": "fp8"}), TWO_GPUS, quality={}
    )
    best = study.best.trial
    assert best is not None
    asked = replace(best, drift=Drift(by_prompt=(0.5, 1.0), logprob_drift=None))
    assert "changes the answers: kv_cache_dtype=fp8 (not held against the default's)" in head(study)
    study = replace(study, best=replace(study.best, trials=(asked,)))
    assert "agreement with the default 0.75, over 2 prompts" in head(study)


@pytest.mark.parametrize("form", [Format.DOCKER, Format.COMPOSE])
def test_a_container_needs_an_image(form: Format) -> None:
    study = vllm(image=None)
    assert refusal(study, form) == "the study names no image; say which has vllm: --image NAME:TAG"
    assert "my/vllm:1" in text(study, form, image="my/vllm:1")
    assert "other:2" in text(vllm(), form, image="other:2")
    assert "is no name of an image" in refusal(study, form, image="No Image")


def test_a_job_of_a_study_that_ran_elsewhere_asks_for_its_gpus_and_an_image_makes_it_a_container() -> None:
    bare = text(vllm(), Format.SBATCH)
    assert "#SBATCH --gres=gpu:1\n" in bare
    assert "vllm must be on the node" in bare
    boxed = text(vllm(), Format.SBATCH, image="my/vllm:1")
    assert "docker://my/vllm:1 vllm serve" in boxed
    assert "must be on the node" not in boxed


def test_a_job_of_a_study_on_a_cluster_is_submitted_there_with_its_image_or_another() -> None:
    box: JsonValue = {"image": "/images/vllm.sif", "binds": ["/models"]}
    study = ended_study(
        VLLM, SEQS, TWO_GPUS, deployer={"kind": "slurm", "host": "login1", "gres": "gpu:2", "apptainer": box}
    )
    own, other = text(study, Format.SBATCH), text(study, Format.SBATCH, image="my/vllm:1")
    assert "ssh" not in own
    assert "--bind /models /images/vllm.sif vllm serve" in own
    assert "--bind /models docker://my/vllm:1 vllm serve" in other


def test_the_time_of_a_trial_is_not_the_time_of_a_server() -> None:
    study = ended_study(VLLM, SEQS, TWO_GPUS, deployer={"kind": "slurm", "gres": "gpu:2", "time": "17:00"})
    assert "\n#SBATCH --time=" not in text(study, Format.SBATCH)


def test_an_image_is_refused_where_there_is_none() -> None:
    assert refusal(vllm(), image="my/vllm:1") == "shell has no image; leave --image out"


def test_the_embedded_server_is_in_no_image() -> None:
    study = ended_study({"kind": "llama_cpp"}, Params(flags={"parallel": 2}), TWO_CORES)
    assert "which no image has; take --to shell" in refusal(study, Format.DOCKER, image="my/llama:1")


def test_docker_publishes_on_addresses_only() -> None:
    assert "on an IP address such as 127.0.0.1, not on" in refusal(vllm(), Format.DOCKER, host="localhost")
    assert "'--publish=[::1]:9:8000'" in text(vllm(), Format.DOCKER, host="::1", port=9)


@pytest.mark.parametrize("host", ["", "-x", "a b", "$(id)", "a\nb", "http://x"])
def test_an_address_is_an_address(host: str) -> None:
    assert "is no address to listen on" in refusal(vllm(), host=host)


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:9"), ("::", "http://[::1]:9"), ("10.0.0.5", "http://10.0.0.5:9")],  # noqa: S104  compared
)
def test_the_comment_says_where_it_answers_and_for_whom(host: str, url: str) -> None:
    said = head(vllm(), host=host, port=9)
    assert f"curl {url}/v1/models" in said
    assert f"Whoever reaches {host} can use it" in said
    assert "Only this machine can reach it." in head(vllm())


@pytest.mark.parametrize("form", Format)
def test_the_value_of_a_secret_is_never_in_it(form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hf_verysecret")
    secrets: JsonValue = {"HF_TOKEN": {"env": "MY_TOKEN"}}
    study = ended_study({**VLLM, "secrets": secrets}, SEQS, TWO_GPUS, deployer=OME) if form is Format.OME else None
    made = text(study or vllm(secrets=secrets), form)
    assert "hf_verysecret" not in made
    assert "HF_TOKEN" in made
    assert "MY_TOKEN" in made


@pytest.mark.parametrize("secrets", [{"A.B": {"env": "X"}}, {"A": {"env": "X Y"}}])
def test_a_variable_that_no_shell_can_set_is_refused(secrets: JsonValue) -> None:
    assert refusal(vllm(secrets=secrets)).startswith("no shell can set the variable")


def test_the_devices_of_the_trial_are_nobody_elses() -> None:
    for form in (Format.SHELL, Format.DOCKER, Format.COMPOSE, Format.SBATCH):
        assert "GPU-1" not in text(vllm(), form)
    assert "cpuset" not in text(ended_study(VLLM, SEQS, TWO_CORES), Format.DOCKER)


def test_what_the_tuner_finds_and_ends_its_own_containers_by_is_not_in_it() -> None:
    made = text(vllm(), Format.DOCKER) + text(vllm(), Format.COMPOSE)
    assert "optuna_tuner." not in made
    assert "timeout" not in made


def test_compose_keeps_every_hostile_value() -> None:
    document = yaml.safe_load(text(vllm(Params(env={"MODE": HOSTILE}), flags={"title": HOSTILE}), Format.COMPOSE))
    service = document["services"]["my-study-trial-2"]
    assert service["command"][-1].replace("$$", "$") == HOSTILE
    assert service["environment"]["MODE"].replace("$$", "$") == HOSTILE
    assert "$" not in service["command"][-1].replace("$$", "")


def test_a_vllm_config_keeps_every_word_of_the_command_line() -> None:
    flags: dict[str, JsonValue] = {"a": HOSTILE, "b": "1e3", "c": "true", "d": "0x10", "e": [1, "x"], "f": -1, "g": ""}
    study = vllm(SEQS, flags=flags)
    config = yaml.safe_load(text(study, Format.VLLM_CONFIG))
    assert {name: config[name] for name in "abcdefg"} == {**flags, "f": -1}
    assert config["max-num-seqs"] == 256


def test_what_a_vllm_config_cannot_say_is_refused() -> None:
    assert "begins with a dash; take --to shell" in refusal(vllm(SEQS, flags={"title": "-x"}), Format.VLLM_CONFIG)
    assert "cannot say the variable MODE" in refusal(vllm(Params(env={"MODE": "a\nb"})), Format.VLLM_CONFIG)
    assert "cannot say the program" in refusal(vllm(SEQS, command=["vllm\nhost: evil", "serve"]), Format.VLLM_CONFIG)


def test_nothing_ends_a_comment() -> None:
    hostile = "a\nrm -rf x\r\x0b\x85\u2028\x00b"
    assert comment([hostile]).splitlines() == ["# a rm -rf x b"]
