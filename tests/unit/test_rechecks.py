"""What is in the study that measures an older one again: one configuration, the figures of then, the newer engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gates import BENCHMARK, CASES, METRIC, confirmed
from pydantic import JsonValue
from take_home import TWO_CORES, ended_study

from optuna_tuner.errors import BundleError, ConflictError, SpecError
from optuna_tuner.plugins import InstalledKinds
from optuna_tuner.rechecks import GateOrder, RerunOrder, gate_of, rerun_of
from optuna_tuner.results.bundle.describing import Source
from optuna_tuner.results.bundle.environment import Facts, changed
from optuna_tuner.results.bundle.original import of_bundle
from optuna_tuner.results.bundle.writing import write_study, write_trial
from optuna_tuner.results.views import StudyState, StudyView
from optuna_tuner.spec.deriving import NewEngine
from optuna_tuner.spec.study import Part, StudySpec
from optuna_tuner.values import Params

KINDS = InstalledKinds()
VLLM: Mapping[str, JsonValue] = {"kind": "vllm", "version": "0.11.0", "flags": {"dtype": "bfloat16"}}
SEQS = Params(flags={"max_num_seqs": 64}, env={"VLLM_LOGGING_LEVEL": "ERROR"})
LOAD: Mapping[str, JsonValue] = {"kind": "genai_bench", "scenario": "D(8,8)", "concurrency": [8], "requests": 8}


def older(engine: Mapping[str, JsonValue] = VLLM, params: Params = SEQS) -> StudyView:
    """A study that was confirmed on paper, as one of this engine."""
    view = confirmed(CASES[0], np.random.default_rng(1), 3)
    winner = view.confirmation.winner if view.confirmation else None
    assert view.confirmation is not None
    assert winner is not None
    spec = ended_study(engine, params, TWO_CORES, benchmark=BENCHMARK).spec  # type: ignore[arg-type]  # plain JSON
    goals = spec.goals.model_copy(update={"constraints": ()})
    confirmation = replace(view.confirmation, winner=replace(winner, params=params))
    return replace(view, spec=spec.model_copy(update={"goals": goals, "confirm": None}), confirmation=confirmation)


def gate(view: StudyView, *others: StudyView, **order: object) -> StudySpec:
    return gate_of(view, GateOrder(study=view.name, **order), {"host": "a"}, others, KINDS)  # type: ignore[arg-type]  # as given


def test_a_gate_holds_the_winner_and_the_figures_of_then() -> None:
    spec = gate(older())
    assert (spec.name, spec.budget.trials, spec.baseline) == ("my study-gate-1", 2, True)
    assert spec.first_params == (SEQS,)
    assert {name: tuple(each.values()) for name, each in spec.space.items()} == {
        "max_num_seqs": (64,),
        "VLLM_LOGGING_LEVEL": ("ERROR",),
    }
    assert spec.gate is not None
    assert (spec.gate.pairs, spec.gate.kept, spec.gate.max_regression) == (3, 3, 0.05)
    assert spec.gate.environment == {"host": "a"}
    assert min(spec.gate.winner[METRIC]) > max(spec.gate.default[METRIC])
    assert spec.confirm is not None
    assert spec.confirm.pairs == 20
    assert spec.notice == 'A GATE, no search: the winner of study "my study" is measured again.'
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_study_without_a_confirmed_winner_has_nothing_to_hold() -> None:
    with pytest.raises(ConflictError, match=r"no confirmed winner.*optuna-tuner confirm my study"):
        gate(replace(older(), confirmation=None))


def test_a_newer_engine_gets_its_flags_under_their_new_names() -> None:
    old = older({"kind": "sglang", "version": "0.5.10"}, Params(flags={"cuda_graph_max_bs": 64}))
    spec = gate(old, engine=NewEngine(version="0.5.23"))
    assert spec.engine.options["version"] == "0.5.23"
    assert spec.first == ({"cuda_graph_max_bs_decode": 64},)


def test_a_newer_engine_that_lacks_a_flag_is_said_with_the_flag() -> None:
    with pytest.raises(SpecError, match=r"space.num_scheduler_steps.*0.33.0"):
        gate(
            older({"kind": "vllm"}, Params(flags={"num_scheduler_steps": 8})),
            engine=NewEngine(version="0.33.0"),
        )


def test_a_new_image_or_program_takes_the_old_version_away() -> None:
    image = gate(older(), engine=NewEngine(image="vllm/vllm-openai:v0.12.0")).engine
    assert (image.options.get("version"), image.options["image"]) == (None, "vllm/vllm-openai:v0.12.0")
    program = gate(older(), engine=NewEngine(command=("/new/vllm", "serve"))).engine
    assert (program.options.get("version"), program.options["command"]) == (None, ["/new/vllm", "serve"])


def test_a_deployer_with_an_image_of_its_own_gets_the_new_one_there() -> None:
    slurm = Part.model_validate({"kind": "slurm", "apptainer": {"image": "/images/old.sif"}, "folder": "/shared/x"})
    view = older()
    view = replace(view, spec=view.spec.model_copy(update={"deployer": slurm}))
    spec = gate(view, engine=NewEngine(image="/images/new.sif"))
    assert spec.deployer.options["apptainer"] == {"image": "/images/new.sif"}
    assert "image" not in spec.engine.options


def begun(spec: StudySpec, state: StudyState) -> StudyView:
    return replace(older(), spec=spec, state=state)


def test_an_interrupted_gate_goes_on_and_one_that_ended_is_never_shown_as_new() -> None:
    view = older()
    first = gate(view)
    assert gate(view, begun(first, StudyState.WAITING)) == first
    assert gate(view, begun(first, StudyState.DONE)).name == "my study-gate-2"
    assert gate(view, begun(first, StudyState.RUNNING)).name == "my study-gate-2"
    assert gate(view, begun(first, StudyState.WAITING), max_regression=0.1).name == "my study-gate-2"
    with pytest.raises(ConflictError, match="has ended: give another name"):
        gate(view, begun(first, StudyState.DONE), name=first.name)


def test_a_gate_of_a_gate_is_of_the_same_winner_against_the_newer_figures() -> None:
    view = older()
    assert view.confirmation is not None
    again = gate(replace(view, spec=gate(view)))
    assert again.gate is not None
    assert again.name == "my study-gate-1"
    assert again.gate.study == "my study"


# Reruns


def trial_bundle(folder: Path, number: int = 2, **changes: object) -> Path:
    study = ended_study(VLLM, SEQS, TWO_CORES, benchmark=LOAD, **changes)  # type: ignore[arg-type]  # plain JSON
    write_trial(Source(study=study, trial=study.trial(number), folder=Path("/nowhere"), handle=None), folder)
    return folder


def rerun(folder: Path, times: int = 3) -> StudySpec:
    return rerun_of(of_bundle(folder), RerunOrder(source=str(folder), times=times), (), KINDS)


def test_a_rerun_is_made_of_the_bundle_alone(tmp_path: Path) -> None:
    spec = rerun(trial_bundle(tmp_path / "bundle"))
    assert (spec.name, spec.budget.trials, spec.baseline, spec.confirm) == ("my study-rerun-1", 1, False, None)
    assert spec.first_params == (SEQS,)
    assert spec.rerun is not None
    assert spec.rerun.figures == {METRIC: (800.0,), "ttft_ms.p99": (180.0,)}
    assert spec.rerun.environment["engine.version"] == "0.11.0"
    assert spec.rerun.environment["cores"] == 2


def test_a_rerun_of_the_default_measures_the_default(tmp_path: Path) -> None:
    spec = rerun(trial_bundle(tmp_path / "bundle", 0))
    assert (spec.baseline, spec.first, spec.budget.trials) == (True, (), 1)


def spoil(file: Path, change: Mapping[str, object], *, signed: bool = False) -> None:
    """Change the study file in a run.json; `signed` as somebody would who wants it to be believed."""
    document = json.loads(file.read_text())
    document["study"]["file"].update(change)
    if signed:
        canonical = json.dumps(document["study"]["file"], sort_keys=True, separators=(",", ":"))
        document["study"]["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    file.write_text(json.dumps(document))


def test_a_bundle_that_is_not_as_it_was_written_is_refused(tmp_path: Path) -> None:
    folder = trial_bundle(tmp_path / "bundle")
    spoil(folder / "run.json", {"description": "mine"})
    with pytest.raises(BundleError, match=r"run.json: study.file: is not the one that was written"):
        of_bundle(folder)


def test_a_bundle_with_a_wrong_study_names_the_field(tmp_path: Path) -> None:
    folder = trial_bundle(tmp_path / "bundle")
    spoil(folder / "run.json", {"budget": {"trials": 0}}, signed=True)
    with pytest.raises(BundleError, match=r"run.json: study.file.budget.trials: "):
        of_bundle(folder)


def test_parameters_that_its_study_does_not_have_are_refused(tmp_path: Path) -> None:
    folder = trial_bundle(tmp_path / "bundle")
    document = json.loads((folder / "run.json").read_text())
    document["trial"]["params"]["trust_remote_code"] = True
    (folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"trial.params: trust_remote_code: not in the space"):
        of_bundle(folder)


@pytest.mark.parametrize("kept", [0, 1, 2000])
def test_a_truncated_bundle_is_refused(tmp_path: Path, kept: int) -> None:
    file = trial_bundle(tmp_path / "bundle") / "run.json"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BundleError, match=r"run.json: .*JSON"):
        of_bundle(file.parent)


def test_requests_that_are_not_those_of_the_figures_are_refused(tmp_path: Path) -> None:
    folder = trial_bundle(tmp_path / "bundle")
    (folder / "requests.jsonl").write_text("{}\n")
    with pytest.raises(BundleError, match=r"requests.jsonl has 3 bytes, and run.json says 0"):
        of_bundle(folder)


def test_a_bundle_of_a_study_asks_for_one_of_its_trials(tmp_path: Path) -> None:
    study = ended_study(VLLM, SEQS, TWO_CORES)
    write_study(study, [], tmp_path / "whole")
    with pytest.raises(BundleError, match=r"name one of its trials, such as .*whole/trial-0"):
        of_bundle(tmp_path / "whole")
    with pytest.raises(BundleError, match="is no bundle of a trial"):
        of_bundle(tmp_path)


def test_what_was_never_measured_cannot_be_run_again(tmp_path: Path) -> None:
    folder = trial_bundle(tmp_path / "bundle")
    found = replace(of_bundle(folder), never_ran="it is running")
    with pytest.raises(ConflictError, match="trial 2 cannot be run again: it is running"):
        rerun_of(found, RerunOrder(source=str(folder)), (), KINDS)


def test_what_surrounds_it_otherwise_is_told_fact_by_fact() -> None:
    then: Facts = {"host": "a", "driver": "570", "cores": 2}
    now: Facts = {"host": "b", "cores": 2, "gpus": "1 x H200"}
    assert [tuple(each) for each in changed(then, now)] == [
        ("host", "a", "b"),
        ("driver", "570", None),
        ("gpus", None, "1 x H200"),
    ]
